"""The API's own document: valid OpenAPI that speaks of every route."""

from __future__ import annotations

from openapi_spec_validator import validate

from modelyard.control.actions.home import Home
from modelyard.control.api.app import ROUTES
from tests.unit.control.api.callers import Api


def test_it_is_valid_and_speaks_of_every_route(home: Home) -> None:
    with Api(home) as api:
        found = api.ask("GET", "/api/v1/openapi.json").json
    validate(found)
    described = {f"{method.upper()} {path}" for path, methods in found["paths"].items() for method in methods}
    assert described == {str(route) for route in ROUTES}
    made = found["paths"]["/api/v1/keys"]["post"]
    assert made["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/NewKey"}
    assert "201" in made["responses"]
    assert made["description"] == "Needs `server:keys`."
    assert set(found["components"]["schemas"]["NewKey"]["properties"]) >= {"name", "role", "not_before", "expires_at"}
    assert [path for path, told in found["paths"].items() if told.get("get", {}).get("security") == []] == [
        "/livez",
        "/readyz",
    ]
    limits = {one["name"] for one in found["paths"]["/api/v1/audit"]["get"]["parameters"]}
    assert limits == {"since", "actor", "action", "object", "outcome", "limit", "after", "before"}
