"""The verbs of privacy: who may, what is recorded, what running servers hear, and what is left of an erased person."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from modelyard.control.actions import audit, encrypt, journals, plans, privacy
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import Forbidden, InvalidRequest, NotFound, UnknownField
from modelyard.core.identity import Principal, Role, scopes
from modelyard.core.plan import Plan
from modelyard.core.privacy import Auditing, Capture
from modelyard.guard.payloads import Sealing
from modelyard.guard.privacy import CaptureKey
from modelyard.guard.records import Filter
from modelyard.guard.segments import CAPTURES, SEALED
from tests.models import linear_bundle, mixed_bundle


@pytest.fixture
def at(home: Home) -> Home:
    publish(home, linear_bundle())
    publish(home, mixed_bundle())
    return home


def capture(home: Home, model: str = "linear", **other: object) -> Capture:
    wanted = {"sample": 0.5, "columns": ("feature",), "days": 7.0, "subject": "feature"} | other
    return privacy.capture(home, model, **wanted)


def kept(home: Home, *people: str, model: str = "linear") -> None:
    """A segment with two rows about each of these people, as a worker would have written it."""
    plan = plans.render(home)
    made = Sealing(home.settings.journal / CAPTURES / model, 0, plan.journal.public, plan.journal.turn)
    from pathlib import Path

    from modelyard.guard.privacy import Pseudonyms

    names = Pseudonyms.read(Path(plan.journal.secret))
    for person in people:
        document = {"inputs": {"feature": [person, person]}, "outputs": {}, "subjects": [names.of(person)] * 2}
        made.append([json.dumps(document).encode()])
    made.close()


def actions(home: Home) -> list[tuple[str, str, str]]:
    return [(one.action, one.object, one.outcome) for one in audit.find(home, Filter(action="privacy.*"))]


def test_what_is_wanted_is_recorded_and_reaches_plans(at: Home) -> None:
    saved = plans.save(at, "serve-1", plans.render(at))
    assert Plan.from_bytes(saved.read_bytes()).journal.folder == ""
    capture(at)
    privacy.audit(at, "linear", Auditing(policy="block"))
    journal = Plan.from_bytes(saved.read_bytes()).journal
    assert list(journal.models) == ["linear"]
    assert journal.models["linear"].capture == Capture(sample=0.5, columns=("feature",), days=7.0, subject="feature")
    assert journal.models["linear"].audit == Auditing(policy="block")
    private = (at.settings.secrets / "capture.key").read_text().strip()
    assert journal.public
    assert private not in saved.read_text()
    privacy.audit(at, "linear", None)
    assert Plan.from_bytes(saved.read_bytes()).journal.models["linear"].audit is None
    privacy.off(at, "linear")
    assert Plan.from_bytes(saved.read_bytes()).journal.folder == ""
    done = [("privacy.capture", "linear", "done"), ("privacy.audit", "linear", "done")]
    assert actions(at) == [*done, ("privacy.audit", "linear", "done"), ("privacy.off", "linear", "done")]


def test_what_makes_no_sense_is_refused(at: Home) -> None:
    for error, wrong in (
        (UnknownField, {"columns": ("feature", "salary")}),
        (UnknownField, {"subject": "prediction"}),
        (InvalidRequest, {"sample": 2.0}),
        (InvalidRequest, {"days": 0.0}),
        (InvalidRequest, {"columns": ()}),
        (NotFound, {"model": "nobody"}),
    ):
        with pytest.raises(error):
            capture(at, **wrong)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        privacy.off(at, "linear")
    assert journals.configured(at).models == {}


@pytest.mark.parametrize("role", [Role.VIEWER, Role.PREDICTOR, Role.DEPLOYER, Role.AUDITOR])
def test_who_may_not_configure_changes_nothing(at: Home, role: Role) -> None:
    capture(at)
    kept(at, "ylva")
    other = replace(at, actor=Principal("key:x", scopes(role), "key"))
    for act in (
        lambda: capture(other),
        lambda: privacy.audit(other, "linear", Auditing()),
        lambda: privacy.off(other, "linear"),
        lambda: privacy.erase(other, "ylva"),
    ):
        with pytest.raises(Forbidden):
            act()
    if role is Role.AUDITOR:
        assert len(list(privacy.export(other, "linear"))) == 1
    else:
        with pytest.raises(Forbidden):
            privacy.export(other, "linear")
        assert actions(at)[-1] == ("privacy.export", "linear", "denied")
    assert journals.configured(at).models["linear"].capture is not None


@pytest.mark.row("PRI-02")
def test_nothing_is_left_of_an_erased_person(at: Home, record_property: pytest.FixtureRequest) -> None:
    capture(at)
    capture(at, "mixed", columns=("species",), subject="species")
    kept(at, "ylva", "bob", "ylva")
    kept(at, "ylva")
    kept(at, "bob", "ylva", model="mixed")
    assert privacy.erase(at, "ylva", "linear").rows == 6
    assert len(journals.paths(at, CAPTURES, SEALED)) == 2, "a segment in which nothing is left is gone"
    assert [one["inputs"]["feature"] for one in privacy.export(at, "linear")] == [["bob", "bob"]]
    assert len(list(privacy.export(at, "mixed"))) == 2
    erased = privacy.erase(at, "ylva")
    assert (erased.rows, erased.segments) == (2, 1)
    assert privacy.erase(at, "ylva").rows == 0
    assert "ylva" not in "".join(audit.export(at))
    assert [one for one in audit.export(at) if erased.pseudonym in one]
    record_property("number", "0 of 8 rows remain")  # type: ignore[operator]


def test_one_row_of_several_people_goes_alone(at: Home) -> None:
    document = {"inputs": {"a": [1, 2, 3]}, "outputs": {"b": [4, 5, 6]}, "subjects": ["x", "y", "x"]}
    assert privacy._only(document, [1]) == {"inputs": {"a": [2]}, "outputs": {"b": [5]}, "subjects": ["y"]}


@pytest.mark.usefixtures("tmp_path")
def test_the_key_of_captures_follows_encryption_at_rest(at: Home) -> None:
    capture(at)
    kept(at, "ylva")
    key, masters = CaptureKey(at.settings.secrets), journals.master_keys(at)
    plain = key.private(masters)
    encrypt.turn_on(at)
    assert key.master == masters.current
    rotated = encrypt.rotate(at, forget=True)
    assert rotated.forgotten
    assert key.master == rotated.current
    assert key.private(masters) == plain
    assert len(list(privacy.export(at, "linear"))) == 1
    encrypt.turn_off(at)
    assert key.master == ""
    assert key.private(masters) == plain


def test_what_is_off_goes_in_its_time_all_the_same(at: Home) -> None:
    from datetime import UTC, datetime, timedelta

    capture(at)
    kept(at, "ylva")
    privacy.off(at, "linear")
    assert journals.sweep(at, datetime.now(UTC) + timedelta(days=6)) == {}
    assert journals.sweep(at, datetime.now(UTC) + timedelta(days=8)) == {"captures/linear": 1}
