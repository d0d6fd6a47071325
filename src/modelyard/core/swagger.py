"""Azure ML's description of a scoring service: one document, in OpenAPI 3.1, 3.0 and Swagger 2.0.

It is written in 3.1 and made plainer for the others, which know less of JSON Schema: a type is one, ``null`` is a mark
beside it, ``const`` a list of one, and Swagger 2.0 has no ``anyOf`` either, so that anything fits there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.core.jsonschema import answer_schema, row_schema
from modelyard.core.signature import Signature

Schema = dict[str, Any]
#: What a caller may ask for, and which version is meant.
VERSIONS = {"2": "2.0", "2.0": "2.0", "3": "3.0", "3.0": "3.0", "3.1": "3.1"}

_REFERENCE = "#/components/schemas/"
_DEFINITION = "#/definitions/"
_CHOICES = {"anyOf", "oneOf"}  # which Swagger 2.0 does not have
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}  # which used to be marks on these
_VALUES = {"enum", "example", "required"}  # what they hold is no schema


def service(signature: Signature, title: str, version: str, prefix: str = "", example: Any = None) -> Schema:
    """The OpenAPI 3.1 document of a scoring service.

    Parameters
    ----------
    signature : Signature
        Of the model.
    title, version : str
        Of the service.
    prefix : str
        Before its addresses, as a gateway shows them: ``/mine``.
    example : object, optional
        A question.

    Returns
    -------
    dict
        With ``ServiceInput`` and ``ServiceOutput``, the names by which Azure ML's consumers look for them.
    """
    row = row_schema(signature)
    answer = answer_schema(signature)["properties"]["prediction"]
    question: Schema = {
        "type": "object",
        "properties": {"data": {"type": "array", "items": row}},
        "required": ["data"],
        **({"example": example} if example is not None else {}),
    }
    schemas: Schema = {
        "ServiceInput": question,
        "ServiceOutput": {"type": "object", "properties": {"result": answer}, "required": ["result"]},
        "ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}},
    }
    refused = _answer("The service failed to execute due to an error.", "ErrorResponse")
    healthy = {"description": "The service is up.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    asked = {"required": True, "content": {"application/json": {"schema": {"$ref": _REFERENCE + "ServiceInput"}}}}
    scored = _answer("One prediction a row.", "ServiceOutput")
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": {
            f"{prefix}/": {"get": {"operationId": "ServiceHealthCheck", "responses": {"200": healthy}}},
            f"{prefix}/score": {
                "post": {
                    "operationId": "RunMLService",
                    "requestBody": asked,
                    "responses": {"200": scored, "default": refused},
                }
            },
        },
        "components": {"schemas": schemas},
    }


def plainer(document: Mapping[str, Any], version: str) -> Schema:
    """A document of `service` as OpenAPI 3.0 or Swagger 2.0.

    Parameters
    ----------
    document : mapping
        In OpenAPI 3.1.
    version : str
        A value of `VERSIONS`.
    """
    if version == "3.1":
        return dict(document)
    schemas = {name: _schema(item, version) for name, item in document["components"]["schemas"].items()}
    if version == "3.0":
        return {**document, "openapi": "3.0.3", "components": {"schemas": schemas}}
    paths = {
        address: {method: _operation(told) for method, told in item.items()}
        for address, item in document["paths"].items()
    }
    return {
        "swagger": "2.0",
        "info": document["info"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": paths,
        "definitions": schemas,
    }


def _answer(description: str, name: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": _REFERENCE + name}}}}


def _operation(told: Mapping[str, Any]) -> Schema:
    """One operation of Swagger 2.0, where a body is a parameter and an answer has one schema."""
    plain = {name: item for name, item in told.items() if name not in {"requestBody", "responses"}}
    if "requestBody" in told:
        schema = _sole(told["requestBody"]["content"])
        plain["parameters"] = [{"name": "serviceInputPayload", "in": "body", "required": True, "schema": schema}]
    plain["responses"] = {
        status: {"description": answer["description"], "schema": _sole(answer["content"])}
        for status, answer in told["responses"].items()
    }
    return plain


def _sole(content: Mapping[str, Any]) -> Schema:
    schema: Schema = next(iter(content.values()))["schema"]
    there = schema.get("$ref")
    return {"$ref": there.replace(_REFERENCE, _DEFINITION)} if there else schema


def _schema(schema: Any, version: str) -> Any:
    """A JSON Schema of 2020-12 in the words of an older one."""
    if isinstance(schema, list):
        return [_schema(item, version) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    plain: Schema = {}
    for name, value in schema.items():
        plain |= _word(name, value, version)
    if isinstance(schema.get("type"), list) and "enum" in plain and version == "2.0":
        plain["enum"] = [item for item in plain["enum"] if item is not None]
    return plain


def _word(name: str, value: Any, version: str) -> Schema:
    """One keyword of a schema."""
    if name == "const":
        name, value = "enum", [value]
    elif name == "examples":
        name, value = "example", value[0]
    if name == "type" and isinstance(value, list):
        return _type(value, version)
    if name in _VALUES:
        return {name: value}
    if name == "properties":
        return {name: {field: _schema(item, version) for field, item in value.items()}}
    if name in _EXCLUSIVE:
        return {_EXCLUSIVE[name]: value, name: True}
    if name == "prefixItems":
        return {"items": {}}
    return {} if name in _CHOICES and version == "2.0" else {name: _schema(value, version)}


def _type(kinds: list[str], version: str) -> Schema:
    """One type, and whether it may be null; no type where there are several."""
    own = [kind for kind in kinds if kind != "null"]
    mark = "nullable" if version == "3.0" else "x-nullable"
    return {**({"type": own[0]} if len(own) == 1 else {}), **({mark: True} if "null" in kinds else {})}
