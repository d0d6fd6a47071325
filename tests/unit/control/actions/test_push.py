"""Push: a version goes out with its signature, and a record is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.control.actions import sign
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.push import push
from modelyard.core.errors import Forbidden, InvalidRequest, ModelyardError, NotFound, RegistryRefused, Unavailable
from modelyard.core.identity import Principal, Role, scopes
from modelyard.core.network import Network
from modelyard.core.reference import parse_reference
from modelyard.guard import records
from modelyard.guard.records import Filter
from modelyard.ship.carriers import open_carrier
from modelyard.ship.carriers.objects import ObjectCarrier
from tests.models import linear_bundle


@pytest.fixture
def share(home: Home, tmp_path: Path) -> str:
    publish(home, linear_bundle())
    publish(home, linear_bundle(slope=5.0))
    return f"{(tmp_path / 'share').as_uri()}/linear"


def acts(home: Home) -> list[tuple[str, str, str]]:
    with home.database.read() as connection:
        found = list(records.read(connection.execute, Filter(action="model.push")))
    return [(one.object, one.outcome, one.detail.get("to", "")) for one in found]


def test_the_tag_is_the_versions_number(home: Home, share: str) -> None:
    pushed = push(home, parse_reference("linear@1"), share)
    assert pushed.address == f"{share}@sha256:{linear_bundle().digest}"
    assert (pushed.before, pushed.signed) == ("", False)
    assert open_carrier(f"{share}:1", Network()).standing() == pushed.address
    assert acts(home) == [("linear@1", "done", pushed.address)]


def test_a_tag_that_moves_is_told(home: Home, share: str) -> None:
    first = push(home, parse_reference("linear@1"), f"{share}:stable")
    again = push(home, parse_reference("linear@1"), f"{share}:stable")
    after = push(home, parse_reference("linear"), f"{share}:stable")
    assert (again.before, after.before) == ("", first.address)


def test_the_signature_goes_along(home: Home, share: str) -> None:
    sign.sign(home, parse_reference("linear@1"))
    assert push(home, parse_reference("linear@1"), share).signed
    assert open_carrier(f"{share}:1", Network()).find().signature is not None


def test_what_fails_is_recorded(home: Home, share: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        push(home, parse_reference("linear@9"), share)
    with pytest.raises(InvalidRequest):
        push(home, parse_reference("linear@1"), "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        push(home, parse_reference("linear@1"), f"{(tmp_path / 'file').as_uri()}/linear")
    assert [(about, outcome) for about, outcome, _ in acts(home)] == [("linear@9", "failed"), ("linear@1", "failed")]


def test_damage_is_not_pushed(home: Home, share: str) -> None:
    version = home.catalogue.resolve(parse_reference("linear@1"))
    (home.settings.blobs / "sha256" / version.digest).write_bytes(b"x")
    with pytest.raises(ModelyardError):
        push(home, parse_reference("linear@1"), share)
    assert open_carrier(f"{share}:1", Network()).standing() == ""


def test_who_may_not_read_it_does_not_push_it(home: Home, share: str) -> None:
    stranger = replace(home, actor=Principal("key:ab12cd34ef", scopes(Role.VIEWER, "other"), "key"))
    with pytest.raises(Forbidden, match="may not read model 'linear'"):
        push(stranger, parse_reference("linear@1"), share)
    assert acts(home) == [("linear@1", "denied", "")]
    reader = replace(home, actor=Principal("key:ab12cd34ef", scopes(Role.VIEWER, "linear"), "key"))
    assert push(reader, parse_reference("linear@1"), share).version.version == 1


def test_a_registry_that_is_down_is_on_record(home: Home, share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> str:
        raise RegistryRefused(registry="registry.example", what="it does not answer")

    monkeypatch.setattr(ObjectCarrier, "push", down)
    with pytest.raises(RegistryRefused):
        push(home, parse_reference("linear@1"), share)
    assert acts(home) == [("linear@1", "failed", "")]
