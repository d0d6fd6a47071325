"""Pull: a stranger's bundle is examined, published, and its signature adopted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from modelyard.control.actions import sign, trust
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.pull import Wishes, pull
from modelyard.control.actions.push import push
from modelyard.core.errors import (
    CorruptBundle,
    Forbidden,
    InvalidModel,
    InvalidName,
    InvalidRequest,
    ModelyardError,
    NotFound,
    Untrusted,
)
from modelyard.core.identity import Principal, Role, scopes
from modelyard.core.manifest import SAMPLES
from modelyard.core.network import Network
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.core.trust import Policy
from modelyard.guard import records, signer
from modelyard.guard.records import Filter
from modelyard.model.bundle import seal
from modelyard.registry import signatures
from modelyard.ship.carriers import open_carrier
from tests.models import linear_bundle

LINEAR = parse_reference("linear")
BUNDLE = linear_bundle()


@pytest.fixture
def theirs(tmp_path: Path) -> Home:
    """Another installation, with a signed version."""
    found = open_home(Settings(home=tmp_path / "theirs"))
    publish(found, BUNDLE)
    sign.sign(found, LINEAR)
    return found


@pytest.fixture
def url(theirs: Home, tmp_path: Path) -> str:
    return push(theirs, LINEAR, f"{(tmp_path / 'share').as_uri()}/linear").address


def test_it_is_the_same_version(home: Home, url: str, theirs: Home) -> None:
    pulled = pull(home, url, Wishes(aliases=("production",)))
    assert (str(pulled.version), pulled.version.digest, pulled.version.fresh) == ("linear@1", BUNDLE.digest, True)
    assert (pulled.address, pulled.signed) == (url, True)
    assert home.catalogue.model("linear").aliases == {"production": 1}
    kept = signatures.read(home.database, BUNDLE.digest)
    assert kept == signatures.read(theirs.database, BUNDLE.digest) is not None
    assert not pull(home, url, Wishes()).version.fresh


def test_it_is_recorded(home: Home, url: str) -> None:
    pull(home, url, Wishes())
    with pytest.raises(NotFound):
        pull(home, url.partition("@")[0] + ":9", Wishes())
    with home.database.read() as connection:
        found = list(records.read(connection.execute, Filter(action="model.pull")))
    assert [(one.object, one.outcome, one.detail.get("from")) for one in found] == [
        ("linear@1", "done", url),
        (url.partition("@")[0] + ":9", "failed", None),
    ]


def test_under_another_name_nobody_has_signed_it(home: Home, url: str) -> None:
    pulled = pull(home, url, Wishes(name="area"))
    assert (str(pulled.version), pulled.signed) == ("area@1", False)
    assert pulled.version.digest != BUNDLE.digest
    with pytest.raises(InvalidName):
        pull(home, url, Wishes(name="No Name"))


def test_signatures_may_be_enforced(home: Home, url: str, theirs: Home, tmp_path: Path) -> None:
    warned = pull(home, url, Wishes(policy=Policy.WARN))
    assert "not trusted" in warned.objection
    with pytest.raises(Untrusted, match="not trusted"):
        pull(home, url, Wishes(policy=Policy.ENFORCE))
    public = tmp_path / "theirs.pem"
    public.write_text(signer.pem_of(trust.own_key(theirs).public_key()))
    trust.add(home, public, "linear")
    assert pull(home, url, Wishes(policy=Policy.ENFORCE)).objection == ""
    with pytest.raises(Untrusted):
        pull(home, url, Wishes(policy=Policy.ENFORCE, name="area"))


def test_what_is_not_signed_is_not_enough(home: Home, tmp_path: Path) -> None:
    url = open_carrier(f"{tmp_path.as_uri()}/linear:1", Network()).push(BUNDLE)
    with pytest.raises(Untrusted, match="is not signed"):
        pull(home, url, Wishes(policy=Policy.ENFORCE))
    assert not pull(home, url, Wishes()).signed
    assert [model.name for model in home.catalogue.models()] == ["linear"]


def test_a_digest_may_be_asked_for(home: Home, url: str) -> None:
    assert pull(home, url, Wishes(digest=f"sha256:{BUNDLE.digest}")).version.fresh
    with pytest.raises(CorruptBundle, match="was asked for"):
        pull(home, url, Wishes(digest="0" * 64))


def test_a_signature_of_something_else_is_refused(home: Home, theirs: Home, tmp_path: Path) -> None:
    signature = signatures.read(theirs.database, BUNDLE.digest)
    forged = replace(linear_bundle(slope=9.0), signature=signature)
    url = open_carrier(f"{tmp_path.as_uri()}/linear:1", Network()).push(forged)
    with pytest.raises(CorruptBundle, match="of other files"):
        pull(home, url, Wishes())
    assert home.catalogue.models() == []


@pytest.mark.parametrize("change", ["samples", "graph"])
def test_a_stranger_is_examined(home: Home, tmp_path: Path, change: str) -> None:
    files = dict(BUNDLE.files)
    if change == "samples":
        samples = msgspec.structs.replace(BUNDLE.samples, outputs={"prediction": [7.0 for _ in BUNDLE.samples.rows]})
        files[SAMPLES] = msgspec.json.encode(samples)
    else:
        files["model.onnx"] = b"no graph"
    url = open_carrier(f"{tmp_path.as_uri()}/linear:1", Network()).push(seal(BUNDLE.manifest, files))
    with pytest.raises(ModelyardError) as caught:
        pull(home, url, Wishes())
    assert isinstance(caught.value, InvalidModel)
    assert home.catalogue.models() == []


def test_who_may_not_publish_it_does_not_pull_it(home: Home, url: str) -> None:
    actor = Principal("key:ab12cd34ef", scopes(Role.DEPLOYER, "area"), "key")
    with pytest.raises(Forbidden, match="may not publish model 'linear'"):
        pull(replace(home, actor=actor), url, Wishes())
    assert home.catalogue.models() == []
    assert str(pull(replace(home, actor=actor), url, Wishes(name="area")).version) == "area@1"


@pytest.mark.parametrize("scheme", ["oci", "s3", "file", "https"])
def test_a_password_in_an_address_is_neither_shown_nor_on_record(home: Home, scheme: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        pull(home, f"{scheme}://me:hunter2@registry.example/ml/churn:7", Wishes())
    with home.database.read() as connection:
        kept = str(list(records.read(connection.execute, Filter())))
    assert "…@registry.example" in kept
    assert "hunter2" not in f"{kept} {caught.value} {caught.value.cause} {caught.value.hint}"
