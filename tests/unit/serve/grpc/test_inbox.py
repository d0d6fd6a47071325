"""Messages out of pieces: every cut gives the same ones."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import ModelyardError, TooLarge
from modelyard.serve.grpc.inbox import Inbox
from tests.unit.serve.grpc.wire import prefixed


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=80), st.booleans()), max_size=6), st.data())
def test_any_cut_gives_the_same_messages(messages: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    said = b"".join(prefixed(zlib.compress(raw), 1) if fold else prefixed(raw) for raw, fold in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=8)))
    inbox, got = Inbox(100, b"deflate"), []
    for start, stop in zip([0, *cuts], [*cuts, len(said)], strict=True):
        got += list(inbox.feed(memoryview(said)[start:stop]))
    assert got == [raw for raw, _ in messages]
    assert not inbox.begun
    assert inbox.held_bytes == 0


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=10), st.sampled_from([b"identity", b"gzip", b"deflate", b"x"]))
def test_any_bytes_are_messages_or_an_error(pieces: list[bytes], encoding: bytes) -> None:
    inbox = Inbox(1000, encoding)
    try:
        for piece in pieces:
            for raw in inbox.feed(memoryview(piece)):
                assert len(raw) <= 1000
    except ModelyardError:
        pass


def test_the_limit_is_of_both_sizes() -> None:
    assert list(Inbox(100, b"deflate").feed(memoryview(prefixed(zlib.compress(bytes(100)), 1)))) == [bytes(100)]
    for said in (prefixed(bytes(101)), prefixed(zlib.compress(bytes(101)), 1)):
        with pytest.raises(TooLarge):
            list(Inbox(100, b"deflate").feed(memoryview(said)))
