"""Captures: read with the private key alone; every change is noticed; what is erased is gone from the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import StoreDamaged
from modelyard.guard import payloads
from modelyard.guard.payloads import Sealing

PRIVATE = payloads.new_private()
PUBLIC = payloads.public_of(PRIVATE)
BODIES = [b'{"canary":%d}' % number for number in range(9)]


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    segment = Sealing(tmp_path / "linear", 0, PUBLIC)
    for at in range(0, 9, 3):
        segment.append(BODIES[at : at + 3])
    segment.close()
    (path,) = (tmp_path / "linear").iterdir()
    return path


def test_it_is_read_with_the_private_key_alone(closed: Path) -> None:
    assert list(payloads.read(closed, PRIVATE)) == BODIES
    assert b"canary" not in closed.read_bytes()
    with pytest.raises(StoreDamaged):
        list(payloads.read(closed, payloads.new_private()))


def test_every_change_of_a_byte_is_noticed(closed: Path) -> None:
    raw = closed.read_bytes()
    for at in range(len(raw)):
        closed.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        try:
            read = list(payloads.read(closed, PRIVATE))
        except StoreDamaged:
            continue
        assert read in (BODIES[:6], BODIES[:3], []), f"byte {at}: only a length that says too much looks like an end"


def test_what_was_not_written_whole_is_left_out(closed: Path) -> None:
    raw = closed.read_bytes()
    closed.write_bytes(raw[:-1])
    assert list(payloads.read(closed, PRIVATE)) == BODIES[:6]


def test_parts_cannot_be_moved_to_another_segment(closed: Path, tmp_path: Path) -> None:
    renamed = closed.with_name("20260101T000000000000-0-0-00000000.sealed")
    closed.rename(renamed)
    with pytest.raises(StoreDamaged):
        list(payloads.read(renamed, PRIVATE))
    other = tmp_path / "other" / closed.name
    other.parent.mkdir()
    renamed.rename(other)
    with pytest.raises(StoreDamaged):
        list(payloads.read(other, PRIVATE))


def test_two_parts_of_one_number_are_refused(closed: Path) -> None:
    raw = closed.read_bytes()
    at = raw.index(b"\n") + 1
    size = 8 + int.from_bytes(raw[at + 4 : at + 8], "big")
    closed.write_bytes(raw[: at + size] + raw[at : at + size])
    with pytest.raises(StoreDamaged):
        list(payloads.read(closed, PRIVATE))


def test_rewritten_it_has_another_key_and_the_old_bytes_are_gone(closed: Path) -> None:
    before = closed.read_bytes()
    with closed.open("rb") as old:
        payloads.rewrite(closed, BODIES[:1], PUBLIC)
        assert old.read() == bytes(len(before))
    after = closed.read_bytes()
    assert list(payloads.read(closed, PRIVATE)) == BODIES[:1]
    assert before.split(b"\n")[0] != after.split(b"\n")[0]
    payloads.rewrite(closed, [], PUBLIC)
    assert not closed.exists()


def test_the_same_is_never_encrypted_alike(tmp_path: Path) -> None:
    for _ in range(2):
        segment = Sealing(tmp_path / "linear", 0, PUBLIC)
        segment.append(BODIES)
        segment.close()
    one, other = (path.read_bytes().partition(b"\n")[2] for path in (tmp_path / "linear").iterdir())
    assert one[8:] != other[8:]
