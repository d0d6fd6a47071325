"""The signature as JSON Schema and OpenAPI 3.1: what documents, generated clients and forms are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True)
class Described:
    """One served model, as far as documents speak of it."""

    name: str
    version: int
    signature: Signature
    summary: str = ""
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    answers: Sequence[Any] = field(default_factory=tuple)


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
            properties[spec.name] = _nested(spec)
            required.append(spec.name)
        for feature in spec.features:
            properties[feature.name] = feature_schema(feature)
            if not feature.nullable:
                required.append(feature.name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def columns_schema(signature: Signature) -> Schema:
    """JSON Schema of the same rows as columns."""
    row = row_schema(signature)
    lists = {name: {"type": "array", "items": schema, "minItems": 1} for name, schema in row["properties"].items()}
    return {**row, "properties": lists}


def openapi(models: Sequence[Described], version: str) -> Schema:
    """The OpenAPI 3.1 document of these models.

    Parameters
    ----------
    models : sequence of Described
        What is served; their rows and answers become the examples.
    version : str
        Of this software.
    """
    schemas: dict[str, Schema] = {"Problem": _PROBLEM, "TensorRequest": _TENSOR_REQUEST, "TensorResponse": _ANY_OBJECT}
    paths: dict[str, Schema] = {}
    for model in models:
        title = _title(model.name)
        schemas[f"{title}Row"] = row_schema(model.signature)
        if _has_columns(model.signature):
            schemas[f"{title}Columns"] = columns_schema(model.signature)
        schemas[f"{title}Answer"] = answer_schema(model.signature)
        paths[f"/models/{model.name}/predict"] = {"post": _predict(model, title)}
        paths[f"/v2/models/{model.name}/infer"] = {"post": _infer(model)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Modelyard", "version": version, "description": "Predictions of the models served here."},
        "paths": {**paths, **_HEALTH},
        "components": {"schemas": schemas},
    }


def answer_schema(signature: Signature) -> Schema:
    """JSON Schema of the friendly answer: ``{"prediction": [...]}``, one entry per row."""
    specs = {spec.name: spec for spec in signature.outputs}
    main = specs.get(signature.prediction) or (signature.outputs[0] if len(specs) == 1 else None)
    if main is not None:
        prediction: Schema = {"type": "array", "items": _element(main)}
    else:
        parts = {name: _element(spec) for name, spec in specs.items()}
        prediction = {"type": "array", "items": {"type": "object", "properties": parts, "required": list(parts)}}
    return {"type": "object", "properties": {"prediction": prediction}, "required": ["prediction"]}


def _predict(model: Described, title: str) -> Schema:
    reference = f"#/components/schemas/{title}"
    forms: list[Schema] = [
        {"$ref": f"{reference}Row"},
        {"type": "array", "items": {"$ref": f"{reference}Row"}, "minItems": 1},
    ]
    if _has_columns(model.signature):
        forms.append({"$ref": f"{reference}Columns"})
    body: Schema = {"schema": {"anyOf": forms}}
    answer: Schema = {"schema": {"$ref": f"{reference}Answer"}}
    if model.rows:
        body["example"] = dict(model.rows[0])
        answer["example"] = {"prediction": list(model.answers[:1])}
    detail = {"name": "detail", "in": "query", "schema": {"enum": ["full"]}, "description": "Add probabilities."}
    return {
        "operationId": f"predict_{model.name.replace('-', '_')}",
        "summary": f"Predict with {model.name}",
        "description": model.summary,
        "tags": [model.name],
        "parameters": [detail],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {"description": "One prediction per row.", "content": {"application/json": answer}},
            "default": {"description": "Refused.", "content": {"application/problem+json": {"schema": _REF_PROBLEM}}},
        },
    }


def _infer(model: Described) -> Schema:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/TensorRequest"}}}
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/TensorResponse"}}}
    return {
        "operationId": f"infer_{model.name.replace('-', '_')}",
        "summary": f"Open Inference Protocol v2: {model.name}",
        "tags": [model.name],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "Output tensors.", "content": answer},
            "default": {"description": "Refused.", "content": {"application/json": {"schema": _ANY_OBJECT}}},
        },
    }


def _nested(spec: TensorSpec) -> Schema:
    """One row of an opaque tensor: lists as deep as its shape without the rows."""
    schema = _scalar(spec.datatype)
    for axis in reversed(spec.shape[1:]):
        schema = {"type": "array", "items": schema, **({} if axis == ANY else {"minItems": axis, "maxItems": axis})}
    return schema


def _element(spec: TensorSpec) -> Schema:
    return _scalar(spec.datatype) if spec.width == 1 else _nested(spec)


def _scalar(datatype: Datatype) -> Schema:
    if datatype is Datatype.BYTES:
        return {"type": "string"}
    if datatype is Datatype.BOOL:
        return {"type": "boolean"}
    return {"type": "integer"} if datatype.is_integer else {"type": ["number", "null"]}


def _has_columns(signature: Signature) -> bool:
    """Whether rows can be sent as columns: not where a field's own value is a list."""
    return all(spec.features for spec in signature.inputs)


def _title(name: str) -> str:
    """``linear-regression`` -> ``LinearRegression``; no two names give one title."""
    return "".join(part.capitalize() if part[:1].isalpha() else f"_{part}" for part in name.split("-"))


_ANY_OBJECT: Schema = {"type": "object"}
_REF_PROBLEM: Schema = {"$ref": "#/components/schemas/Problem"}
_PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "request id"},
        "code": {"type": "string"},
        "cause": {"type": "string"},
        "hint": {"type": "string"},
        "facts": _ANY_OBJECT,
    },
    "required": ["type", "title", "status", "detail"],
}
_TENSOR_REQUEST: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "inputs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    "datatype": {"enum": [str(datatype) for datatype in Datatype]},
                    "data": {"type": "array"},
                },
                "required": ["name", "shape", "datatype"],
            },
        },
    },
    "required": ["inputs"],
}
_OK: Schema = {"responses": {"200": {"description": "Yes."}, "503": {"description": "Not now."}}}
_HEALTH: dict[str, Schema] = {
    "/livez": {"get": {"operationId": "livez", "summary": "Is the process alive?", **_OK}},
    "/readyz": {"get": {"operationId": "readyz", "summary": "Can it answer predictions?", **_OK}},
    "/metrics": {"get": {"operationId": "metrics", "summary": "Prometheus metrics.", **_OK}},
}
