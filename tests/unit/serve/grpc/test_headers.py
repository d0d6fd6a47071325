"""Header blocks: read once and looked up, never looked up wrongly; written so that any decoder reads them."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.plan import Limits
from modelyard.guard.edges import Hosts
from modelyard.serve.grpc.frames import Violation
from modelyard.serve.grpc.headers import (
    FOREVER,
    OK_TRAILERS,
    RESPONSE,
    Head,
    Reader,
    Refusal,
    literal,
    refused,
    trailers,
)
from modelyard.serve.grpc.status import Code

CALL = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/p.S/M"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


def anywhere(authority: bytes) -> None:
    """All authorities are right."""
    del authority


def test_what_a_head_says() -> None:
    said = [*CALL, ("grpc-timeout", "1500m"), ("grpc-encoding", "gzip"), ("x-request-id", "a-1"), ("user-agent", "x")]
    head = Reader(Limits(), anywhere).head(Encoder().encode(said))
    assert head == Head(b"/p.S/M", 1.5, b"gzip", "a-1", None)
    assert Reader(Limits(), anywhere).head(Encoder().encode(CALL)) == Head(b"/p.S/M", FOREVER)


@pytest.mark.parametrize(
    ("said", "seconds"), [("2H", 7200), ("2M", 120), ("2S", 2), ("2m", 2e-3), ("2u", 2e-6), ("2n", 2e-9)]
)
def test_units_of_time(said: str, seconds: float) -> None:
    head = Reader(Limits(), anywhere).head(Encoder().encode([*CALL, ("grpc-timeout", said)]))
    assert head is not None
    assert head.timeout_s == pytest.approx(seconds)


def test_an_id_that_is_no_token_is_not_repeated() -> None:
    head = Reader(Limits(), anywhere).head(Encoder().encode([*CALL, ("x-request-id", "a b")]))
    assert head is not None
    assert head.request_id == ""


def test_the_same_block_is_looked_up_until_the_table_changes() -> None:
    reader, encoder = Reader(Limits(), anywhere), Encoder()
    first, same = encoder.encode(CALL), encoder.encode(CALL)
    assert first != same
    assert reader.head(first) == reader.head(same)
    assert reader.head(same) is reader.head(same)
    assert list(reader._known) == [same]
    other = encoder.encode([*CALL[:2], (":path", "/p.S/Other"), *CALL[3:]])
    head = reader.head(other)
    assert head is not None
    assert head.path == b"/p.S/Other"
    assert reader._known == {}  # what its bytes refer to may have moved


headers = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "grpc-timeout", "x-request-id"]), st.sampled_from(["1S", "2S", "xyz", "w" * 900])
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(headers, st.booleans(), st.integers(0, 4096)), max_size=30))
def test_looking_up_is_reading(said: list[tuple[list[tuple[str, str]], bool, int]]) -> None:
    """Whatever a client puts into the table, or throws out: the same head as from a reader that never looks up."""
    encoder, reader, plain = Encoder(), Reader(Limits(), anywhere), Reader(Limits(), anywhere)
    for extra, huffman, size in said:
        if size % 7 == 0:
            encoder.header_table_size = size
        block = encoder.encode([*CALL, *extra], huffman=huffman)
        plain._known.clear()
        assert reader.head(block) == plain.head(block)
    assert len(reader._known) <= 64


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_a_head_or_a_violation(blocks: list[bytes]) -> None:
    reader = Reader(Limits(), anywhere)
    for block in blocks:
        try:
            head = reader.head(block)
        except Violation:
            break
        assert head is None or head.path


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.sampled_from(Code))
def test_any_sentence_can_be_told(text: str, code: Code) -> None:
    from urllib.parse import unquote

    text = text.encode(errors="replace").decode()
    told = dict(Decoder().decode(trailers(code, text, [("x-request-id", "1")])))
    assert told["grpc-status"] == str(int(code))
    assert unquote(told.get("grpc-message", "")) == text
    assert all(0x20 <= ord(letter) < 0x7F for letter in told.get("grpc-message", ""))


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 16_000, 20_000])
def test_literals_of_any_length(size: int) -> None:
    assert Decoder().decode(literal(b"n" * max(size, 1), b"v" * size), raw=True) == [(b"n" * max(size, 1), b"v" * size)]


def test_what_is_written_beforehand() -> None:
    assert Decoder().decode(RESPONSE) == [(":status", "200"), ("content-type", "application/grpc")]
    assert Decoder().decode(OK_TRAILERS) == [("grpc-status", "0")]
    told = dict(Decoder().decode(refused(Refusal(Code.UNKNOWN, "no", 415))))
    assert (told[":status"], told["grpc-status"], told["grpc-message"]) == ("415", "2", "no")


def _only(authority: bytes) -> None:
    Hosts(["localhost"]).check(authority)


@pytest.mark.row("NET-05")
@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([(":authority", "localhost:8081")], None),
        ([(":authority", "localhost"), ("host", "localhost")], None),
        ([("host", "localhost")], None),
        ([(":authority", "evil.example")], Code.PERMISSION_DENIED),
        ([(":authority", "localhost"), ("host", "evil.example")], Code.INVALID_ARGUMENT),
        ([(":authority", "tmp%2Fsocket")], Code.INVALID_ARGUMENT),
        ([("host", "evil.example"), ("x-forwarded-host", "localhost")], Code.PERMISSION_DENIED),
        ([], None),
    ],
)
def test_a_call_is_for_this_server(names: list[tuple[str, str]], code: Code | None) -> None:
    pseudo = [pair for pair in names if pair[0][0] == ":"]
    said = [*CALL[:3], *pseudo, *CALL[3:], *(pair for pair in names if pair not in pseudo)]
    head = Reader(Limits(), _only).head(Encoder().encode(said))
    assert head is not None
    assert (head.refusal and head.refusal.code) == code


def test_what_was_read_is_read_again_when_names_change() -> None:
    allowed = ["localhost"]
    reader, encoder = Reader(Limits(), lambda authority: Hosts(allowed).check(authority)), Encoder()
    said = [*CALL[:3], (":authority", "localhost"), *CALL[3:]]
    blocks = [encoder.encode(said) for _ in range(3)]
    assert [reader.head(block).refusal for block in blocks] == [None] * 3  # type: ignore[union-attr]
    allowed[:] = ["other"]
    assert reader.head(blocks[2]).refusal is None  # type: ignore[union-attr]
    reader.forget()
    assert reader.head(blocks[2]).refusal is not None  # type: ignore[union-attr]
