"""The control API's own description: OpenAPI 3.1, from the table of routes and the types that they take."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

import modelyard
from modelyard.control.api.route import PREFIX, Anybody, Known, Route, Some
from modelyard.core.identity import Permission, Verb
from modelyard.core.schema import PROBLEM_BODY, Schema

_REFERENCE = "#/components/schemas/{name}"
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]


def document(routes: Iterable[Route]) -> Schema:
    """The description of these routes."""
    table = tuple(routes)
    taken = {route.takes for route in table if route.reads_body and route.takes is not None}
    _, schemas = msgspec.json.schema_components(sorted(taken, key=_name), ref_template=_REFERENCE)
    paths: dict[str, Schema] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Modelyard control API", "version": modelyard.__version__},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM_BODY},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": _SECURITY,
    }


def _operation(route: Route) -> Schema:
    refused = {"content": {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(name="Problem")}}}}
    made = "201" if route.makes else "200"
    told: Schema = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "description": f"Needs {_needs(route)}.",
        "parameters": [*_named(route), *_asked(route)],
        "responses": {
            made: {"description": "Done.", "content": {"application/json": {"schema": {}}}},
            "default": {"description": "Refused, or not done.", **refused},
        },
    }
    if isinstance(route.needs, Anybody):
        told["security"] = []
    if route.reads_body and route.takes is not None:
        schema = {"$ref": _REFERENCE.format(name=_name(route.takes))}
        told["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return told


def _needs(route: Route) -> str:
    if isinstance(route.needs, Anybody):
        return "nothing"
    if isinstance(route.needs, Known):
        return "a key, whatever it allows"
    if isinstance(route.needs, Some):
        return f"`{route.needs.verb}` of any model; the answer is about those"
    if isinstance(route.needs, Permission):
        return f"`{route.needs.scope}`"
    verb: Verb = route.needs({"model": "model"}).verb
    return f"`{verb}` of the model: `model:MODEL:{verb}`"


def _named(route: Route) -> list[Schema]:
    names = re.findall(r"{([a-z]+)}", route.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _asked(route: Route) -> list[Schema]:
    """What the query may say."""
    if route.takes is None or route.reads_body:
        return []
    schema = msgspec.json.schema(route.takes)
    fields = schema["$defs"][_name(route.takes)]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": field} for name, field in fields.items()]


def _operation_id(route: Route) -> str:
    words = [word.strip("{}") for word in route.path.removeprefix(PREFIX).split("/")[1:]]
    return "_".join([route.method.lower(), *words])


def _name(taken: type[msgspec.Struct]) -> str:
    return taken.__name__
