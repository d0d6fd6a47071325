"""Streams of rows: one line of answer for each, in order, whatever is bad between them."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import Busy, Internal, InvalidInput, ModelyardError
from modelyard.core.inference import InferRequest
from modelyard.core.plan import Limits
from modelyard.model.bundle import Bundle
from modelyard.serve.batching import Ask, Lane, Reply
from modelyard.serve.http.lines import BATCH_ROWS, WAITING_BYTES
from modelyard.serve.http.protocol import Connection, Server
from modelyard.serve.replica import Replica
from modelyard.watch.counters import read_totals
from tests.models import image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, in_thread, served
from tests.unit.serve.http.test_protocol import Transport

HEAD = "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n{extra}\r\n"


class Caller:
    """A client on a connection of memory."""

    def __init__(self, desk: Desk, limits: Limits | None = None) -> None:
        self.transport = Transport()
        self.transport.half_closes = True
        self.connection = Connection(Server(limits or Limits(), desk.routes))
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def open(self, path: str = "/predict", kind: str = "application/x-ndjson", extra: str = "") -> None:
        self.connection.data_received(HEAD.format(path=path, kind=kind, extra=extra).encode())

    def say(self, data: bytes) -> None:
        self.connection.data_received(b"%x\r\n%s\r\n" % (len(data), data))

    def close(self) -> None:
        self.connection.data_received(b"0\r\n\r\n")

    @property
    def status(self) -> int:
        return self.transport.statuses[-1]

    @property
    def closes(self) -> bool:
        """Whether nothing more is said; what is under way of a body is thrown away."""
        return self.transport.closed or self.transport.ended

    @property
    def whole(self) -> bool:
        return self.transport.sent.endswith(b"0\r\n\r\n")

    @property
    def lines(self) -> list[Any]:
        head, _, body = self.transport.sent.partition(b"\r\n\r\n")
        assert b"chunked" in head
        return [json.loads(line) for line in unchunked(body).splitlines()]

    async def until(self, done: str = "whole") -> None:
        for _ in range(5_000):
            if getattr(self, done):
                return
            await asyncio.sleep(0.001)
        raise AssertionError(self.transport.sent[-300:])


def unchunked(body: bytes) -> bytes:
    parts = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        parts, body = parts + rest[:length], rest[length + 2 :]
    return parts


def desk(tmp_path: Path, bundle: Bundle, executor: Executor | None = None) -> Desk:
    found = Desk(tmp_path)
    found.serve(served(found.page, bundle, executor=executor))
    return found


def replica(found: Desk) -> Replica:
    return found.plane.roster.replicas()[0]


def stream(found: Desk, *parts: bytes, path: str = "/predict", kind: str = "application/x-ndjson") -> Caller:
    async def inside() -> Caller:
        caller = Caller(found)
        caller.open(path, kind)
        for part in parts:
            caller.say(part)
        caller.close()
        for _ in range(5_000):
            if caller.transport.sent and (caller.whole or caller.status != 200):
                break
            await asyncio.sleep(0.001)
        return caller

    return asyncio.run(inside())


ROW = {"species": "gentoo", "length": 210.0, "mass": 5000.0}


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl; charset=utf-8", "Application/JSONLines"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n  \n"])
def test_each_row_has_its_line(tmp_path: Path, kind: str, end: bytes) -> None:
    rows = b"\n".join(b'{"feature": %d}' % number for number in range(600)) + end
    caller = stream(desk(tmp_path, linear_bundle()), rows, kind=kind)
    assert caller.lines == [{"prediction": 2.0 * number} for number in range(600)]
    assert b"content-type: application/x-ndjson" in caller.transport.sent
    assert b"modelyard-model: linear@1" in caller.transport.sent


def test_lines_may_be_torn_anywhere(tmp_path: Path) -> None:
    text = b'{"feature": 1}\r\n{"feature": 20}\n\n{"feature": 3}'
    found = desk(tmp_path, linear_bundle())
    for cut in range(1, len(text)):
        assert stream(found, text[:cut], text[cut:]).lines == [{"prediction": value} for value in (2.0, 40.0, 6.0)]
    assert stream(found, *(bytes([byte]) for byte in text)).lines[1] == {"prediction": 40.0}


def test_the_answers_are_those_of_whole_requests(tmp_path: Path) -> None:
    for name, bundle in {"mixed": mixed_bundle(), "image": image_bundle()}.items():
        (tmp_path / name).mkdir()
        found = Desk(tmp_path / name)
        found.serve(served(found.page, bundle))
        rows = bundle.samples.rows
        body = b"\n".join(json.dumps(row).encode() for row in rows)
        whole = found.ask("POST", f"/models/{name}/predict?detail=full", rows).json
        lines = stream(found, body, path=f"/models/{name}/predict?detail=full").lines
        assert [line["prediction"] for line in lines] == whole["prediction"]
        assert [line.get("probabilities") for line in lines] == whole.get("probabilities", [None] * len(rows))
        assert {(line["model"], line["version"]) for line in lines} == {(name, 1)}


BAD = {
    b'{"feature": "x"}': "INPUT-WRONG-TYPE",
    b'{"feature": null}': "INPUT-NOT-A-NUMBER",
    b'{"other": 1}': "INPUT-UNKNOWN-FIELD",
    b"{}": "INPUT-MISSING-FIELD",
    b'[{"feature": 1}]': "INPUT-WRONG-TYPE",
    b'{"feature": [1]}': "INPUT-WRONG-TYPE",
    b'{"feature": [1, 2]}': "INPUT-WRONG-TYPE",
    b'{"feature": 1}{"feature": 2}': "REQUEST-INVALID",
    b'{"feature": 1},{"feature": 2}': "REQUEST-INVALID",
    b'{"feature": ': "REQUEST-INVALID",
    b"1}": "REQUEST-INVALID",
    b"3": "INPUT-WRONG-TYPE",
    b"\xff": "REQUEST-INVALID",
    b"[" * 5000: "REQUEST-INVALID",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_is_told_in_its_place_and_stops_nobody(tmp_path: Path, bad: bytes) -> None:
    found = desk(tmp_path, linear_bundle())
    rows = [b'{"feature": %d}' % number for number in range(300)]
    rows[7] = rows[290] = bad
    lines = stream(found, b"\n".join(rows)).lines
    assert len(lines) == 300
    for at, line in enumerate(lines):
        if at in {7, 290}:
            assert (line["error"]["code"], line["line"]) == (BAD[bad], at + 1)
        else:
            assert line == {"prediction": 2.0 * at}
    total = read_totals(tmp_path)["linear@1"]
    assert (total.rows, total.invalid, total.failed) == (298, 2, 0)


def test_all_bad(tmp_path: Path) -> None:
    lines = stream(desk(tmp_path, linear_bundle()), b"{}\n" * 1000).lines
    assert [line["line"] for line in lines] == list(range(1, 1001))


def test_the_first_answer_comes_before_the_last_row(tmp_path: Path) -> None:
    async def inside() -> None:
        caller = Caller(desk(tmp_path, linear_bundle()))
        caller.open()
        for number in range(5):
            caller.say(b'{"feature": %d}\n' % number)
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(caller.lines) == number + 1
        caller.close()
        await caller.until()

    asyncio.run(inside())


def test_no_rows_are_refused(tmp_path: Path) -> None:
    found = desk(tmp_path, linear_bundle())
    for body in ([], [b"\n  \n"]):
        caller = stream(found, *body)
        assert caller.status == 400
        assert b"INPUT-NO-ROWS" in caller.transport.sent
        assert not caller.transport.closed


@pytest.mark.parametrize(
    ("path", "kind", "extra", "status"),
    [
        ("/predict?detail=half", "application/x-ndjson", "", 400),
        ("/predict", "application/x-ndjson", "Content-Encoding: gzip\r\n", 415),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_it_is_read(
    tmp_path: Path, path: str, kind: str, extra: str, status: int
) -> None:
    async def inside() -> Caller:
        caller = Caller(desk(tmp_path, linear_bundle()))
        caller.open(path, kind, extra)
        return caller

    caller = asyncio.run(inside())
    assert caller.status == status
    assert caller.closes


def test_a_line_without_end_is_given_up(tmp_path: Path) -> None:
    async def inside(*first: bytes) -> Caller:
        caller = Caller(desk(tmp_path, linear_bundle()), Limits())
        caller.open()
        for part in first:
            caller.say(part)
            await asyncio.sleep(0.01)
        for _ in range(17):
            caller.say(b"x" * 1024 * 1024)
        await asyncio.sleep(0.01)
        return caller

    caller = asyncio.run(inside())
    assert caller.status == 413
    assert caller.closes
    caller = asyncio.run(inside(b'{"feature": 1}\n'))
    assert caller.lines[0] == {"prediction": 2.0}
    assert (caller.lines[1]["error"]["code"], caller.lines[1]["line"]) == ("REQUEST-TOO-LARGE", 2)
    assert caller.closes


class Slow:
    """A replica's way to answer, step by step."""

    def __init__(self, found: Desk) -> None:
        self._answer = replica(found).submit
        self.waiting: list[tuple[InferRequest, Reply]] = []
        replica(found).submit = self._submit

    def _submit(self, asked: InferRequest, reply: Reply, caller: Any = None) -> Any:
        del caller
        self.waiting.append((asked, reply))

    def answer(self) -> int:
        asked, reply = self.waiting.pop(0)
        self._answer(asked, reply)
        return len(asked.arrays[0])


def test_a_client_that_is_faster_than_the_model_is_made_to_wait(tmp_path: Path) -> None:
    async def inside() -> None:
        found = desk(tmp_path, linear_bundle())
        caller, slow = Caller(found), Slow(found)
        caller.open()
        row, sent = b'{"feature": 1}\n', 0
        while caller.transport.reading:
            caller.say(row * 100)
            sent += 100
            await asyncio.sleep(0)
        # one batch is with the model, the rest waits
        assert 0 <= sent * (len(row) - 1) - WAITING_BYTES <= 2 * BATCH_ROWS * len(row)
        while slow.waiting:
            assert len(slow.waiting) == 1
            slow.answer()
            await asyncio.sleep(0.001)
        assert caller.transport.reading
        caller.close()
        await caller.until()
        assert len(caller.lines) == sent

    asyncio.run(inside())


def test_who_does_not_read_is_not_worked_for(tmp_path: Path) -> None:
    async def inside() -> None:
        found = desk(tmp_path, linear_bundle())
        caller = Caller(found)
        caller.open()
        caller.connection.pause_writing()
        caller.say(b'{"feature": 1}\n')
        await asyncio.sleep(0.01)
        assert caller.transport.sent == b""
        caller.connection.resume_writing()
        caller.close()
        await caller.until()
        assert caller.lines == [{"prediction": 2.0}]

    asyncio.run(inside())


def test_a_client_that_goes_leaves_nothing_behind(tmp_path: Path) -> None:
    async def inside() -> None:
        found = desk(tmp_path, linear_bundle())
        caller, slow = Caller(found), Slow(found)
        caller.open()
        caller.say(b'{"feature": 1}\n' * (3 * BATCH_ROWS))
        await asyncio.sleep(0)
        caller.connection.connection_lost(None)
        slow.answer()
        await asyncio.sleep(0.01)
        assert slow.waiting == []

    asyncio.run(inside())


def test_models_in_threads_answer_in_order(tmp_path: Path) -> None:
    found = desk(tmp_path, linear_bundle(), ThreadPoolExecutor(2))
    in_thread(replica(found))
    rows = b"".join(b'{"feature": %d}\n' % number for number in range(2000))
    assert [line["prediction"] for line in stream(found, rows).lines] == [2.0 * number for number in range(2000)]


def failing(found: Desk, *errors: ModelyardError | None) -> list[int]:
    """Answer the calls with these errors, None and further ones with the model; the rows of each call."""
    answer, left, rows = replica(found).submit, list(errors), list[int]()

    def submit(asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        rows.append(asked.rows)
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return answer(asked, reply, caller)

    replica(found).submit = submit
    return rows


def test_a_busy_model_is_asked_again(tmp_path: Path) -> None:
    found = desk(tmp_path, linear_bundle())
    calls = failing(found, Busy(what="x"), Busy(what="x"))
    assert len(stream(found, b'{"feature": 1}\n' * 10).lines) == 10
    assert calls == [10, 10, 10]


def test_what_the_graph_refuses_is_searched_for(tmp_path: Path) -> None:
    found = desk(tmp_path, linear_bundle())
    answer = replica(found).submit

    def submit(asked: InferRequest, reply: Reply, caller: Any = None) -> Any:
        if (asked.arrays[0] == 5).any():
            reply(Ask(asked, asked.rows, 0.0, reply, caller), None, InvalidInput(what="five"))
        else:
            answer(asked, reply, caller)

    replica(found).submit = submit
    lines = stream(found, b"".join(b'{"feature": %d}\n' % number for number in range(100))).lines
    assert [at for at, line in enumerate(lines) if "error" in line] == [5]
    assert [line["prediction"] for line in lines if "error" not in line] == [2.0 * n for n in range(100) if n != 5]


def test_our_own_failure_is_told_for_each_row_it_took(tmp_path: Path) -> None:
    found = desk(tmp_path, linear_bundle())
    failing(found, Internal())
    lines = stream(found, b'{"feature": 1}\n' * (BATCH_ROWS + 1)).lines
    assert [line["error"]["code"] for line in lines[:BATCH_ROWS]] == ["INTERNAL"] * BATCH_ROWS
    assert lines[BATCH_ROWS] == {"prediction": 2.0}


def test_a_bug_ends_the_stream_with_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = desk(tmp_path, linear_bundle())

    def submit(asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        raise KeyError("secret")

    replica(found).submit = submit
    caller = stream(found, b'{"feature": 1}\n')
    assert caller.status == 500
    assert b"secret" not in caller.transport.sent
    assert caller.transport.closed
    assert "secret" in caplog.text
