"""Azure ML's documents: valid in each of their versions, and saying the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator, validate

from modelyard.core.signature import Signature
from modelyard.core.swagger import VERSIONS, plainer, service
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature

VALIDATORS: dict[str, Any] = {
    "2.0": OpenAPIV2SpecValidator,
    "3.0": OpenAPIV30SpecValidator,
    "3.1": OpenAPIV31SpecValidator,
}
SIGNATURES = {
    "linear": linear_signature(("a", "b")),
    "mixed": mixed_signature(),
    "open": mixed_signature(accepts_unknown=True),
    "image": image_bundle().manifest.signature,
    "count": count_bundle().manifest.signature,
}


@pytest.mark.parametrize("version", VALIDATORS)
@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=list(SIGNATURES))
def test_every_version_is_valid(signature: Signature, version: str) -> None:
    document = json.loads(json.dumps(plainer(service(signature, "houses", "1", "/mine"), version)))
    validate(document, cls=VALIDATORS[version])
    assert set(document["paths"]) == {"/mine/", "/mine/score"}
    schemas = document["definitions"] if version == "2.0" else document["components"]["schemas"]
    assert {"ServiceInput", "ServiceOutput", "ErrorResponse"} == set(schemas)


def test_versions_are_those_that_are_made() -> None:
    assert set(VERSIONS.values()) == set(VALIDATORS)


def test_missing_values_and_choices_in_older_words() -> None:
    row = service(mixed_signature(), "t", "1")["components"]["schemas"]["ServiceInput"]["properties"]["data"]["items"]
    assert row["properties"]["mass"] == {"type": ["number", "null"]}
    new = plainer(service(mixed_signature(), "t", "1"), "3.0")["components"]["schemas"]["ServiceInput"]
    assert new["properties"]["data"]["items"]["properties"]["mass"] == {"type": "number", "nullable": True}
    old = plainer(service(mixed_signature(), "t", "1"), "2.0")["definitions"]["ServiceInput"]
    fields = old["properties"]["data"]["items"]
    assert fields["properties"]["mass"] == {"type": "number", "x-nullable": True}
    assert fields["required"] == ["species", "length"]
    assert fields["properties"]["species"]["enum"] == ["adelie", "chinstrap", "gentoo"]


def test_what_older_versions_cannot_say_is_left_out_not_wrong() -> None:
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {},
        "paths": {},
        "components": {
            "schemas": {
                "S": {
                    "anyOf": [{"const": 1}, {"type": ["string", "integer"]}],
                    "examples": [1, 2],
                    "prefixItems": [{"type": "integer"}],
                    "enum": [None, "a"],
                    "type": ["string", "null"],
                }
            }
        },
    }
    three = plainer(whole, "3.0")["components"]["schemas"]["S"]
    assert three["anyOf"] == [{"enum": [1]}, {}]
    assert (three["example"], three["items"], three["enum"], three["nullable"]) == (1, {}, [None, "a"], True)
    two = plainer(whole, "2.0")["definitions"]["S"]
    assert "anyOf" not in two
    assert (two["enum"], two["x-nullable"], two["type"]) == (["a"], True, "string")
