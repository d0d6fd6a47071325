from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.client.bench import _warnings, bench, check_names, remember
from modelyard.client.load.report import Capacity, Row, row
from modelyard.client.load.step import Step
from modelyard.client.load.tally import Tally
from modelyard.client.load.wanted import Ask, Load
from modelyard.control.actions import bench as kept
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import Denied, NotFound
from modelyard.core.settings import Settings
from tests.models import linear_bundle
from tests.unit.client.load.stand import Stand, http

WRONG = b'{"prediction":[7.0]}'


@pytest.fixture
def body(tmp_path: Path) -> Path:
    (tmp_path / "body.json").write_text('{"feature": 3}')
    return tmp_path / "body.json"


def _url(stand: Stand) -> str:
    return f"http://{stand.place.netloc}/predict"


def test_a_model_of_the_registry(home: Home) -> None:
    publish(home, linear_bundle())
    told: list[tuple[float, float]] = []
    heard: list[Any] = []
    load = Load(connections=(1, 4), duration_s=0.4)
    report = bench(home.settings, "linear", Ask(), load, heard.append, lambda done, total: told.append((done, total)))
    assert report.ok
    assert report.model == "linear@1"
    assert report.questions == {"count": 5, "origin": "golden rows", "rows": 1, "checked": "body"}
    assert [(one.mode, one.connections, one.failed) for one in report.steps] == [("closed", 1, 0), ("closed", 4, 0)]
    assert all(one.answered > 20 and (one.server_cpu_us or 0) > 0 for one in report.steps)
    assert told[-1] == (0.8, 0.8)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert list(heard[0]) == ["target"]


@pytest.mark.parametrize("every", [1, 10])
def test_wrong_answers_make_it_a_failure(settings: Settings, body: Path, every: int) -> None:
    """The first answer was right, what comes after it is not."""
    with Stand(
        lambda number: [http(WRONG if number > 5 and number % every == 0 else b'{"prediction":[6.0]}')]
    ) as stand:
        report = bench(settings, _url(stand), Ask(bodies=(body,)), Load(connections=(2,), requests=100))
    assert not report.ok
    assert report.steps[0].wrong >= 9
    assert report.wrong[0].body == WRONG.decode()


def test_errors_make_it_a_failure(settings: Settings, body: Path) -> None:
    with Stand(lambda number: [None] if number == 20 else [http()]) as stand:
        report = bench(settings, _url(stand), Ask(bodies=(body,)), Load(connections=(1,), requests=50))
    assert (report.ok, report.steps[0].errors) == (False, {"closed": 1})


@pytest.mark.long
def test_a_search(settings: Settings, body: Path) -> None:
    """A server of one caller at a time that needs 3 ms: it keeps up with less than 333 a second."""
    with Stand(lambda _: [0.003, http()]) as stand:
        load = Load(connections=(1,), duration_s=1.0, p99_s=0.12)  # a busy machine stalls for some 60 ms
        report = bench(settings, _url(stand), Ask(bodies=(body,)), load)
    assert report.ok
    assert report.capacity is not None
    assert report.capacity.per_s is not None
    assert 50 <= report.capacity.per_s <= 450
    assert report.capacity.confirmed is not None
    assert report.capacity.confirmed.latency_ms.p99 <= 120.0
    assert not report.capacity.client_bound
    assert any(trial.good is False for trial in report.capacity.trials)


@pytest.mark.parametrize(
    ("ask", "load"),
    [(Ask(), Load()), (Ask(remote=True), Load()), (Ask(), Load(requests=5))],
    ids=["plain", "unbounded", "silent"],
)
def test_other_machines_are_not_loaded_by_mistake(settings: Settings, ask: Ask, load: Load) -> None:
    with pytest.raises(Denied) as told:
        bench(settings, "http://192.0.2.1/predict", ask, load)  # an address for documentation: nothing is there
    assert told.value.hint.endswith("--remote --requests 10000")


def test_remembered_and_compared(settings: Settings, body: Path) -> None:
    with Stand(lambda _: [http()]) as stand:

        def one(**told: Any) -> Any:
            return bench(settings, _url(stand), Ask(bodies=(body,)), Load(connections=(1,), requests=20, **told))

        first = one()
        assert remember(settings, first, save="first") == ""
        assert first.before is None
        second = one()
        assert remember(settings, second) == ""
        assert second.before is not None
        assert second.before.steps[0].per_s == pytest.approx(second.steps[0].per_s / first.steps[0].per_s)
        other = one(timeout_s=3.0)  # other settings: compared only when told to
        assert remember(settings, other) == ""
        assert other.before is None
        assert remember(settings, other, against="first") == ""
        assert other.before is not None
    assert json.loads(json.dumps(kept.named(settings, "first")))["steps"][0]["answered"] == 20


def test_a_client_that_is_the_limit_says_so() -> None:
    def step(busy: float) -> Row:
        tally = Tally(asked=1, answered=1, took_s=1.0, cpu_s=busy, counts={5: 1})
        return row(Step(connections=1, duration_s=1.0), tally)

    assert _warnings([step(0.5), step(0.8)], None, 1) == []
    (warning,) = _warnings([step(0.97), step(0.2)], None, 1)
    assert "97% of a core" in warning
    capacity = Capacity(p99_ms=1.0, per_s=5.0, confirmed=None, trials=[], client_bound=True)
    assert len(_warnings([], capacity, 512)) == 1


def test_names_are_refused_before_the_test(settings: Settings) -> None:
    with pytest.raises(NotFound):
        check_names(settings, against="nobody")


def test_a_report_that_cannot_be_kept_is_a_report(tmp_path: Path, body: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(home=tmp_path / "file" / "home")
    with Stand(lambda _: [http()]) as stand:
        report = bench(settings, _url(stand), Ask(bodies=(body,)), Load(connections=(1,), requests=5))
    assert report.ok
    assert "home" in remember(settings, report)
