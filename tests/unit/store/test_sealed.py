"""Blobs at rest: readable whichever way they lie, damaged ones refused, nothing in the clear while it is on."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import NotFound, StoreDamaged, Unavailable
from modelyard.guard.keysources import FileSource
from modelyard.guard.masterkeys import Keys, Ring
from modelyard.store.blobs import Blobs, open_blobs
from modelyard.store.cipher import SEGMENT_BYTES
from modelyard.store.envelopes import Envelopes
from modelyard.store.sealed import Places, SealedBlobs

HEAD, STEP = 31, SEGMENT_BYTES + 16  # of a sealed file, and of each segment in it
CANARY = b"canary-" + secrets.token_hex(8).encode()


class Shelf:
    """A store whose switch, keys and files the test holds."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.on = folder, True
        self.keys = Keys(lambda: FileSource(folder / "secrets" / "master.key"))
        self.keys.prepare()
        plain, sealed = (open_blobs((folder / name).as_uri()) for name in ("plain", "sealed"))
        self.places = Places(plain, sealed, Envelopes(folder / "envelopes"))
        self.blobs = SealedBlobs(self.places, self.keys, lambda: self.on)

    def put(self, content: bytes) -> str:
        return self.blobs.put([content])

    def sealed(self, digest: str) -> Path:
        envelope = self.places.envelopes.read(digest)
        assert envelope is not None
        return self.folder / "sealed" / "sha256" / envelope.sealed

    def envelope(self, digest: str) -> Path:
        return self.folder / "envelopes" / digest

    def renew(self) -> None:
        self.keys.keep(self.keys.ring.with_new())

    def holds(self, needle: bytes) -> bool:
        return any(needle in path.read_bytes() for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_on_and_off_again(shelf: Shelf) -> None:
    shelf.on = False
    names = [shelf.put(CANARY), shelf.put(b"two")]
    assert shelf.holds(CANARY)
    shelf.on = True
    assert sorted(shelf.blobs.strangers()) == sorted(names)
    for name in names:
        shelf.blobs.convert(name)
        assert shelf.blobs.get(names[0]) == CANARY
    assert shelf.blobs.strangers() == ()
    assert not shelf.holds(CANARY)
    assert {blob.digest: blob.size_bytes for blob in shelf.blobs.list()} == {names[0]: len(CANARY), names[1]: 3}
    shelf.on = False
    for name in shelf.blobs.strangers():
        shelf.blobs.convert(name)
    assert shelf.blobs.get(names[0]) == CANARY
    assert list(shelf.places.sealed.list()) == []
    assert list(shelf.places.envelopes.list()) == []


def test_putting_again_mends_either_way(shelf: Shelf) -> None:
    name = shelf.put(CANARY)
    shelf.sealed(name).write_bytes(b"damaged")
    with pytest.raises(StoreDamaged):
        shelf.blobs.get(name)
    shelf.put(CANARY)
    assert shelf.blobs.get(name) == CANARY
    assert len(list(shelf.places.sealed.list())) == 1, "what it replaced is gone"
    shelf.envelope(name).write_bytes(b"damaged")
    shelf.put(CANARY)
    assert shelf.blobs.get(name) == CANARY
    shelf.sealed(name).unlink()
    shelf.on = False
    shelf.put(CANARY)
    assert shelf.blobs.get(name) == CANARY


def swap(one: Path, other: Path) -> None:
    raw = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(raw)


@pytest.mark.row("CRY-01")
def test_swapped_blobs_and_envelopes_are_found(shelf: Shelf) -> None:
    one, other = shelf.put(b"x" * 1000), shelf.put(b"y" * 1000)
    for paths in [(shelf.sealed(one), shelf.sealed(other)), (shelf.envelope(one), shelf.envelope(other))]:
        swap(*paths)
        for name in (one, other):
            with pytest.raises(StoreDamaged):
                shelf.blobs.get(name)
        swap(*paths)
    assert shelf.blobs.get(one) == b"x" * 1000


@pytest.mark.row("CRY-01")
def test_a_thousand_flipped_bits_on_disk_are_a_thousand_found(
    shelf: Shelf, record_property: Callable[[str, object], None]
) -> None:
    name = shelf.put(CANARY * 50)
    dice, found, files = random.Random(2), 0, [shelf.sealed(name), shelf.envelope(name)]
    for turn in range(1000):
        path = files[turn % 2]
        raw = path.read_bytes()
        damaged = bytearray(raw)
        place = dice.randrange(len(raw) * 8)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            assert shelf.blobs.get(name) == CANARY * 50
        except (StoreDamaged, Unavailable):  # a name of a master key that there is none of
            found += 1
        path.write_bytes(raw)
    assert found == 1000
    assert shelf.blobs.get(name) == CANARY * 50
    record_property("number", f"{found:,} of 1,000 flipped bits of blobs and envelopes found")


def _flipped(raw: bytes, dice: random.Random) -> bytes:
    damaged, place = bytearray(raw), dice.randrange(len(raw) * 8)
    damaged[place // 8] ^= 1 << (place % 8)
    return bytes(damaged)


def _cut(raw: bytes, dice: random.Random) -> bytes:
    at = dice.choice([dice.randrange(len(raw)), HEAD, HEAD + STEP, HEAD + 2 * STEP, len(raw) - 1, len(raw) - 16, 0])
    return raw[:at]


def _longer(raw: bytes, dice: random.Random) -> bytes:
    return raw + dice.choice([b"\0", raw[-1:], raw[HEAD : HEAD + STEP], dice.randbytes(17)])


def _swapped(raw: bytes, dice: random.Random) -> bytes:
    parts = [raw[at : at + STEP] for at in range(HEAD, len(raw), STEP)]
    one, other = dice.sample(range(len(parts)), 2)
    parts[one], parts[other] = parts[other], parts[one]
    return raw[:HEAD] + b"".join(parts)


def _dropped(raw: bytes, dice: random.Random) -> bytes:
    at = HEAD + STEP * dice.randrange(3)
    return raw[:at] + raw[at + STEP :]


@pytest.mark.row("CRY-01")
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_damage_of_every_kind_is_found_and_leaves_nothing_readable(
    shelf: Shelf, count: int, record_property: Callable[[str, object], None]
) -> None:
    """Of a blob of several segments, of which others before the damage are sound."""
    dice, found = random.Random(3), 0
    content = CANARY + bytes(range(256)) * ((3 * SEGMENT_BYTES + 5000) // 256)
    name, twin = shelf.put(content), shelf.put(content[::-1])
    path, raw = shelf.sealed(name), shelf.sealed(name).read_bytes()
    other = shelf.sealed(twin).read_bytes()
    kinds = [_flipped, _cut, _longer, _swapped, _dropped, lambda raw, dice: other]
    for turn in range(count):
        path.write_bytes(kinds[turn % len(kinds)](raw, dice))
        with pytest.raises(StoreDamaged):
            shelf.blobs.get(name)
        assert not shelf.holds(CANARY)
        found += 1
    path.write_bytes(raw)
    assert shelf.blobs.get(name) == content
    record_property("number", f"{found:,} of {count:,} flips, cuts, additions, swaps found; 0 partial plaintext files")


def test_a_missing_envelope_is_not_found_and_missing_bytes_are_damage(shelf: Shelf) -> None:
    name = shelf.put(CANARY)
    shelf.sealed(name).unlink()
    with pytest.raises(StoreDamaged, match="missing"):
        shelf.blobs.get(name)
    shelf.envelope(name).unlink()
    with pytest.raises(NotFound):
        shelf.blobs.get(name)


def test_bytes_that_are_not_what_they_should_be_leave_nothing(shelf: Shelf) -> None:
    with pytest.raises(StoreDamaged):
        shelf.blobs.put([CANARY], digest="0" * 64)
    assert list(shelf.places.sealed.list()) == []


def test_bytes_without_an_envelope_are_swept(shelf: Shelf) -> None:
    kept, orphan = shelf.put(CANARY), shelf.put(b"orphan")
    shelf.envelope(orphan).unlink()
    assert shelf.blobs.sweep(3600) == 0
    assert shelf.blobs.sweep(0) == 1
    assert shelf.blobs.get(kept) == CANARY
    assert len(list(shelf.places.sealed.list())) == 1


def test_rewrapping_writes_envelopes_alone(shelf: Shelf) -> None:
    name = shelf.put(CANARY)
    path, before = shelf.sealed(name), shelf.sealed(name).stat().st_mtime_ns
    assert shelf.blobs.rewrap(name) is False
    shelf.renew()
    assert shelf.blobs.get(name) == CANARY, "both keys are at hand"
    assert shelf.blobs.rewrap(name) is True
    assert shelf.blobs.rewrap(name) is False
    assert (shelf.sealed(name), shelf.sealed(name).stat().st_mtime_ns) == (path, before)
    shelf.keys.keep(shelf.keys.ring.newest())
    assert shelf.blobs.get(name) == CANARY
    shelf.keys.keep(Ring({}).with_new())
    with pytest.raises(Unavailable, match="not at hand"):
        shelf.blobs.get(name)


class Between:
    """A store in which something happens just after a call, once."""

    def __init__(self, store: Blobs, call: str, act: Callable[[], object]) -> None:
        self._store, self._call, self._act = store, call, [act]

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        return self._then_act(real) if name == self._call else real

    def _then_act(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            try:
                return real(*args, **options)
            finally:
                if self._act:
                    self._act.pop()()

        return call


def put_in_between(shelf: Shelf, *, first_on: bool, place: str, call: str) -> None:
    """Somebody keeps a blob, and just after that call another keeps it the other way."""
    shelf.on = first_on

    def other() -> None:
        shelf.blobs = plain
        shelf.on = not first_on
        shelf.put(CANARY)

    plain = shelf.blobs
    meddled = Between(getattr(shelf.places, place), call, other)
    shelf.blobs = SealedBlobs(shelf.places._replace(**{place: meddled}), shelf.keys, lambda: shelf.on)
    name = shelf.put(CANARY)
    assert shelf.on is not first_on
    assert shelf.blobs.get(name) == CANARY
    assert shelf.blobs.has(name)
    shelf.blobs.convert(name)
    assert shelf.blobs.get(name) == CANARY
    assert shelf.blobs.strangers() == ()


def test_two_who_keep_a_blob_in_two_ways_do_not_lose_it(shelf: Shelf) -> None:
    put_in_between(shelf, first_on=False, place="plain", call="put")
    put_in_between(shelf, first_on=True, place="sealed", call="put")
    put_in_between(shelf, first_on=True, place="envelopes", call="replace")


def test_a_reader_whose_blob_is_kept_another_way_and_back_again_finds_it(shelf: Shelf) -> None:
    shelf.on = False
    name = shelf.put(CANARY)
    shelf.on = True
    shelf.put(CANARY)
    stale = [None, None, None]  # a reader that looks always just before it changes
    real = shelf.places.envelopes.read
    shelf.places.envelopes.read = lambda digest: stale.pop() if stale else real(digest)  # type: ignore[method-assign]
    assert shelf.blobs.get(name) == CANARY
    assert stale == []


def test_readers_and_writers_while_it_is_turned_on_and_off_and_keys_change(shelf: Shelf) -> None:
    contents = [secrets.token_bytes(5000) for _ in range(4)]
    names = [shelf.put(content) for content in contents]
    end, wrong = threading.Event(), []

    def keep_doing(act: Callable[[int], bool]) -> None:
        at = 0
        while not end.is_set():
            try:
                if not act(at % len(names)):
                    wrong.append("other bytes")
            except Exception as exc:
                wrong.append(repr(exc))
                return
            at += 1

    acts = [
        lambda at: shelf.blobs.get(names[at]) == contents[at],
        lambda at: shelf.blobs.get(names[-at]) == contents[-at],
        lambda at: shelf.put(contents[at]) == names[at],
        lambda at: shelf.blobs.rewrap(names[at]) in {True, False},
    ]
    threads = [threading.Thread(target=keep_doing, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for turn in range(8):
        shelf.on = turn % 2 == 1
        for name in shelf.blobs.strangers():
            shelf.blobs.convert(name)
        if turn % 4 == 0:
            shelf.renew()
    end.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [shelf.blobs.get(name) for name in names] == contents
