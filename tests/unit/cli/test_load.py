from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from modelyard.cli._load import Teller
from modelyard.cli.screen import Screen
from modelyard.client.load.report import Before, Capacity, Latency, Ratio, Report, Row
from modelyard.client.load.tally import Wrong

LATENCY = Latency(p50=0.1534, p90=1.534, p99=15.34, p999=153.4, max=12_345.6, mean=2.0)


def _row(**told: Any) -> Row:
    usual: dict[str, Any] = {
        "mode": "closed",
        "connections": 16,
        "duration_s": 5.0,
        "asked": 100,
        "answered": 100,
        "right": 100,
        "near": 0,
        "wrong": 0,
        "errors": {},
        "late": 0,
        "dropped": 0,
        "reconnects": 0,
        "per_s": 123_456.0,
        "latency_ms": LATENCY,
        "client_busy": 0.5,
    }
    return Row(**{**usual, **told})


def _report(**told: Any) -> Report:
    return Report(at="2026-01-02T03:04:05+00:00", url="http://x/", questions={}, settings={}, machine={}, **told)


def _shown(capsys: pytest.CaptureFixture[str], **told: Any) -> str:
    Teller(Screen()).show(_report(**told))
    shown = capsys.readouterr()
    assert all(len(line) <= 80 for line in shown.out.splitlines()), shown.out
    return shown.out + shown.err


def test_a_closed_loop(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _shown(capsys, steps=[_row(server_cpu_us=21.4), _row(connections=64, server_cpu_us=12.0)])
    assert "connections  requests/s    p50   p90   p99  p99.9     max  failed" in shown
    assert "         16     123,456  0.153  1.53  15.3    153  12,346       0" in shown
    assert "Server CPU  21, 12 µs a request (by step)" in shown
    assert "Failed" not in shown


def test_an_open_loop(capsys: pytest.CaptureFixture[str]) -> None:
    row = _row(mode="open", offered_per_s=1_000.0, late=3, dropped=7, wrong=1, errors={"timeout": 2})
    shown = _shown(capsys, steps=[row], wrong=[Wrong("200", "no", "yes")])
    assert "offered/s  requests/s" in shown
    assert shown.splitlines()[2].split()[-2:] == ["3", "10"]
    assert "Failed      1 wrong, 2 timeout, 7 dropped" in shown
    assert "  answered  200 no\n  expected  yes" in shown


def test_what_is_no_failure_and_yet_worth_knowing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _shown(capsys, steps=[_row(near=5, reconnects=1_000)], warnings=["the client was busy"])
    assert "Near        5 right answers differ" in shown
    assert "Reconnected 1,000 times" in shown
    assert "warning: the client was busy" in shown


def test_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    best = _row(mode="open", offered_per_s=2_303.4, good=True)
    found = Capacity(p99_ms=50.0, per_s=2_303.4, confirmed=best, trials=[best], client_bound=False)
    shown = _shown(capsys, capacity=found)
    assert "C = 2,303 requests/s (p99 at most 50.0 ms, no failures)" in shown
    assert "confirmed for 5 s: 100 answers" in shown
    none = Capacity(p99_ms=50.0, per_s=None, confirmed=None, trials=[], client_bound=False)
    assert "No rate was found" in _shown(capsys, capacity=none, ok=False)


@pytest.mark.parametrize(
    ("told", "verdict"), [({"good": True}, "kept up"), ({"good": False}, "too slow"), ({"dropped": 4}, "4 failed")]
)
def test_a_searchs_steps(capsys: pytest.CaptureFixture[str], told: dict[str, Any], verdict: str) -> None:
    Teller(Screen()).hear({"trial": _row(mode="open", offered_per_s=50.0, **told)})
    assert capsys.readouterr().out == f"        50/s   5.0 s  p99   15.3 ms  {verdict}\n"


def test_beside_an_earlier_test(capsys: pytest.CaptureFixture[str]) -> None:
    ratio = Ratio(mode="closed", connections=16, offered_per_s=None, per_s=1.25, p50=0.8, p99=None, max=1.0)
    before = Before(at="2026-01-01T01:02:03+00:00", model="churn@6", steps=[ratio], capacity=1.5)
    shown = _shown(capsys, steps=[_row()], before=before)
    assert "Now / then (churn@6, 2026-01-01 01:02:03 UTC)" in shown
    assert "C           ×1.50" in shown
    assert shown.splitlines()[-1].split() == ["16", "×1.25", "×0.80", "-", "×1.00"]


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    report = _report(steps=[_row()])
    Teller(Screen(as_json=True)).show(report)
    shown = capsys.readouterr()
    assert json.loads(shown.out) == msgspec.to_builtins(report)
