"""Rosters from plans: what did not change is kept, what cannot be loaded changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from modelyard.core.errors import CorruptBundle, NotFound, Untrusted
from modelyard.core.manifest import MODEL, SIGNATURE
from modelyard.core.plan import Access, Plan, PlannedModel, PlannedVersion, Tuning
from modelyard.core.trust import Policy, Trust, TrustedKey
from modelyard.guard.sign import sign
from modelyard.guard.signer import key_id, pem_of
from modelyard.model.bundle import Bundle
from modelyard.serve.plane import Loader, Roster
from modelyard.watch.counters import Page
from tests.models import linear_bundle, mixed_bundle

ONE, TWO, MIXED = linear_bundle(), linear_bundle(slope=3.0), mixed_bundle()


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(Page(tmp_path, 0).counter)


@pytest.fixture
def lay(tmp_path: Path) -> Path:
    for bundle in (ONE, TWO, MIXED):
        place = tmp_path / bundle.digest
        place.mkdir()
        bundle.write(place)
    return tmp_path


def planned(lay: Path, name: str, *bundles: Bundle, **aliases: int) -> PlannedModel:
    versions = tuple(
        PlannedVersion(at, bundle.digest, str(lay / bundle.digest)) for at, bundle in enumerate(bundles, 1)
    )
    return PlannedModel(name=name, default=len(bundles), versions=versions, aliases=aliases)


def test_it_is_what_the_plan_says(loader: Loader, lay: Path) -> None:
    plan = Plan(models=(planned(lay, "linear", ONE, TWO, canary=1), planned(lay, "mixed", MIXED)))
    roster = loader.load(plan, Roster(), strict=True)
    assert [replica.label for replica in roster.replicas()] == ["linear@1", "linear@2", "mixed@1"]
    model = roster.model("linear")
    assert model.version().label == "linear@2"
    assert model.version(1).bundle.digest == ONE.digest
    assert model.aliases == {"canary": 1}


def test_what_is_not_served_is_named(loader: Loader, lay: Path) -> None:
    roster = loader.load(Plan(models=(planned(lay, "linear", ONE),)), Roster(), strict=True)
    with pytest.raises(NotFound, match="no model 'linea'") as caught:
        roster.model("linea")
    assert caught.value.cause == "did you mean 'linear'?"
    with pytest.raises(NotFound, match="'7'") as caught:
        roster.model("linear").version(7)
    assert (caught.value.cause, caught.value.hint) == ("served: 1", "serve it too: modelyard serve linear@7")


def test_where_callers_need_keys_the_others_are_not_named(loader: Loader, lay: Path) -> None:
    plan = Plan(models=(planned(lay, "linear", ONE),), access=Access(keys="keys.json"))
    with pytest.raises(NotFound) as caught:
        loader.load(plan, Roster(), strict=True).model("linea")
    assert "linear" not in f"{caught.value.cause}{caught.value.facts}"


def test_what_did_not_change_is_kept(loader: Loader, lay: Path) -> None:
    old = loader.load(Plan(models=(planned(lay, "linear", ONE), planned(lay, "mixed", MIXED))), Roster(), strict=True)
    new = loader.load(Plan(models=(planned(lay, "linear", ONE, TWO), planned(lay, "other", ONE))), old, strict=False)
    assert new.model("linear").version(1) is old.model("linear").version(1)
    assert set(new.models) == {"linear", "other"}
    changed = loader.load(Plan(models=(planned(lay, "linear", TWO),)), old, strict=False)
    assert changed.model("linear").version(1) is not old.model("linear").version(1)
    assert set(old.models) == {"linear", "mixed"}


def test_a_damaged_bundle_changes_nothing(loader: Loader, lay: Path) -> None:
    old = loader.load(Plan(models=(planned(lay, "linear", ONE),)), Roster(), strict=True)
    (lay / TWO.digest / MODEL).write_bytes(b"x")
    plan = Plan(models=(planned(lay, "linear", TWO), planned(lay, "mixed", MIXED), planned(lay, "new", TWO)))
    new = loader.load(plan, old, strict=False)
    assert new.model("linear") is old.model("linear")
    assert set(new.models) == {"linear", "mixed"}
    assert set(new.troubles) == {"linear", "new"}
    with pytest.raises(CorruptBundle):
        loader.load(plan, old, strict=True)


def test_a_folder_that_is_gone_changes_nothing(loader: Loader, lay: Path) -> None:
    plan = Plan(models=(planned(lay / "nowhere", "linear", ONE),))
    assert loader.load(plan, Roster(), strict=False).troubles["linear"].startswith("no bundle")
    with pytest.raises(NotFound):
        loader.load(plan, Roster(), strict=True)


def test_another_tuning_loads_the_version_again_and_the_same_one_does_not(loader: Loader, lay: Path) -> None:
    def tuned(old: Roster, tuning: Tuning) -> Roster:
        models = (structs.replace(planned(lay, "linear", ONE, TWO), tuning=tuning), planned(lay, "mixed", MIXED))
        return loader.load(Plan(models=models), old, strict=False)

    first = tuned(Roster(), Tuning(batch_rows=4))
    same = tuned(first, Tuning(batch_rows=4))
    assert same.replicas() == first.replicas()
    other = tuned(same, Tuning(batch_rows=1, queue=7))
    for number in (1, 2):
        replica = other.model("linear").version(number)
        assert replica is not first.model("linear").version(number)
        assert (replica.policy.batch_rows, replica.policy.queue) == (1, 7)
        assert first.model("linear").version(number).policy.batch_rows == 4  # requests under way keep theirs
    assert other.model("mixed").version() is first.model("mixed").version()
    back = tuned(other, Tuning())
    assert back.model("linear").version(1).policy.queue == Tuning().queue


KEY = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)


def trust(policy: Policy = Policy.ENFORCE, models: str = "*", **minimums: int) -> Trust:
    public = KEY.public_key()
    return Trust(policy, (TrustedKey(key_id(public), models, pem_of(public)),), minimums)


def signed(lay: Path, bundle: Bundle, version: int) -> None:
    raw = sign(bundle.manifest, version, "Ada", datetime.now(UTC), KEY)
    (lay / bundle.digest / SIGNATURE).write_bytes(raw)


def test_under_enforce_what_is_not_signed_changes_nothing(loader: Loader, lay: Path) -> None:
    signed(lay, ONE, 1)
    plan = Plan(models=(planned(lay, "linear", ONE),), signatures=trust())
    old = loader.load(plan, Roster(), strict=True)
    newer = Plan(models=(planned(lay, "linear", ONE, TWO), planned(lay, "mixed", MIXED)), signatures=trust())
    roster = loader.load(newer, old, strict=False)
    assert roster.model("linear") is old.model("linear")
    assert set(roster.models) == {"linear"}
    assert roster.troubles == {"linear": "linear@2 is not signed", "mixed": "mixed@1 is not signed"}
    with pytest.raises(Untrusted):
        loader.load(newer, Roster(), strict=True)


def test_what_is_loaded_already_is_looked_at_again(loader: Loader, lay: Path) -> None:
    signed(lay, ONE, 1)
    models = (planned(lay, "linear", ONE),)
    old = loader.load(Plan(models=models, signatures=trust(linear=1)), Roster(), strict=True)
    same = loader.load(Plan(models=models, signatures=trust(models="lin*")), old, strict=False)
    assert (same.replicas(), same.troubles) == (old.replicas(), {})
    late = loader.load(Plan(models=models, signatures=trust(linear=2)), old, strict=False)
    assert late.troubles == {"linear": "linear@1 is signed as version 1, and the least that counts is 2"}
    signed(lay, ONE, 2)  # signed again since
    again = loader.load(Plan(models=models, signatures=trust(linear=2)), old, strict=False)
    assert (again.replicas(), again.troubles) == (old.replicas(), {})


def test_the_name_that_is_served_is_the_one_that_counts(loader: Loader, lay: Path) -> None:
    signed(lay, ONE, 1)
    with pytest.raises(Untrusted, match="signed as 'linear', not as 'other'"):
        loader.load(Plan(models=(planned(lay, "other", ONE),), signatures=trust()), Roster(), strict=True)


def test_a_changed_file_under_a_sound_signature(loader: Loader, lay: Path) -> None:
    signed(lay, ONE, 1)
    (lay / ONE.digest / MODEL).write_bytes(TWO.files[MODEL])
    with pytest.raises(CorruptBundle):
        loader.load(Plan(models=(planned(lay, "linear", ONE),), signatures=trust()), Roster(), strict=True)


def test_a_warning_is_told_with_the_version(loader: Loader, lay: Path) -> None:
    signed(lay, ONE, 1)
    plan = Plan(models=(planned(lay, "linear", ONE, TWO),), signatures=trust(Policy.WARN))
    roster = loader.load(plan, Roster(), strict=True)
    assert [replica.unheeded for replica in roster.replicas()] == [[], ["is not signed"]]
    off = loader.load(structs.replace(plan, signatures=Trust()), Roster(), strict=True)
    assert [replica.unheeded for replica in off.replicas()] == [[], []]


def test_what_control_refused_is_a_trouble(loader: Loader, lay: Path) -> None:
    plan = Plan(models=(planned(lay, "linear", ONE),), refused={"linear": "linear@2 is not signed"})
    roster = loader.load(plan, Roster(), strict=True)
    assert (list(roster.models), roster.troubles) == (["linear"], {"linear": "linear@2 is not signed"})
