"""Requests of every contract in one call of the model: each is answered as if it had come alone, to the bit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.core.plan import Limits, Tuning
from modelyard.core.tensor import Array
from modelyard.serve.http.protocol import Connection, Server
from modelyard.serve.plane import ServedModel
from modelyard.serve.replica import Replica
from modelyard.watch.counters import Page, Totals, read_totals
from tests.models import linear_bundle
from tests.unit.serve.desk import Desk, in_thread, until
from tests.unit.serve.http.test_protocol import Transport

FIELDS = ("a", "b", "c")
V2 = "/v2/models/linear/infer"
FRIENDLY = "/models/linear/predict"
ROWS = np.random.default_rng(8).normal(size=(9, len(FIELDS))) * 1e3


@dataclass(frozen=True)
class Question:
    """A request and how many rows of it are answered."""

    path: str
    body: bytes
    rows: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        told = {"host": "x", "x-request-id": "same", "content-length": str(len(self.body)), **self.headers}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def friendly(rows: Array, query: str = "") -> Question:
    listed = [dict(zip(FIELDS, row, strict=True)) for row in rows.tolist()]
    return Question(FRIENDLY + query, json.dumps(listed[0] if len(rows) == 1 else listed).encode(), len(rows))


def tensors(rows: Array, **beside: Any) -> Question:
    item = {"name": "input", "shape": [*rows.shape], "datatype": "FP64", "data": rows.ravel().tolist()}
    return Question(V2, json.dumps({"inputs": [item], **beside}).encode(), len(rows))


def binary(rows: Array, **parameters: Any) -> Question:
    item = {
        "name": "input",
        "shape": [*rows.shape],
        "datatype": "FP64",
        "parameters": {"binary_data_size": rows.nbytes},
    }
    text = json.dumps({"inputs": [item], "parameters": parameters}).encode()
    return Question(V2, text + rows.tobytes(), len(rows), {"inference-header-content-length": str(len(text))})


QUESTIONS = [
    friendly(ROWS[:1]),
    tensors(ROWS[1:2]),
    binary(ROWS[2:3]),
    friendly(ROWS[3:5]),
    tensors(ROWS[5:6], id='a"7'),
    binary(ROWS[6:7], binary_data_output=True),
    Question(FRIENDLY, b'{"a": 1, "b": "x", "c": 3}', 0),
    tensors(ROWS[7:9], id="two"),
    friendly(ROWS[7:8], "?detail=full"),
    Question(V2, b'{"inputs": []}', 0),
    friendly(ROWS[8:9]),
]
GOOD = sum(question.rows > 0 for question in QUESTIONS)
ALL_ROWS = sum(question.rows for question in QUESTIONS)


class Hall:
    """A model that any number of connections ask at once."""

    def __init__(self, run: Path, *, thread: bool = False, cache_bytes: int = 0) -> None:
        page = Page(run, 0)
        bundle = linear_bundle(features=FIELDS, slope=1 / 3, intercept=0.1)
        self.run = run
        self.replica = Replica(bundle, "linear", 1, page.counter("linear@1"), Tuning(cache_bytes=cache_bytes))
        policy = replace(self.replica.policy, mode="inline", inline_rows=64.0, batch_rows=64, calls=1, window_s=0.0)
        self.replica.policy = policy
        if thread:
            in_thread(self.replica)
        model = ServedModel(name="linear", default=1, versions={1: self.replica}, aliases={})
        self.server = Server(Limits(), Desk(run, model, page=page).routes)
        self.calls: list[int] = []
        call = self.replica._runner.run

        def noted(arrays: Sequence[Array]) -> list[Array]:
            self.calls.append(len(arrays[0]))
            return call(arrays)

        self.replica._runner.run = noted  # type: ignore[method-assign]

    def ask(self, questions: Sequence[Question]) -> list[bytes]:
        """What is sent to each, when all of them come in one turn of the loop."""
        return asyncio.run(self._ask(questions))

    async def _ask(self, questions: Sequence[Question]) -> list[bytes]:
        transports = [Transport() for _ in questions]
        for transport, question in zip(transports, questions, strict=True):
            connection = Connection(self.server)
            connection.connection_made(transport)  # type: ignore[arg-type]
            connection.data_received(question.raw)
        await until(lambda: all(transport.sent for transport in transports))
        return [transport.sent for transport in transports]

    @property
    def totals(self) -> Totals:
        return read_totals(self.run)["linear@1"]


def undated(answers: Sequence[bytes]) -> list[bytes]:
    """Without what a clock wrote."""
    return [b"\r\n".join(line for line in each.split(b"\r\n") if not line.startswith(b"date:")) for each in answers]


@pytest.mark.parametrize("thread", [False, True], ids=["loop", "thread"])
def test_contracts_that_meet_in_a_call_answer_bit_by_bit_as_alone(tmp_path: Path, thread: bool) -> None:
    hall = Hall(tmp_path, thread=thread)
    alone = [hall.ask([question])[0] for question in QUESTIONS]
    assert hall.calls == [question.rows for question in QUESTIONS if question.rows]
    assert [b"HTTP/1.1 200" in answer for answer in alone] == [question.rows > 0 for question in QUESTIONS]
    hall.calls.clear()
    together = hall.ask(QUESTIONS)
    assert hall.calls == [ALL_ROWS]
    assert undated(together) == undated(alone)
    hall.calls.clear()
    backwards = hall.ask(QUESTIONS[::-1])
    assert hall.calls == [ALL_ROWS]
    assert undated(backwards[::-1]) == undated(alone)


def test_each_of_those_that_met_is_counted(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    hall.ask(QUESTIONS)
    found = hall.totals
    assert (found.ok, found.rows, found.calls) == (GOOD, ALL_ROWS, 1)
    assert (found.invalid, found.failed) == (len(QUESTIONS) - GOOD, 0)
    assert sum(found.buckets) == GOOD
    assert 0 < found.infer_s <= found.seconds
    assert found.decode_s >= 0
    assert found.queue_s >= 0


def test_the_same_row_in_another_contract_is_the_same_question_to_the_cache(tmp_path: Path) -> None:
    contracts = [each(row) for row in (ROWS[:1], ROWS[1:2]) for each in (friendly, tensors, binary)]
    (tmp_path / "uncached").mkdir()
    uncached = undated(Hall(tmp_path / "uncached").ask(contracts))
    hall = Hall(tmp_path, cache_bytes=1 << 20)
    for first in (0, 4):  # friendly, and tensors in JSON
        assert undated(hall.ask([contracts[first]])) == [uncached[first]]
    assert hall.calls == [1, 1]
    assert undated(hall.ask(contracts)) == uncached
    assert hall.calls == [1, 1]
    found = hall.totals
    assert (found.hits, found.misses) == (6, 2)
    assert (found.ok, found.rows, found.calls) == (8, 8, 2)
