"""The edges of a foreign ONNX graph, changed before it is served: external tensors, ZipMaps, fixed rows, BF16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from modelyard.core.errors import InvalidModel


def gather(model: ModelProto, beside: Mapping[str, bytes]) -> bool:
    """Bring tensors that are kept in files beside the model into it; whether there were any.

    Only files that came with the request are looked at, by their plain names; what else is named stays outside, and is
    refused with the graph.
    """
    gathered = False
    for tensor in model.graph.initializer:
        about = {entry.key: entry.value for entry in tensor.external_data}
        raw = beside.get(about.get("location", ""))
        if tensor.data_location != TensorProto.EXTERNAL or raw is None:
            continue
        numbers = [about.get("offset") or "0", about.get("length") or "0"]
        if not all(number.isdigit() for number in numbers):
            raise InvalidModel(what=f"the tensor {tensor.name[:60]!r} does not say where in its file it lies")
        start, length = map(int, numbers)
        end = start + length if length else len(raw)
        if not start <= end <= len(raw):
            raise InvalidModel(what=f"the tensor {tensor.name[:60]!r} lies beyond the end of its file")
        tensor.raw_data = raw[start:end]
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
        gathered = True
    return gathered


def strip_zipmaps(graph: GraphProto) -> dict[str, list[Any]]:
    """Replace ``seq(map(label, score))`` outputs by their tensor; gives the labels by output name."""
    outputs = {value.name: value for value in graph.output}
    found: dict[str, list[Any]] = {}
    for node in list(graph.node):
        if node.op_type != "ZipMap" or node.output[0] not in outputs:
            continue
        names = labels(node)
        found[node.output[0]] = names
        graph.node.append(helper.make_node("Identity", [node.input[0]], [node.output[0]]))
        graph.node.remove(node)
        outputs[node.output[0]].CopyFrom(
            helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, [None, len(names)])
        )
    return found


def labels(node: NodeProto) -> list[Any]:
    """The class labels that a classifier or a ZipMap lists."""
    for attribute in node.attribute:
        if attribute.name in {"classlabels_strings", "classlabels_int64s", "classlabels_ints"}:
            return [item.decode() for item in attribute.strings] or list(attribute.ints)
    return []


def free_rows(model: ModelProto) -> bool:
    """Make a first axis that is fixed to one row variable; whether anything was changed."""
    constants = {tensor.name for tensor in model.graph.initializer}
    changed = False
    for value in [item for item in model.graph.input if item.name not in constants] + list(model.graph.output):
        shape = value.type.tensor_type.shape
        if not shape.dim:
            raise InvalidModel(what=f"its tensor {value.name!r} has no axes, so there are no rows to speak of")
        first = shape.dim[0]
        if first.HasField("dim_value"):
            if first.dim_value != 1:
                raise InvalidModel(
                    what=f"its tensor {value.name!r} takes exactly {first.dim_value} rows at a time",
                    hint="export it again with a variable first axis (dynamic_axes or dynamic_shapes)",
                )
            first.dim_param = "rows"
            changed = True
    if changed:
        del model.graph.value_info[:]  # shapes inside may repeat the fixed axis
    return changed


def widen(model: ModelProto) -> dict[str, str]:
    """Let FP32 tensors carry the graph's BF16 inputs and outputs; gives the new tensors' names by the old ones.

    Neither numpy nor ONNX Runtime's Python has BF16, and every BF16 number is an FP32 number. A Cast at the graph's
    edge rounds what comes in to the nearest, ties to even, and loses nothing of what goes out.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | constants
    new: dict[str, str] = {}
    for value in [item for item in graph.input if item.name not in constants and _is_bf16(item)]:
        new[value.name] = wide = _free_name(value.name, taken)
        graph.node.insert(0, helper.make_node("Cast", [wide], [value.name], to=TensorProto.BFLOAT16))
        _become(value, wide)
    for value in [item for item in graph.output if _is_bf16(item)]:
        new[value.name] = wide = _free_name(value.name, taken)
        graph.node.append(helper.make_node("Cast", [value.name], [wide], to=TensorProto.FLOAT))
        _become(value, wide)
    return new


def _is_bf16(value: ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.BFLOAT16)


def _become(value: ValueInfoProto, name: str) -> None:
    value.name = name
    value.type.tensor_type.elem_type = TensorProto.FLOAT


def _free_name(name: str, taken: set[str]) -> str:
    name += "_fp32"
    while name in taken:
        name += "_"
    taken.add(name)
    return name
