"""Linear parameters as the founding article writes them: lines ``beta0: 0.1``, ``beta1: 2.0``. Plain data."""

from __future__ import annotations

import math
import re

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from modelyard.core.errors import InvalidData, InvalidModel
from modelyard.core.manifest import MODEL, Manifest, Source, Task
from modelyard.core.rows import from_objects
from modelyard.core.signature import ANY, Feature, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model import parity, runtime
from modelyard.model.bundle import seal
from modelyard.model.formats import Converted, Request, Scale
from modelyard.model.translate.graph import DOUBLE, Graph

_MAX_BYTES = 1 << 20
_LINE = re.compile(r"beta(\d+)\s*:\s*(\S+)")
_STEPS = (-2.0, -1.0, 0.0, 0.5, 3.0)


def convert(request: Request) -> Converted:
    """The line ``beta0 + beta1 * z1 + ...`` as ONNX, each z standardised as in training where that is known."""
    betas = read(request.raw)
    names = _names(request, len(betas) - 1)
    scale = request.scale or tuple(Scale(name, 0.0, 1.0) for name in names)
    if len(scale) != len(betas) - 1:
        raise InvalidData(
            what=f"the file has {len(betas) - 1} slopes and the scaling names {len(scale)} columns",
            hint="name one column for beta1, one for beta2, ...: --scale-from data.csv:first,second",
        )
    signature = _signature(scale)
    raw = _graph(betas, scale)
    manifest = Manifest(
        name="candidate", task=Task.REGRESSION, signature=signature, files={}, source=Source(format="linear-params")
    )
    rows = [{item.name: item.mean + step * item.std for item in scale} for step in _STEPS]
    got = runtime.load(seal(manifest, {MODEL: raw})).run(from_objects(signature, rows))[0]
    report = parity.compare({"prediction": _by_hand(betas, scale, rows)}, {"prediction": got}, origin="generated")
    return Converted(
        onnx=raw,
        signature=signature,
        task=Task.REGRESSION,
        estimator=f"linear parameters (beta0 to beta{len(betas) - 1})",
        libraries={"onnx": onnx.__version__},
        parity=report,
        rows=rows,
        notes=() if request.scale else ("imported without scaling",),
    )


def read(raw: bytes) -> list[float]:
    """The betas in their order.

    Raises
    ------
    InvalidModel
        A line is something else, a number is not finite, one is missing or there twice.
    """
    if len(raw) > _MAX_BYTES:
        raise InvalidModel(what="it is too long for a list of parameters")
    try:
        lines = [line.strip() for line in raw.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as exc:
        raise InvalidModel(what="it is not UTF-8 text") from exc
    found: dict[int, float] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        index, value = _line(line, number)
        if index in found:
            raise InvalidModel(what=f"beta{index} is there twice (line {number})")
        found[index] = value
    missing = [f"beta{at}" for at in range(max(found, default=0) + 1) if at not in found]
    if missing or len(found) < 2:
        what = f"{', '.join(missing[:5])} is missing" if missing else "it has no slope (beta1)"
        raise InvalidModel(what=what, hint="write one line each: beta0: 0.1, beta1: 2.0, ...")
    return [found[at] for at in range(len(found))]


def _line(line: str, number: int) -> tuple[int, float]:
    match = _LINE.fullmatch(line)
    try:
        value = float(match[2]) if match else math.nan
    except ValueError:
        value = math.nan
    if match is None or not math.isfinite(value) or "_" in line:
        raise InvalidModel(
            what=f"line {number} is {line[:60]!r}, not a parameter like 'beta1: 2.0'",
            cause="the training diverged" if match and match[2].lower() in {"nan", "inf", "-inf"} else "",
        )
    return int(match[1][:6]), value


def _names(request: Request, count: int) -> list[str]:
    if request.frame is not None and request.frame.shape[1] == count:
        return [str(name) for name in request.frame.columns]
    return ["feature"] if count == 1 else [f"feature{at}" for at in range(1, count + 1)]


def _signature(scale: tuple[Scale, ...]) -> Signature:
    features = tuple(Feature(name=item.name) for item in scale)
    return Signature(
        inputs=(TensorSpec(name="input", datatype=Datatype.FP64, shape=(ANY, len(scale)), features=features),),
        outputs=(TensorSpec(name="prediction", datatype=Datatype.FP64, shape=(ANY, 1)),),
        prediction="prediction",
    )


def _graph(betas: list[float], scale: tuple[Scale, ...]) -> bytes:
    graph = Graph()
    graph.inputs.append(helper.make_tensor_value_info("input", DOUBLE, [None, len(scale)]))
    value = "input"
    if any(item.mean != 0 or item.std != 1 for item in scale):
        value = graph.op("Sub", value, graph.numbers([item.mean for item in scale]))
        value = graph.op("Div", value, graph.numbers([item.std for item in scale]))
    value = graph.op("MatMul", value, graph.numbers(np.reshape(betas[1:], (-1, 1))))
    value = graph.op("Add", value, graph.numbers([betas[0]]))
    graph.nodes.append(helper.make_node("Identity", [value], ["prediction"]))
    output = helper.make_tensor_value_info("prediction", DOUBLE, [None, 1])
    raw: bytes = graph.finish([output]).SerializeToString(deterministic=True)
    return raw


def _by_hand(betas: list[float], scale: tuple[Scale, ...], rows: list[dict[str, float]]) -> NDArray[np.float64]:
    answers = [
        betas[0]
        + sum(beta * (row[item.name] - item.mean) / item.std for beta, item in zip(betas[1:], scale, strict=True))
        for row in rows
    ]
    return np.array(answers, dtype=np.float64)[:, None]
