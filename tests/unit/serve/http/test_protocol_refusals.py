"""What is refused before it is a request: after the answers that are owed, and in its place."""

from __future__ import annotations

import asyncio
import re

from modelyard.core.plan import Limits
from tests.unit.serve.http.test_protocol import CHUNKED, OK, Bench, chunked, in_loop, post

BROKEN = b"this is no request\r\n\r\n"


@in_loop
def test_a_refusal_waits_for_the_answers_that_are_owed() -> None:
    """Models answer a little later; what breaks after a good request must not take its answer, or its place."""
    bench = Bench()
    bench.transport.half_closes = True
    bench.connection.data_received(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + BROKEN)
    assert bench.transport.sent == b""
    assert bench.server.in_flight == 1
    first, second = bench.router.kept
    second.respond(OK, b"[2]")
    bench.get("/now")  # nothing more is taken
    first.respond(OK, b"[1]")
    assert bench.transport.statuses == [200, 200, 400]
    assert re.findall(rb"\r\n\r\n(\[\d\])", bench.transport.sent) == [b"[1]", b"[2]"]
    assert bench.transport.ended
    assert len(bench.router.seen) == 2


@in_loop
def test_a_late_request_is_told_so_after_the_answers_that_are_owed() -> None:
    bench = Bench()
    bench.transport.half_closes = True
    bench.get("/later")
    bench.connection.data_received(b"GET /now HT")
    bench.server.sweep(bench.connection.deadline + 0.1)
    assert bench.transport.sent == b""
    bench.server.sweep(asyncio.get_running_loop().time() + 1000)
    assert not bench.transport.aborted  # it is we who are late now
    bench.router.kept[0].respond(OK, b"{}")
    assert bench.transport.statuses == [200, 408]
    assert bench.transport.ended


@in_loop
def test_who_left_before_the_refusal_could_be_said() -> None:
    bench = Bench()
    bench.get("/later")
    bench.connection.data_received(BROKEN)
    bench.connection.connection_lost(None)
    bench.router.kept[0].respond(OK, b"{}")
    assert bench.transport.sent == b""
    assert bench.server.in_flight == 0


@in_loop
def test_a_broken_stream_that_waits_for_its_turn_is_refused_in_its_place() -> None:
    bench = Bench()
    bench.transport.half_closes = True
    bench.get("/later")
    post(bench, "/s", chunked(b"one", last=False), CHUNKED)
    bench.connection.data_received(b"no chunk\r\n")
    bench.router.kept[0].respond(OK, b"{}")
    assert bench.transport.statuses == [200, 400]
    assert b"one" not in bench.transport.sent
    assert bench.transport.ended


@in_loop
def test_what_breaks_behind_a_whole_stream_leaves_it_whole() -> None:
    bench = Bench()
    bench.get("/later")
    post(bench, "/s", chunked(b"one"), CHUNKED)
    bench.connection.data_received(BROKEN)
    bench.router.kept[0].respond(OK, b"{}")
    assert bench.transport.statuses == [200, 200, 400]
    assert not bench.transport.aborted
    assert chunked(b"one") in bench.transport.sent


@in_loop
def test_an_unknown_expectation_is_refused_before_anybody_takes_the_body() -> None:
    bench = Bench()
    post(bench, "/s", b"one", "Content-Length: 3", "Expect: something")
    assert bench.transport.statuses == [417]
    assert bench.router.echoes == []


@in_loop
def test_trailers_are_counted_and_change_nothing() -> None:
    bench = Bench(Limits(header_count=4))
    start = b"POST /later HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    bench.connection.data_received(start + b"Content-Encoding: gzip\r\nHost: b\r\n\r\n")
    assert bench.router.kept[0].headers == {b"host": b"a", b"transfer-encoding": b"chunked"}
    bench.router.kept[0].respond(OK, b"{}")
    bench.connection.data_received(start + b"a: b\r\nc: d\r\ne: f\r\n\r\n")
    assert bench.transport.statuses == [200, 431]


@in_loop
def test_a_body_may_come_in_so_many_chunks_and_a_stream_in_any_number() -> None:
    start = b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%s\r\n"
    for count, limits, status in (
        (65_536, Limits(), 200),
        (65_537, Limits(), 413),
        (65_537, Limits(body_bytes=256 * 65_537), 200),
        (65_538, Limits(body_bytes=256 * 65_537), 413),
    ):
        bench = Bench(limits)
        bench.connection.data_received(start % (b"/now", b"") + b"1\r\nx\r\n" * count + b"0\r\n\r\n")
        assert bench.transport.statuses == [status]
        assert (b"connection: close" in bench.transport.sent) == (status != 200)
    bench = Bench()
    bench.connection.data_received(start % (b"/s", b"Content-Type: stream\r\n") + b"1\r\nx\r\n" * 65_537 + b"0\r\n\r\n")
    assert bench.transport.statuses == [200]
    assert bench.router.echoes[0].whole
