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


PROBLEM = "application/problem+json"
ANY_OBJECT: Schema = {"type": "object"}


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


def openapi(models: Sequence[Described], paths: Mapping[str, Any], version: str) -> Schema:
    """The OpenAPI 3.1 document of these models.

    Parameters
    ----------
    models : sequence of Described
        What is served; `components` holds the schemas of their rows, columns and answers, as `reference` names them.
    paths : mapping
        Path items by address, as the contracts that are spoken give them.
    version : str
        Of this software.
    """
    schemas: dict[str, Schema] = {"Problem": _PROBLEM}
    for model in models:
        schemas[f"{_title(model.name)}Row"] = row_schema(model.signature)
        if has_columns(model.signature):
            schemas[f"{_title(model.name)}Columns"] = columns_schema(model.signature)
        schemas[f"{_title(model.name)}Answer"] = answer_schema(model.signature)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Modelyard", "version": version, "description": "Predictions of the models served here."},
        "paths": dict(paths),
        "components": {"schemas": schemas},
    }


def reference(model: Described, part: str) -> Schema:
    """A reference to a model's ``Row``, ``Columns`` (where it `has_columns`) or ``Answer`` in `openapi`'s document."""
    return {"$ref": f"#/components/schemas/{_title(model.name)}{part}"}


def operation(
    name: str, summary: str, *, tag: str = "", answer: Mapping[str, Any], refusal: str | None = PROBLEM, **more: Any
) -> Schema:
    """One OpenAPI operation.

    Parameters
    ----------
    name : str
        Its id; with ``-`` where the model's name has one.
    summary : str
        One line.
    tag : str, optional
        Under which it is listed: a model's name.
    answer : mapping
        Media types of the answer with status 200: ``{"application/json": {"schema": ...}}``; empty for no body.
    refusal : str or None
        Media type of the other answers: a problem, or any object when it is plain JSON; None where nothing is refused.
    more : dict
        Further members: ``parameters``, ``requestBody`` (see `body`), ``description``.
    """
    responses: Schema = {"200": {"description": "Done.", **({"content": dict(answer)} if answer else {})}}
    if refusal is not None:
        schema = {"$ref": "#/components/schemas/Problem"} if refusal == PROBLEM else ANY_OBJECT
        responses["default"] = {"description": "Refused.", "content": {refusal: {"schema": schema}}}
    tags = {"tags": [tag]} if tag else {}
    return {"operationId": name.replace("-", "_"), "summary": summary, **tags, **more, "responses": responses}


def body(content: Mapping[str, Any]) -> Schema:
    """A required request body with these media types."""
    return {"required": True, "content": dict(content)}


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


def has_columns(signature: Signature) -> bool:
    """Whether rows can be sent as columns: not where a field's own value is a list."""
    return all(spec.features for spec in signature.inputs)


def _title(name: str) -> str:
    """``linear-regression`` -> ``LinearRegression``; no two names give one title."""
    return "".join(part.capitalize() if part[:1].isalpha() else f"_{part}" for part in name.split("-"))


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
        "facts": ANY_OBJECT,
    },
    "required": ["type", "title", "status", "detail"],
}
