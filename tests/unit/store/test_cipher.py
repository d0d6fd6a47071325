"""Sealed content: nothing that is changed, cut, moved or another's is ever given out."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable

import pytest

from modelyard.core.errors import StoreDamaged
from modelyard.store import cipher
from modelyard.store.cipher import SEGMENT_BYTES

KEY = cipher.new_key()
HEAD = 31
STEP = SEGMENT_BYTES + 16
LONG = secrets.token_bytes(3 * SEGMENT_BYTES + 1000)


def sealed(content: bytes, key: bytes = KEY) -> bytes:
    return b"".join(cipher.seal(key, [content]))


@pytest.mark.parametrize(
    "size", [0, 1, 1000, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES, 2 * SEGMENT_BYTES + 7]
)
def test_what_was_sealed_comes_back(size: int) -> None:
    content = secrets.token_bytes(size)
    raw = sealed(content)
    assert cipher.unseal(KEY, raw) == content
    assert len(raw) == HEAD + size + 16 * max(1, -(-size // SEGMENT_BYTES))
    assert size < 16 or content[:16] not in raw


def test_chunks_of_any_size_make_the_same_segments() -> None:
    chunks = [LONG[at : at + 100_003] for at in range(0, len(LONG), 100_003)]
    lengths = [len(piece) for piece in cipher.seal(KEY, iter(chunks))]
    assert lengths == [HEAD, STEP, STEP, STEP, 1000 + 16]
    assert cipher.unseal(KEY, b"".join(cipher.seal(KEY, iter(chunks)))) == LONG


def test_twice_the_same_is_sealed_differently() -> None:
    assert sealed(b"the same") != sealed(b"the same")


def test_a_thousand_flipped_bits_are_a_thousand_found() -> None:
    raw, dice = sealed(LONG[: SEGMENT_BYTES + 5000]), random.Random(1)
    places = [*range(HEAD * 8), *(dice.randrange(len(raw) * 8) for _ in range(1000 - HEAD * 8))]
    found = 0
    for place in places:
        damaged = bytearray(raw)
        damaged[place // 8] ^= 1 << (place % 8)
        with pytest.raises(StoreDamaged):
            cipher.unseal(KEY, bytes(damaged))
        found += 1
    assert found == 1000


CUTS = [0, 1, HEAD - 1, HEAD, HEAD + 1, HEAD + 15, HEAD + 16, HEAD + STEP - 1, HEAD + STEP, HEAD + STEP + 1]


@pytest.mark.parametrize("length", [*CUTS, HEAD + 2 * STEP, HEAD + 3 * STEP, HEAD + 3 * STEP + 5, -1, -16])
def test_cut(length: int) -> None:
    with pytest.raises(StoreDamaged):
        cipher.unseal(KEY, sealed(LONG)[:length])


def segments(raw: bytes) -> list[bytes]:
    return [raw[at : at + STEP] for at in range(HEAD, len(raw), STEP)]


OTHER = sealed(LONG)  # the same content, under the same key, which never happens: only the head differs
MOVES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "two swapped": lambda parts: [parts[1], parts[0], *parts[2:]],
    "the last first": lambda parts: [parts[-1], *parts[:-1]],
    "one left out": lambda parts: [parts[0], *parts[2:]],
    "one twice": lambda parts: [parts[0], parts[0], *parts[1:]],
    "the last twice": lambda parts: [*parts, parts[-1]],
    "one of another": lambda parts: [parts[0], segments(OTHER)[1], *parts[2:]],
    "all of another": lambda parts: segments(OTHER),
    "something after it": lambda parts: [*parts, b"x"],
    "an empty last": lambda parts: [*parts[:-1], b""],
}


@pytest.mark.parametrize("move", MOVES.values(), ids=list(MOVES))
def test_moved(move: Callable[[list[bytes]], list[bytes]]) -> None:
    raw = sealed(LONG)
    with pytest.raises(StoreDamaged):
        cipher.unseal(KEY, raw[:HEAD] + b"".join(move(segments(raw))))


def test_another_key_opens_nothing() -> None:
    with pytest.raises(StoreDamaged):
        cipher.unseal(cipher.new_key(), sealed(b"content"))


def test_a_key_is_wrapped_for_one_context() -> None:
    master, key = cipher.new_key(), cipher.new_key()
    wrapped = cipher.wrap(master, key, b"for this")
    assert cipher.unwrap(master, wrapped, b"for this") == key
    for wrong in [(KEY, wrapped, b"for this"), (master, wrapped, b"for that"), (master, b"", b"for this")]:
        with pytest.raises(StoreDamaged):
            cipher.unwrap(*wrong)
    for at in range(len(wrapped) * 8):
        damaged = bytearray(wrapped)
        damaged[at // 8] ^= 1 << (at % 8)
        with pytest.raises(StoreDamaged):
            cipher.unwrap(master, bytes(damaged), b"for this")


def test_errors_tell_nothing_of_what_was_opened() -> None:
    raw = bytearray(sealed(b"canary " * 1000))
    raw[-1] ^= 1
    with pytest.raises(StoreDamaged) as caught:
        cipher.unseal(KEY, bytes(raw))
    assert "canary" not in str(caught.value.to_wire())
    assert caught.value.__cause__ is None
