"""Golden rows and answers as examples, in the words in which clients send and read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from modelyard.core.rows import from_objects
from modelyard.core.schema import Described
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Datatype


def friendly(signature: Signature, outputs: Mapping[str, Sequence[Any]]) -> list[Any]:
    """The answers as ``predict`` gives them: one per row, or every output by its name."""
    flat = {
        spec.name: [_plain(item[0] if spec.shape[1:] == (1,) else item, spec) for item in outputs.get(spec.name, [])]
        for spec in signature.outputs
        if signature.prediction in {"", spec.name}
    }
    if len(flat) == 1:
        return next(iter(flat.values()))
    return [dict(zip(flat, values, strict=True)) for values in zip(*flat.values(), strict=True)]


def tensors(model: Described) -> dict[str, Any] | None:
    """The first golden row as a protocol v2 request; None without one, or where JSON cannot carry an input."""
    signature = model.signature
    if not model.rows or not all(spec.datatype.in_json for spec in signature.inputs):
        return None
    arrays = from_objects(signature, [dict(model.rows[0])])
    return {"inputs": [_tensor(spec, array) for spec, array in zip(signature.inputs, arrays, strict=True)]}


def tensors_answer(model: Described) -> dict[str, Any] | None:
    """The answer to `tensors`; None without a golden row, or where JSON cannot carry an output."""
    specs = model.signature.outputs
    if not all(model.outputs.get(spec.name) and spec.datatype.in_json for spec in specs):
        return None
    outputs = [_tensor(spec, np.array(model.outputs[spec.name][:1], dtype=object)) for spec in specs]
    return {"model_name": model.name, "model_version": str(model.version), "outputs": outputs}


def predictions(model: Described) -> list[Any]:
    """The golden answers as TensorFlow Serving's rows: the only output in its own shape, or an object of all."""
    given = {
        spec.name: [_plain(item, spec) for item in model.outputs.get(spec.name, [])] for spec in model.signature.outputs
    }
    if len(given) == 1:
        return next(iter(given.values()))
    return [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]


def frames(model: Described) -> list[Any]:
    """The golden answers as MLflow's predictions."""
    one = bool(model.signature.prediction) or len(model.signature.outputs) == 1
    return list(model.answers) if one else predictions(model)


def _tensor(spec: TensorSpec, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    data = [_plain(value, spec) for value in array.ravel().tolist()]
    return {"name": spec.name, "datatype": str(spec.datatype), "shape": list(array.shape), "data": data}


def _plain(value: Any, spec: TensorSpec) -> Any:
    """A value as JSON says it: numbers in the shortest form of their own type, NaN and infinity as null."""
    if isinstance(value, list):
        return [_plain(item, spec) for item in value]
    if not isinstance(value, float):
        return value
    if not isfinite(value):
        return None
    return float(str(np.float32(value))) if spec.datatype in _SHORT else value


_SHORT = {Datatype.FP32, Datatype.FP16, Datatype.BF16}
