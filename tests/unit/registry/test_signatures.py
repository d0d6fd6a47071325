"""Signatures beside versions."""

from __future__ import annotations

from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.registry import signatures
from tests.models import linear_bundle


def keep(home: Home, digest: str, envelope: bytes) -> None:
    with home.database.write() as connection:
        signatures.keep(connection, digest, envelope)


def test_one_a_bundle(home: Home) -> None:
    assert signatures.read(home.database, "a" * 64) is None
    for envelope in (b"first", "zwölf".encode()):
        keep(home, "a" * 64, envelope)
        assert signatures.read(home.database, "a" * 64) == envelope
    keep(home, "b" * 64, b"other")
    assert signatures.read_all(home.database) == {"a" * 64: "zwölf".encode(), "b" * 64: b"other"}


def test_those_of_no_version_are_swept(home: Home) -> None:
    version = publish(home, linear_bundle())
    for digest in (version.digest, "a" * 64):
        keep(home, digest, b"envelope")
    with home.database.write() as connection:
        signatures.sweep(connection)
    assert signatures.read_all(home.database) == {version.digest: b"envelope"}
