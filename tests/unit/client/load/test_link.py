"""Every way in which a server may frame its answer, and every way in which it may fail to."""

from __future__ import annotations

import pytest

from modelyard.client.load.step import Step
from modelyard.client.load.tally import Tally
from tests.unit.client.load.stand import RIGHT, Deed, Stand, http, question, run


def _ask(stand: Stand, requests: int = 3, *, timeout_s: float = 5.0, answer: bytes = RIGHT) -> Tally:
    step = Step(connections=1, duration_s=5.0, requests=requests, timeout_s=timeout_s)
    return run(stand, step, question(stand.place, answer=answer))


def _pieces(data: bytes, *cuts: int) -> list[Deed]:
    deeds: list[Deed] = []
    for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        deeds += [data[begin:end], 0.01]
    return deeds


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
    + RIGHT[:5]
    + b"\r\nf\r\n"
    + RIGHT[5:]
    + b"\r\n0\r\n\r\n"
)
OLD = b"HTTP/1.0 200 OK\r\n\r\n" + RIGHT
LARGE = b'{"prediction":[' + b"1.0," * 200_000 + b"2.0]}"


@pytest.mark.parametrize(
    "deeds",
    [
        [http()],
        [http(RIGHT, "200 OK", "X-Request-Id: 7")],
        [http().replace(b"Content-Length", b"content-LENGTH").replace(b": ", b":")],
        _pieces(http(), 4, 20, 45),
        [http()[:-1], 0.01, http()[-1:]],
        [CHUNKED],
        _pieces(CHUNKED, 10, 50, 60),
        [b"HTTP/1.1 100 Continue\r\n\r\n", 0.01, http()],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + http()],
    ],
    ids=[
        "plain",
        "more-lines",
        "spelling",
        "pieces",
        "last-byte",
        "chunked",
        "chunked-pieces",
        "continue",
        "continue-at-once",
    ],
)
def test_answers_on_a_kept_connection(deeds: list[Deed]) -> None:
    with Stand(lambda _: deeds) as stand:
        tally = _ask(stand)
        assert (tally.answered, tally.failed, tally.near, tally.reconnects) == (3, 0, 0, 0), tally
        assert stand.connections == 1


@pytest.mark.parametrize(
    "deeds",
    [
        [http(RIGHT, "200 OK", "Connection: close"), None],
        [http(RIGHT, "200 OK", "connection: Close")],
        [OLD, None],
        [b"HTTP/1.1 200 OK\r\n\r\n" + RIGHT, 0.01, None],
    ],
    ids=["close", "close-asked", "old", "until-the-end"],
)
def test_connections_that_end_with_the_answer_are_opened_again(deeds: list[Deed]) -> None:
    with Stand(lambda _: deeds) as stand:
        tally = _ask(stand)
        assert (tally.answered, tally.failed) == (3, 0), tally
        assert tally.reconnects >= 2
        assert stand.connections >= 3


def test_large_answers() -> None:
    with Stand(lambda _: [http(LARGE)]) as stand:
        tally = _ask(stand, answer=LARGE)
        assert (tally.answered, tally.failed, tally.near) == (3, 0, 0)


@pytest.mark.parametrize(
    ("deeds", "kind"),
    [
        ([None], "closed"),
        ([http()[:-3], 0.01, None], "closed"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", 0.01, None], "closed"),
        ([b"nonsense\r\n\r\n"], "broken"),
        ([http() + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], "broken"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"], "broken"),
        ([http(b"no", "503 Service Unavailable")], "status 503"),
        ([http(RIGHT, "201 Created")], "status 201"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], "status 204"),
        ([5.0], "timeout"),
    ],
    ids=["at-once", "in-the-body", "in-the-head", "nonsense", "two-answers", "length", "503", "201", "204", "silence"],
)
def test_what_is_no_answer_is_counted_by_its_kind_and_the_next_is_asked(deeds: list[Deed], kind: str) -> None:
    with Stand(lambda number: [http()] if number == 2 else deeds) as stand:
        tally = _ask(stand, timeout_s=0.2)
        assert tally.errors == {kind: 2}, tally
        assert tally.wrong == 0
        assert tally.asked == 3
        assert tally.answered == (3 if kind.startswith("status") else 1)


def test_wrong_answers_are_counted_and_shown() -> None:
    with Stand(lambda number: [http(b'{"prediction":[7.0]}' if number % 2 else RIGHT)]) as stand:
        tally = _ask(stand, requests=10)
        assert (tally.answered, tally.wrong, tally.errors) == (10, 5, {})
        assert tally.samples[0].body == '{"prediction":[7.0]}'


def test_what_nobody_asked_for_is_no_answer() -> None:
    with Stand(lambda _: [http(), 0.05, http(), 0.05]) as stand:
        step = Step(connections=1, duration_s=0.5, rate=4.0, arrivals="constant", timeout_s=0.5)
        assert run(stand, step).errors["broken"] >= 1
