"""Envelopes: whole or refused, bound to one blob, gone or there."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import StoreDamaged
from modelyard.guard.keysources import EnvironmentSource
from modelyard.guard.masterkeys import Keys, Ring
from modelyard.store import cipher, envelopes
from modelyard.store.envelopes import Envelope, Envelopes

NAME, SEALED = "1" * 64, "2" * 64
SOURCE = EnvironmentSource(str(Ring({}).with_new()))
KEYS = Keys(lambda: SOURCE)
KEY = cipher.new_key()


@pytest.fixture
def kept(tmp_path: Path) -> Envelopes:
    return Envelopes(tmp_path / "envelopes")


def envelope() -> Envelope:
    return envelopes.wrapped(NAME, SEALED, 7, KEY, KEYS)


def test_written_read_listed_removed(kept: Envelopes) -> None:
    assert kept.read(NAME) is None
    assert kept.replace(NAME, None, one := envelope(), lambda: True)
    assert kept.read(NAME) == one
    assert kept.has(NAME)
    ((name, listed, _),) = kept.list()
    assert (name, listed) == (NAME, one)
    raw = kept.remove(NAME)
    assert raw is not None
    assert envelopes.parse(raw, NAME) == one
    assert kept.remove(NAME) is None
    assert list(kept.list()) == []
    assert not kept.has(NAME)


def test_it_is_replaced_only_when_nothing_changed_meanwhile(kept: Envelopes, tmp_path: Path) -> None:
    one, two = envelope(), envelope()
    assert kept.replace(NAME, None, one, lambda: True)
    raw = kept.raw(NAME)
    assert not kept.replace(NAME, None, two, lambda: True)
    assert not kept.replace(NAME, raw, two, lambda: False)
    assert kept.read(NAME) == one
    assert kept.replace(NAME, raw, two, lambda: True)
    assert kept.read(NAME) == two
    assert [path.name for path in (tmp_path / "envelopes").iterdir()] == [NAME], "nothing is left aside"


def test_it_opens_as_what_it_says_only() -> None:
    one = envelope()
    assert one.open(NAME, KEYS) == KEY
    changed = [
        ("3" * 64, one),
        (NAME, msgspec.structs.replace(one, sealed="3" * 64)),
        (NAME, msgspec.structs.replace(one, size_bytes=8)),
        (NAME, msgspec.structs.replace(one, wrapped=one.wrapped[:-1])),
    ]
    for name, wrong in changed:
        with pytest.raises(StoreDamaged):
            wrong.open(name, KEYS)


def test_a_damaged_one_is_not_none(kept: Envelopes, tmp_path: Path) -> None:
    kept.replace(NAME, None, envelope(), lambda: True)
    path = tmp_path / "envelopes" / NAME
    good = path.read_bytes()
    versions = good.replace(b'"envelope_version":1', b'"envelope_version":2')
    for raw in [b"", b"\xff", good[:-10], b"{}", versions, good.replace(SEALED.encode(), b"../../../etc/passwd")]:
        path.write_bytes(raw)
        with pytest.raises(StoreDamaged, match=f"envelope of blob {NAME[:12]}"):
            kept.read(NAME)


def test_what_a_writer_left_is_swept_and_never_listed(kept: Envelopes, tmp_path: Path) -> None:
    left = tmp_path / "envelopes" / f".{NAME}.abc"
    left.write_bytes(b"half")
    assert list(kept.list()) == []
    assert kept.sweep(3600) == 0
    os.utime(left, (0, 0))
    assert kept.sweep(3600) == 1
    assert not left.exists()
