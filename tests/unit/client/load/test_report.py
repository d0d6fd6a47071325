from __future__ import annotations

import msgspec
import pytest

from modelyard.client.load.histogram import Histogram
from modelyard.client.load.report import Capacity, Report, Row, compare, row
from modelyard.client.load.step import Step
from modelyard.client.load.tally import Tally, Wrong


def _row(connections: int = 4, *, scale: int = 1, rate: float | None = None) -> Row:
    latency = Histogram()
    for ms in range(1, 101):
        latency.add(ms * 1_000_000 * scale)
    tally = Tally(
        asked=103,
        answered=100,
        near=2,
        wrong=1,
        errors={"closed": 3, "status 503": 4},
        dropped=5,
        took_s=2.0 * scale,
        cpu_s=1.0,
        counts=latency.counts(),
        total_ns=latency.total_ns,
        longest_ns=latency.longest_ns,
        samples=[Wrong("200", "no", "yes")],
    )
    return row(Step(connections=connections, duration_s=2.0, rate=rate), tally, 0.01)


def _report(*rows: Row, capacity: float | None = None) -> Report:
    found = None
    if capacity is not None:
        found = Capacity(p99_ms=50.0, per_s=capacity, confirmed=None, trials=[], client_bound=False)
    told = {"at": "2026-01-02T03:04:05+00:00", "url": "http://127.0.0.1:1/predict", "model": "x@1"}
    return Report(**told, questions={}, settings={}, machine={}, steps=list(rows), capacity=found)  # type: ignore[arg-type]


def test_a_steps_figures() -> None:
    one = _row()
    assert (one.mode, one.connections, one.offered_per_s, one.arrivals) == ("closed", 4, None, None)
    assert (one.asked, one.answered, one.right, one.failed) == (103, 100, 95, 13)
    assert one.per_s == 50.0
    assert one.server_cpu_us == pytest.approx(100.0)
    assert one.latency_ms.p50 == pytest.approx(50.0, rel=0.01)
    assert one.latency_ms.p99 == pytest.approx(99.0, rel=0.01)
    assert one.latency_ms.max == 100.0
    assert one.latency_ms.mean == pytest.approx(50.5)


def test_compared_with_an_earlier_one() -> None:
    then = msgspec.to_builtins(_report(_row(1, scale=2), _row(16), _row(rate=5.0)))
    before = compare(_report(_row(1), _row(16), _row(64), _row(rate=6.0)), then)
    assert before is not None
    assert before.model == "x@1"
    assert [(one.connections, one.offered_per_s) for one in before.steps] == [(1, None), (16, None)]
    first, second = before.steps
    assert (first.per_s, first.p50, first.max) == (2.0, pytest.approx(0.5, rel=0.01), 0.5)
    assert (second.per_s, second.p99) == (1.0, 1.0)


def test_searches_are_compared_by_what_they_found() -> None:
    before = compare(_report(capacity=300.0), msgspec.to_builtins(_report(capacity=200.0)))
    assert before is not None
    assert before.capacity == 1.5


def test_reports_that_have_nothing_in_common() -> None:
    assert compare(_report(_row(1)), msgspec.to_builtins(_report(_row(2)))) is None
    assert compare(_report(_row(1)), {"steps": "of another version"}) is None
    assert compare(_report(capacity=1.0), msgspec.to_builtins(_report(_row(2)))) is None


def test_the_document_is_plain_data_and_reads_back() -> None:
    report = _report(_row(), capacity=5.0)
    raw = msgspec.json.encode(report)
    assert msgspec.json.decode(raw, type=Report) == report
