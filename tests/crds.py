"""KServe's own schemas, closed: a field that they do not know is a mistake, as it is to the Kubernetes API."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.containers import lacking

_FOLDER = Path(__file__).parents[2] / "shared" / "schemas"
_HOW = "the CRDs of KServe (config/crd/full of its sources) have to lie in {folder}"
_METADATA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def findings(document: dict[str, Any]) -> list[str]:
    """What the object's CRD finds wrong with it, one line each."""
    validator = _validator(document["kind"])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(schema(kind))


def schema(kind: str) -> dict[str, Any]:
    """The closed schema of a kind."""
    path = _FOLDER / f"serving.kserve.io_{kind.lower()}s.yaml"
    if not path.is_file():
        lacking(_HOW.format(folder="../shared/schemas"))
    definition = yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)["spec"]
    version = definition["versions"][0]
    found = version["schema"]["openAPIV3Schema"]
    found["properties"]["metadata"] = _METADATA
    found["properties"]["kind"] = {"const": definition["names"]["kind"]}
    found["properties"]["apiVersion"] = {"const": f"{definition['group']}/{version['name']}"}
    closed: dict[str, Any] = _closed(found)
    return closed


def _closed(schema: Any) -> Any:
    """The same, with nothing allowed that is not named; OpenAPI's own words said in JSON Schema's."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        closed["properties"] = {name: _closed(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return closed
