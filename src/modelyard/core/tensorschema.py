"""The signature as JSON Schema for those who speak of tensors: protocol v2, TensorFlow Serving's rows and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.jsonschema import nested, prediction_schema, scalar
from modelyard.core.signature import ANY, Signature, TensorSpec
from modelyard.core.tensor import Datatype

Schema = dict[str, Any]
ANY_OBJECT: Schema = {"type": "object", "additionalProperties": True}
_PARAMETERS: Schema = {"type": ["object", "null"], "additionalProperties": True}
_AXES: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}


def tensors_schema(signature: Signature) -> Schema:
    """JSON Schema of a protocol v2 request: each input by its name, with its own datatype, shape and elements."""
    count = len(signature.inputs)
    inputs = [_asked(spec) for spec in signature.inputs]
    names: Schema = {"enum": [spec.name for spec in signature.outputs]}
    output = {"type": "object", "properties": {"name": names, "parameters": _PARAMETERS}, "required": ["name"]}
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "items": _either(inputs), "minItems": count, "maxItems": count},
            "outputs": {"type": ["array", "null"], "items": output},
        },
        "required": ["inputs"],
    }


def tensors_answer_schema(signature: Signature) -> Schema:
    """JSON Schema of a protocol v2 answer: the outputs that were asked for, their data flat and row by row."""
    outputs = []
    for spec in signature.outputs:
        rank: Schema = {"minItems": len(spec.shape), "maxItems": len(spec.shape)}
        outputs.append(_tensor(spec.name, spec.datatype, _AXES | rank, scalar(spec.datatype)))
        if spec.labels:  # the best classes, when `classification` asks for them
            outputs.append(_tensor(spec.name, Datatype.BYTES, _AXES, {"type": "string"}))
    return {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": ANY_OBJECT,
            "outputs": {"type": "array", "items": _either(outputs)},
        },
        "required": ["model_name", "outputs"],
    }


def instances_schema(signature: Signature, row: Schema) -> Schema:
    """JSON Schema of ``instances``: one item a row, by features (`row`), by tensors, or the only tensor bare."""
    forms = [row, _object({spec.name: _cell(spec) for spec in signature.inputs})]
    if len(signature.inputs) == 1:
        forms.append(_cell(signature.inputs[0]))
    return {"type": "array", "items": _either(forms), "minItems": 1}


def inputs_schema(signature: Signature, columns: Sequence[Schema]) -> Schema:
    """JSON Schema of ``inputs``: columns by features, where there are such `columns`, or tensors, the only one bare."""
    tensors = {spec.name: {"type": "array", "items": _cell(spec), "minItems": 1} for spec in signature.inputs}
    forms = [*columns, _object(tensors)]
    if len(tensors) == 1:
        forms += tensors.values()
    return _either(forms)


def predictions_schema(signature: Signature) -> Schema:
    """JSON Schema of ``predictions``: one item a row, the only output in its own shape or an object of all."""
    parts = {spec.name: _given(spec) for spec in signature.outputs}
    items = next(iter(parts.values())) if len(parts) == 1 else _object(parts)
    return {"type": "array", "items": items}


def outputs_schema(signature: Signature) -> Schema:
    """JSON Schema of ``outputs``, which answers ``inputs``: the only output, or an object of all."""
    parts = {spec.name: {"type": "array", "items": _given(spec)} for spec in signature.outputs}
    return next(iter(parts.values())) if len(parts) == 1 else _object(parts)


def frames_schema(signature: Signature, forms: Mapping[str, Schema]) -> Schema:
    """JSON Schema of MLflow's question: exactly one of four formats, with parameters beside it.

    Parameters
    ----------
    signature : Signature
        Of the model.
    forms : mapping
        References to its ``Row``, ``Instances`` and ``Inputs``.
    """
    columns = {"type": "array", "items": {"enum": list(signature.field_names)}}
    cells: Schema = {"type": "array", "items": {"type": "array", "items": {}}, "minItems": 1}
    split = {"columns": columns, "data": cells, "index": {"type": ["array", "null"], "items": {}}}
    formats: dict[str, Schema] = {
        "dataframe_split": {**_object(split), "required": ["columns", "data"]},
        "dataframe_records": {"type": "array", "items": forms["Row"], "minItems": 1},
        "instances": forms["Instances"],
        "inputs": {"anyOf": [forms["Inputs"], forms["Instances"]]},
    }
    asked = [{**_object({name: schema, "params": _PARAMETERS}), "required": [name]} for name, schema in formats.items()]
    return {"anyOf": asked}


def frames_answer_schema(signature: Signature, predictions: Schema) -> Schema:
    """JSON Schema of MLflow's answer; `predictions` is the reference for a model with several outputs."""
    if signature.prediction or len(signature.outputs) == 1:
        predictions = {"type": "array", "items": prediction_schema(signature)}
    return {"type": "object", "properties": {"predictions": predictions}, "required": ["predictions"]}


def _cell(spec: TensorSpec) -> Schema:
    """One row of an input; a column's value may stand alone or in a list of one."""
    missing = not spec.features or any(feature.nullable for feature in spec.features)
    row = nested(spec, nullable=missing, text=_TEXT)
    if spec.width != 1:
        return row
    value = nested(spec, nullable=missing, text=_TEXT, depth=0)
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1, "maxItems": 1}]}


def _given(spec: TensorSpec) -> Schema:
    """One row of an output; names that end so hold bytes, by TensorFlow Serving's convention."""
    return nested(spec, text=_B64 if spec.name.endswith("_bytes") else None)


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _tensor(name: str, datatype: Datatype, shape: Schema, element: Schema) -> Schema:
    properties = {
        "name": {"const": name},
        "datatype": {"const": str(datatype)},
        "shape": shape,
        "parameters": _PARAMETERS,
        "data": {"type": "array", "items": element},
    }
    return {"type": "object", "properties": properties, "required": ["name", "datatype", "shape", "data"]}


def _asked(spec: TensorSpec) -> Schema:
    """Elements flat in row-major order, or nested as deep as the shape."""
    nullable = not spec.features or any(feature.nullable for feature in spec.features)
    element = scalar(spec.datatype, nullable=nullable)
    flat: Schema = {"type": "array", "items": element, "minItems": 1}
    deep = flat
    for _ in spec.shape[1:] or (1,):
        deep = {"type": "array", "items": deep, "minItems": 1}
    tensor = _tensor(spec.name, spec.datatype, _shape(spec), element)
    return {**tensor, "properties": {**tensor["properties"], "data": {"anyOf": [flat, deep]}}}


def _shape(spec: TensorSpec) -> Schema:
    """The first axis is the rows, of which there is at least one; ``[n]`` and ``[n, 1]`` mean the same."""
    rows: Schema = {"type": "integer", "minimum": 1}
    if spec.width == 1:
        return {"type": "array", "items": rows, "minItems": 1, "maxItems": 2}
    axes = [{"type": "integer", "minimum": 0} if axis == ANY else {"const": axis} for axis in spec.shape[1:]]
    return {"type": "array", "prefixItems": [rows, *axes], "minItems": len(spec.shape), "maxItems": len(spec.shape)}


def _either(schemas: Sequence[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


_B64: Schema = {
    "type": "object",
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["b64"],
    "additionalProperties": False,
}
_TEXT: Schema = {"anyOf": [{"type": "string"}, _B64]}
