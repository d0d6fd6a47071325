"""The signature as JSON Schema: rows and columns by the names of their fields, and the friendly answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelyard.core.signature import ANY, Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype

Schema = dict[str, Any]

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
            properties[spec.name] = nested(spec, nullable=False)
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
    properties: dict[str, Schema] = {
        "prediction": {"type": "array", "items": prediction_schema(signature)},
        "model": {"type": "string"},
        "version": {"type": "integer"},
    }
    if signature.probabilities:
        spec = signature.outputs[signature.output_index(signature.probabilities)]
        labels = {str(label): scalar(spec.datatype) for label in spec.labels}
        row = {"type": "object", "properties": labels, "required": list(labels)}
        properties["probabilities"] = {"type": "array", "items": row}
    return {"type": "object", "properties": properties, "required": ["prediction"]}


def prediction_schema(signature: Signature) -> Schema:
    """JSON Schema of one row's entry: the prediction, or an object of all outputs where none is the one."""
    specs = {spec.name: spec for spec in signature.outputs}
    main = specs.get(signature.prediction) or (signature.outputs[0] if len(specs) == 1 else None)
    if main is not None:
        return _element(main)
    parts = {name: _element(spec) for name, spec in specs.items()}
    return {"type": "object", "properties": parts, "required": list(parts)}


def scalar(datatype: Datatype, *, nullable: bool = True) -> Schema:
    """JSON Schema of one element; a number that may be missing is null."""
    if datatype is Datatype.BYTES:
        return {"type": "string"}
    if datatype is Datatype.BOOL:
        return {"type": "boolean"}
    number = ["number", "null"] if nullable else "number"
    return {"type": "integer" if datatype.is_integer else number} | _bounds(datatype)


def nested(spec: TensorSpec, *, nullable: bool = True, text: Schema | None = None, depth: int | None = None) -> Schema:
    """JSON Schema of one row of a tensor: lists as deep as its shape without the rows.

    Parameters
    ----------
    spec : TensorSpec
        The tensor.
    nullable : bool
        Whether an element may be null, where it is a number with a fraction.
    text : dict, optional
        Schema of an element of BYTES, where it is not a string.
    depth : int, optional
        So many of the inner lists only.
    """
    schema = text if text is not None and spec.datatype is Datatype.BYTES else scalar(spec.datatype, nullable=nullable)
    axes = spec.shape[1:]
    for axis in reversed(axes if depth is None else axes[len(axes) - depth :]):
        schema = {"type": "array", "items": schema, **({} if axis == ANY else {"minItems": axis, "maxItems": axis})}
    return schema


def _element(spec: TensorSpec) -> Schema:
    return scalar(spec.datatype) if spec.width == 1 else nested(spec)


def _bounds(datatype: Datatype) -> Schema:
    """What this type can hold, where that is less than what JSON can say."""
    if datatype.is_integer:
        return {"minimum": int(np.iinfo(datatype.dtype).min), "maximum": int(np.iinfo(datatype.dtype).max)}
    if datatype in _TOO_LARGE:
        return {"exclusiveMinimum": -_TOO_LARGE[datatype], "exclusiveMaximum": _TOO_LARGE[datatype]}
    return {}


# From here on a number is infinite in this type: half a step above the largest one it holds.
_TOO_LARGE = {
    Datatype.FP16: 2.0**16 - 2.0**4,
    Datatype.FP32: 2.0**128 - 2.0**103,
    Datatype.BF16: 2.0**128 - 2.0**119 - 2.0**103,  # half a step of FP32 less, which comes first
}
