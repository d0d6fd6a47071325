"""The founding article's parameter file."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard.core.errors import InvalidData, InvalidModel
from modelyard.core.manifest import MODEL, Manifest, Source
from modelyard.core.rows import from_columns
from modelyard.model import formats, runtime
from modelyard.model.bundle import seal
from modelyard.model.convert import Converted, from_file
from modelyard.model.formats import Request, Scale, detect


def imported(raw: bytes, *scale: Scale) -> Converted:
    assert detect(raw, "model_params.txt") == "linear-params"
    converted, how = from_file(Request(raw=raw, kind="linear-params", scale=scale))
    assert how == "none"
    return converted


def ask(converted: Converted, **columns: list[float]) -> list[float]:
    manifest = Manifest(
        name="m", task=converted.task, signature=converted.signature, files={}, source=Source(format="t")
    )
    runner = runtime.load(seal(manifest, {MODEL: converted.onnx}))
    answers: list[float] = runner.run(from_columns(runner.signature, columns))[0][:, 0].tolist()
    return answers


@pytest.mark.parametrize(
    "raw",
    [
        b"beta0: 0.1\nbeta1: 2.0",
        b"beta0: 0.1\nbeta1: 2.0\n",
        b"beta0: 0.1\r\nbeta1: 2.0\r\n\r\n",
        b"  beta1 : 2.0\n beta0 : 1e-1\n",
    ],
)
def test_the_line_is_read(raw: bytes) -> None:
    assert ask(imported(raw), feature=[0.0, 3.0]) == pytest.approx([0.1, 6.1])


def test_the_training_data_gives_the_scaling() -> None:
    """The article's data: feature 1 to 5, target 2 to 10; its training standardised, and feature 3 is 6 exactly."""
    scale = Scale("feature", 3.0, float(np.std([1, 2, 3, 4, 5])))
    converted = imported(b"beta0: 6.0\nbeta1: 2.8284271247461903\n", scale)
    assert ask(converted, feature=[1, 3, 5, 100]) == pytest.approx([2, 6, 10, 200])
    assert converted.parity is not None
    assert converted.parity.flips == 0
    assert converted.notes == ()


def test_without_scaling_it_says_so() -> None:
    assert imported(b"beta0: 0\nbeta1: 1\n").notes == ("imported without scaling",)


def test_several_slopes() -> None:
    converted = imported(b"beta0: 1\nbeta1: 2\nbeta2: -3\n")
    assert ask(converted, feature1=[1, 0], feature2=[1, 2]) == [0, -5]
    with pytest.raises(InvalidData, match="2 slopes and the scaling names 1"):
        imported(b"beta0: 1\nbeta1: 2\nbeta2: -3\n", Scale("x", 0, 1))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"beta0: 0.1\n", "no slope"),
        (b"beta1: 0.1\n", "beta0 is missing"),
        (b"beta0: 0.1\nbeta2: 1\n", "beta1 is missing"),
        (b"beta0: 0.1\nbeta0: 1\nbeta1: 2\n", "beta0 is there twice"),
        (b"beta0: zero\nbeta1: 2\n", "line 1 is 'beta0: zero'"),
        (b"beta0: nan\nbeta1: 2\n", "line 1"),
        (b"beta0: 1\nbeta1: inf\n", "line 2"),
        (b"beta0: 1_0\nbeta1: 2\n", "line 1"),
        (b"beta0: 1\nbeta1 2\n", "line 2"),
        (b"beta0: 1\nbeta1: 2\nalpha: 3\n", "line 3"),
        (b"beta0: 1\nbeta1: 2 3\n", "line 2"),
        (b"beta0: \xff\nbeta1: 2\n", "not UTF-8"),
        (b"beta0: 1\nbeta999999999999999999999: 2\n", "missing"),
        (b"beta0: 1\n" * 200_000, "too long"),
    ],
)
def test_anything_else_is_refused_with_its_line(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidModel, match=says):
        formats.backend("linear-params").convert(Request(raw=raw, kind="linear-params"))
