"""Another execution provider runs a model only when it is right and faster; why not is always told."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import pytest

from modelyard.core.errors import InvalidInput, ModelyardError, Unavailable, Unsupported
from modelyard.core.manifest import Samples
from modelyard.core.tensor import Array
from modelyard.model import providers, runtime
from modelyard.model.providers import AUTOMATIC, PROVIDERS, choose
from modelyard.model.runner import Runner
from tests.models import linear_bundle

LINEAR = linear_bundle()


class Fake:
    """Answers 2x after a while, plus an error; refuses when told to."""

    def __init__(self, provider: str, seconds: float = 0.0, error: float = 0.0, refuses: bool = False) -> None:
        self.signature = LINEAR.manifest.signature
        self.batchable = True
        self.facts: dict[str, str | int | float | bool] = {"provider": provider}
        self.seconds, self.error, self.refuses = seconds, error, refuses

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        if self.refuses:
            raise InvalidInput(what="the model refused these values")
        time.sleep(self.seconds)
        return [2.0 * arrays[0][:, 0] + np.where(arrays[0][:, 0] % 1 == 0, 0.0, self.error)]


class Shop:
    """Makes fakes, and remembers for which provider."""

    def __init__(self, **stock: Fake | ModelyardError) -> None:
        self.stock = {"cpu": Fake("cpu", 0.004), **stock}
        self.made: list[str] = []

    def make(self, name: str) -> Runner:
        self.made.append(name)
        item = self.stock[name]
        if isinstance(item, ModelyardError):
            raise item
        return item

    def choose(self, wanted: str | None = None, samples: Samples = LINEAR.samples) -> Runner:
        return choose(self.make, set(self.stock), samples, "linear", wanted)


def test_where_there_is_nothing_else_nothing_is_measured() -> None:
    shop = Shop()
    assert shop.choose().facts == {"provider": "cpu"}
    assert shop.made == ["cpu"]


def test_the_best_that_is_right_and_faster_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "modelyard")
    shop = Shop(coreml=Fake("coreml"), cuda=Fake("cuda", 0.001))
    runner = shop.choose()
    assert runner.facts["provider"] == "cuda"
    assert "times as fast as the processor" in str(runner.facts["provider_why"])
    assert shop.made == ["cpu", "cuda"]
    assert "linear runs on cuda" in caplog.text


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Fake("cuda", 0.008), "times as long"),
        (Fake("cuda", 0.0039), "times as long"),  # as fast is not faster: the processor's bits are the model's own
        (Fake("cuda", error=1.0), "it answers differently"),
        (Unavailable(what="cuda does not start: no device"), "cuda does not start: no device"),
        (Fake("cuda", refuses=True), "it refuses its own golden rows"),
    ],
    ids=["slower", "as fast", "other rows differ", "does not start", "refuses"],
)
def test_the_processor_serves_when_the_other_does_not_suit(
    caplog: pytest.LogCaptureFixture, other: Fake | ModelyardError, why: str
) -> None:
    runner = Shop(cuda=other).choose()
    assert runner.facts["provider"] == "cpu"
    assert why in str(runner.facts["provider_why"])
    assert "linear stays on the processor, not on cuda" in caplog.text
    assert why in caplog.text


def test_wrong_golden_rows_are_found() -> None:
    samples = Samples(rows=[{"feature": 1.5}], outputs={"prediction": [3.0]})
    runner = Shop(cuda=Fake("cuda", error=0.5)).choose(samples=samples)
    assert "golden rows differently" in str(runner.facts["provider_why"])


def test_the_next_best_is_tried() -> None:
    shop = Shop(cuda=Unavailable(what="no device"), openvino=Fake("openvino"))
    assert shop.choose().facts["provider"] == "openvino"
    assert shop.made == ["cpu", "cuda", "openvino"]


def test_without_golden_rows_nothing_vouches_for_another() -> None:
    runner = Shop(cuda=Fake("cuda")).choose(samples=Samples(rows=[], outputs={}))
    assert runner.facts == {"provider": "cpu", "provider_why": "no golden rows to check cuda with"}


def test_one_that_is_asked_for_is_not_measured_and_not_replaced() -> None:
    shop = Shop(cuda=Fake("cuda", 0.05), tensorrt=Unavailable(what="no engine"))
    assert shop.choose("cuda").facts == {"provider": "cuda", "provider_why": "it was asked for"}
    assert shop.made == ["cuda"]
    with pytest.raises(Unavailable, match="no engine"):
        shop.choose("tensorrt")
    with pytest.raises(Unavailable, match="'rocm' is not present here") as caught:
        shop.choose("rocm")
    assert caught.value.hint.endswith("pip install onnxruntime-rocm")
    with pytest.raises(Unsupported, match="no execution provider 'gpu'") as unknown:
        shop.choose("gpu")
    assert "cuda" in unknown.value.hint


def test_tensorrt_compiles_for_minutes_and_is_never_tried_by_itself() -> None:
    shop = Shop(tensorrt=Fake("tensorrt"))
    assert shop.choose().facts == {"provider": "cpu"}
    assert shop.made == ["cpu"]


def test_the_runtime_knows_every_provider_by_a_name_of_its_own() -> None:
    names = runtime.backend("onnx")._PROVIDERS
    assert set(names) == set(PROVIDERS)
    assert set(AUTOMATIC) < set(PROVIDERS)
    assert len(set(names.values())) == len(names)
    assert providers.CPU in runtime.backend("onnx").present()
