"""Master keys: one text for every source, the first wraps, all unwrap, none is ever shown."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest

from modelyard.core.errors import StoreDamaged, Unavailable
from modelyard.guard.masterkeys import Keys, Ring, name

ONE, TWO = b"1" * 32, b"2" * 32


def text(*keys: bytes, sep: str = "\n") -> str:
    return sep.join(base64.b64encode(key).decode() for key in keys)


@dataclass
class Slate:
    """A source in memory that counts how often it is read."""

    text: str | None = None
    writable: bool = True
    reads: int = 0

    def stamp(self) -> object:
        return self.text

    def read(self) -> str:
        self.reads += 1
        assert self.text is not None
        return self.text

    def write(self, text: str) -> None:
        self.text = text


@pytest.mark.parametrize("sep", ["\n", " ", ",", ", ", "\n\n"])
def test_a_ring_is_read_however_it_was_typed(sep: str) -> None:
    ring = Ring.parse(text(ONE, TWO, sep=sep) + "\n")
    assert list(ring.keys.values()) == [ONE, TWO]
    assert ring.current == name(ONE) != name(TWO)
    assert Ring.parse(str(ring)).keys == ring.keys


@pytest.mark.parametrize(
    "wrong", ["", " \n", "hello", text(b"short"), text(ONE)[:-1], text(ONE) + "!", text(ONE, b"")[:-1] + "x"]
)
def test_what_is_no_ring(wrong: str) -> None:
    with pytest.raises(ValueError, match="not "):
        Ring.parse(wrong)


def test_a_new_key_comes_first_and_the_old_ones_stay() -> None:
    ring = Ring.parse(text(ONE))
    new = ring.with_new()
    assert list(new.keys)[1:] == [name(ONE)]
    assert list(new.newest().keys.values()) == [new.keys[new.current]]
    assert new.current != ring.with_new().current


def test_a_ring_is_not_shown() -> None:
    ring = Ring.parse(text(ONE))
    shown = f"{ring!r} {Keys(lambda: Slate(text(ONE)))!r}"
    assert text(ONE) not in shown
    assert "1111" not in shown
    assert name(ONE) not in text(ONE)


def test_keys_are_read_when_needed_and_again_when_changed() -> None:
    slate = Slate(text(ONE))
    keys = Keys(lambda: slate)
    assert slate.reads == 0
    master, wrapped = keys.wrap(b"k" * 32, b"context")
    assert master == name(ONE)
    assert keys.unwrap(master, wrapped, b"context") == b"k" * 32
    assert slate.reads == 1
    slate.text = text(TWO, ONE)
    assert keys.current == name(TWO)
    assert keys.unwrap(master, wrapped, b"context") == b"k" * 32
    assert slate.reads == 2
    with pytest.raises(StoreDamaged):
        keys.unwrap(name(TWO), wrapped, b"context")
    slate.text = text(TWO)
    with pytest.raises(Unavailable, match=f"{name(ONE)} is not at hand"):
        keys.unwrap(master, wrapped, b"context")


def test_the_first_key_is_made_once() -> None:
    slate = Slate()
    keys = Keys(lambda: slate)
    keys.prepare()
    first = keys.current
    keys.prepare()
    assert keys.current == first
    keys.keep(keys.ring.with_new())
    assert list(keys.ring.keys)[1:] == [first]


def test_a_text_that_is_no_key_says_what_it_should_be() -> None:
    with pytest.raises(Unavailable, match="not keys of 32 bytes") as caught:
        _ = Keys(lambda: Slate(text(b"secret"))).ring
    assert text(b"secret") not in str(caught.value.to_wire())
    assert "head -c 32" in caught.value.hint
