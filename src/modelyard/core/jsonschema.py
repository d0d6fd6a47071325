"""The signature as JSON Schema: rows, columns and tensors as they are asked, and the answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.core.signature import ANY, Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype

Schema = dict[str, Any]
ANY_OBJECT: Schema = {"type": "object"}

_TYPES = {
    FeatureKind.NUMBER: "number",
    FeatureKind.INTEGER: "integer",
    FeatureKind.BOOLEAN: "boolean",
    FeatureKind.CATEGORY: "string",
    FeatureKind.TEXT: "string",
}


def feature_schema(feature: Feature) -> Schema:
    """JSON Schema of one feature's value. Ranges seen in training are told, not enforced."""
    kind = _TYPES[feature.kind]
    schema: Schema = {"type": [kind, "null"] if feature.nullable else kind}
    if feature.categories and not feature.accepts_unknown:
        schema["enum"] = [*feature.categories, *([None] if feature.nullable else [])]
    elif feature.categories:
        schema["examples"] = list(feature.categories[:10])
    notes = [feature.description] if feature.description else []
    if feature.unit:
        notes.append(f"in {feature.unit}")
    if feature.minimum is not None and feature.maximum is not None:
        notes.append(f"training data: {feature.minimum:g} to {feature.maximum:g}")
    if notes:
        schema["description"] = "; ".join(notes)
    return schema


def row_schema(signature: Signature) -> Schema:
    """JSON Schema of one row object."""
    properties: dict[str, Schema] = {}
    required = []
    for spec in signature.inputs:
        if not spec.features:
            properties[spec.name] = _nested(spec, nullable=False)
            required.append(spec.name)
        for feature in spec.features:
            properties[feature.name] = feature_schema(feature) | _bounds(spec.datatype)
            if not feature.nullable:
                required.append(feature.name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def columns_schema(signature: Signature) -> Schema:
    """JSON Schema of the same rows as columns."""
    row = row_schema(signature)
    lists = {name: {"type": "array", "items": schema, "minItems": 1} for name, schema in row["properties"].items()}
    return {**row, "properties": lists}


def answer_schema(signature: Signature) -> Schema:
    """JSON Schema of the friendly answer: ``{"prediction": [...]}``, one entry per row, and what details add."""
    specs = {spec.name: spec for spec in signature.outputs}
    main = specs.get(signature.prediction) or (signature.outputs[0] if len(specs) == 1 else None)
    if main is not None:
        prediction: Schema = _element(main)
    else:
        parts = {name: _element(spec) for name, spec in specs.items()}
        prediction = {"type": "object", "properties": parts, "required": list(parts)}
    properties: dict[str, Schema] = {
        "prediction": {"type": "array", "items": prediction},
        "model": {"type": "string"},
        "version": {"type": "integer"},
    }
    if signature.probabilities:
        labels = {str(label): scalar(specs[signature.probabilities].datatype) for label in _labels(signature)}
        row = {"type": "object", "properties": labels, "required": list(labels)}
        properties["probabilities"] = {"type": "array", "items": row}
    return {"type": "object", "properties": properties, "required": ["prediction"]}


def tensors_schema(signature: Signature) -> Schema:
    """JSON Schema of a protocol v2 request: each input by its name, with its own datatype, shape and elements."""
    count = len(signature.inputs)
    inputs = [_tensor(spec, str(spec.datatype), _asked_data(spec)) for spec in signature.inputs]
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
        data = {"type": "array", "items": scalar(spec.datatype)}
        outputs.append(_tensor(spec, str(spec.datatype), data))
        if spec.labels:  # the best classes, when `classification` asks for them
            outputs.append(_tensor(spec, str(Datatype.BYTES), {"type": "array", "items": {"type": "string"}}))
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


def scalar(datatype: Datatype, *, nullable: bool = True) -> Schema:
    """JSON Schema of one element; a number that may be missing is null."""
    if datatype is Datatype.BYTES:
        return {"type": "string"}
    if datatype is Datatype.BOOL:
        return {"type": "boolean"}
    number = ["number", "null"] if nullable else "number"
    return {"type": "integer" if datatype.is_integer else number} | _bounds(datatype)


def _bounds(datatype: Datatype) -> Schema:
    """What this type can hold, where that is less than what JSON can say."""
    if datatype.is_integer:
        return {"minimum": int(np.iinfo(datatype.dtype).min), "maximum": int(np.iinfo(datatype.dtype).max)}
    if datatype in _TOO_LARGE:
        return {"exclusiveMinimum": -_TOO_LARGE[datatype], "exclusiveMaximum": _TOO_LARGE[datatype]}
    return {}


def _labels(signature: Signature) -> Sequence[str | int]:
    return signature.outputs[signature.output_index(signature.probabilities)].labels


def _nested(spec: TensorSpec, *, nullable: bool = True) -> Schema:
    """One row of an opaque tensor: lists as deep as its shape without the rows."""
    schema = scalar(spec.datatype, nullable=nullable)
    for axis in reversed(spec.shape[1:]):
        schema = {"type": "array", "items": schema, **({} if axis == ANY else {"minItems": axis, "maxItems": axis})}
    return schema


def _element(spec: TensorSpec) -> Schema:
    return scalar(spec.datatype) if spec.width == 1 else _nested(spec)


def _tensor(spec: TensorSpec, datatype: str, data: Schema) -> Schema:
    properties = {
        "name": {"const": spec.name},
        "datatype": {"const": datatype},
        "shape": _shape(spec) if datatype == spec.datatype else {"type": "array", "items": {"type": "integer"}},
        "parameters": _PARAMETERS,
        "data": data,
    }
    return {"type": "object", "properties": properties, "required": ["name", "datatype", "shape", "data"]}


def _shape(spec: TensorSpec) -> Schema:
    """The first axis is the rows, of which there is at least one; ``[n]`` and ``[n, 1]`` mean the same."""
    rows: Schema = {"type": "integer", "minimum": 1}
    if spec.width == 1:
        return {"type": "array", "items": rows, "minItems": 1, "maxItems": 2}
    axes = [{"type": "integer", "minimum": 0} if axis == ANY else {"const": axis} for axis in spec.shape[1:]]
    return {"type": "array", "prefixItems": [rows, *axes], "minItems": len(spec.shape), "maxItems": len(spec.shape)}


def _asked_data(spec: TensorSpec) -> Schema:
    """Elements flat in row-major order, or nested as deep as the shape."""
    nullable = not spec.features or any(feature.nullable for feature in spec.features)
    flat: Schema = {"type": "array", "items": scalar(spec.datatype, nullable=nullable), "minItems": 1}
    nested = flat
    for _ in spec.shape[1:] or (1,):
        nested = {"type": "array", "items": nested, "minItems": 1}
    return {"anyOf": [flat, nested]}


def _either(schemas: Sequence[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


_PARAMETERS: Schema = {"type": ["object", "null"]}
# From here on a number is infinite in this type: half a step above the largest one it holds.
_TOO_LARGE = {
    Datatype.FP16: 2.0**16 - 2.0**4,
    Datatype.FP32: 2.0**128 - 2.0**103,
    Datatype.BF16: 2.0**128 - 2.0**119,
}
