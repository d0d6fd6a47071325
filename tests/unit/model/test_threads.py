"""More threads in one call only where they are faster and change no bit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor

from modelyard.core.manifest import MODEL, Manifest, Source
from modelyard.core.tensor import Array
from modelyard.model import threads
from modelyard.model.bundle import seal
from modelyard.model.convert import from_estimator
from modelyard.model.runtime import load
from modelyard.model.threads import fastest_threads
from modelyard.model.trial import varied
from tests.models import linear_bundle

LINEAR = linear_bundle()
ROWS = varied(LINEAR.manifest.signature, LINEAR.samples.rows, 32)


class Fake:
    """Takes so long with so many threads."""

    signature = LINEAR.manifest.signature
    batchable = True

    def __init__(self, seconds: float, wrong: bool = False) -> None:
        self.seconds, self.wrong = seconds, wrong
        self.facts: dict[str, str | int | float | bool] = {}

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        time.sleep(self.seconds)
        answer = 2.0 * arrays[0][:, 0]
        if self.wrong:
            answer[-1] = np.nextafter(answer[-1], np.inf)
        return [answer]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Serve these fakes, by their number of threads, instead of loading; gives the numbers asked for."""

    def serve(fakes: dict[int, Fake]) -> list[int]:
        asked: list[int] = []

        def give(bundle: object, *, threads: int = 1, provider: str | None = None) -> Fake:
            del bundle, provider
            asked.append(threads)
            return fakes[threads]

        monkeypatch.setattr("modelyard.model.runtime.load", give)
        return asked

    return serve


def test_a_cheap_model_is_not_even_tried(loaded: Any) -> None:
    asked = loaded({1: Fake(0.0)})
    assert fastest_threads(LINEAR, 8, ROWS)[0] == 1
    assert asked == [1]


@pytest.mark.parametrize(
    ("seconds", "chosen", "asked"),
    [
        ({1: 0.012, 2: 0.006, 4: 0.003, 6: 0.002}, 6, [1, 2, 4, 6]),
        ({1: 0.012, 2: 0.006, 4: 0.006}, 2, [1, 2, 4]),  # four are no faster than two
        ({1: 0.012, 2: 0.0105, 4: 0.0095}, 1, [1, 2, 4]),  # 1.26 times as fast is not enough
        ({1: 0.012, 2: 0.014}, 1, [1, 2]),
    ],
)
def test_the_smallest_number_that_pays(loaded: Any, seconds: dict[int, float], chosen: int, asked: list[int]) -> None:
    fakes = {number: Fake(value) for number, value in seconds.items()}
    tried = loaded(fakes)
    assert fastest_threads(LINEAR, 6 if 6 in seconds else 4 if 4 in seconds else 2, ROWS) == (chosen, fakes[chosen])
    assert tried == asked


def test_one_bit_is_too_much(loaded: Any) -> None:
    fakes = {1: Fake(0.012), 2: Fake(0.001, wrong=True), 4: Fake(0.001)}
    loaded(fakes)
    assert fastest_threads(LINEAR, 4, ROWS) == (1, fakes[1])


def test_what_is_loaded_already_is_not_loaded_again(loaded: Any) -> None:
    asked = loaded({2: Fake(0.001)})
    assert fastest_threads(LINEAR, 2, ROWS, Fake(0.01))[0] == 2
    assert asked == [2]


def test_a_real_model_answers_alike_with_any_number() -> None:
    number, runner = fastest_threads(LINEAR, 2, ROWS)
    assert number == 1
    assert runner.run(ROWS)[0].tobytes() == load(LINEAR, threads=2).run(ROWS)[0].tobytes()


def test_a_large_forest_keeps_the_threads_that_change_no_bit() -> None:
    """With two threads ONNX Runtime adds up trees in another order, for some numbers of rows."""
    x = np.random.default_rng(3).normal(size=(200, 6))
    forest = RandomForestRegressor(60, max_depth=6, random_state=0).fit(x, x[:, 0] * 3 + np.sin(x[:, 1]))
    made = from_estimator(forest, pd.DataFrame(x, columns=list("abcdef")))
    manifest = Manifest(name="m", task=made.task, signature=made.signature, files={}, source=Source(format="sklearn"))
    bundle = seal(manifest, {MODEL: made.onnx})
    arrays = varied(made.signature, made.rows, 256)
    runners = [load(bundle, threads=number, provider="cpu") for number in (1, 2)]
    alone, several = (runner.run(arrays)[0].tobytes() for runner in runners)
    assert alone != several
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "WORTH_S", 0.0)
        assert fastest_threads(bundle, 2, arrays)[0] == 1
