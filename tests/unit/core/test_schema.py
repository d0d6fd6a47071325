"""OpenAPI documents: valid, told apart, with the schemas that they refer to and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from modelyard.core.schema import Described, addresses, openapi, reference
from modelyard.model.bundle import Bundle
from modelyard.serve.http.contracts import CONTRACTS
from modelyard.serve.http.documents import specification
from modelyard.serve.http.forms.rows import RowForm
from modelyard.serve.http.site import Site
from modelyard.serve.plane import Plane
from tests.models import count_bundle, image_bundle, linear_bundle, mixed_bundle

BUNDLES = {bundle.manifest.name: bundle for bundle in (linear_bundle(), mixed_bundle(), image_bundle(), count_bundle())}


SITE = Site(Plane(), Path(), contracts=tuple(CONTRACTS))


EACH = pytest.mark.parametrize("bundle", BUNDLES.values(), ids=BUNDLES.keys())


def described(bundle: Bundle, name: str) -> Described:
    return Described(name, 2, bundle.manifest.signature, "About.", bundle.samples.rows, [1])


def fits(schema: dict[str, Any], value: Any) -> bool:
    return Draft202012Validator(schema).is_valid(value)


def test_the_document_is_openapi() -> None:
    names = [*BUNDLES, "x1-2", "x12", "a--b", "a-b", "ab", "problem", "tensor", "9-lives"]
    models = [described(BUNDLES.get(name, BUNDLES["mixed"]), name) for name in names]
    document = specification(SITE, models)
    validate(document)
    json.dumps(document, allow_nan=False)
    operations = [op for item in document["paths"].values() for op in item.values() if "operationId" in op]
    assert len({op["operationId"] for op in operations}) == len(operations)
    assert sum(name.endswith("Row") for name in document["components"]["schemas"]) == len(names)
    assert len({path for path in document["paths"] if path.endswith("/predict")}) == len(names)


def test_no_model_is_a_document_too() -> None:
    validate(specification(SITE, []))


@EACH
def test_the_example_fits_the_schema_and_the_server(bundle: Bundle) -> None:
    document = specification(SITE, [described(bundle, "m")])
    body = document["paths"]["/models/m/predict"]["post"]["requestBody"]["content"]["application/json"]
    schema = {**body["schema"], "components": document["components"]}
    codec = RowForm(bundle.manifest.signature, "m", 1)
    for example in (body["example"], bundle.samples.rows):
        assert fits(schema, example)
        codec.decode(json.dumps(example).encode())


def test_columns_are_offered_only_where_they_can_be_sent() -> None:
    document = specification(SITE, [described(BUNDLES["image"], "i"), described(BUNDLES["mixed"], "m")])
    assert "IColumns" not in document["components"]["schemas"]
    assert "MColumns" in document["components"]["schemas"]


def test_a_document_holds_what_it_refers_to_and_nothing_else() -> None:
    paths = {"/x": {"get": {"x": reference(described(BUNDLES["mixed"], "m"), "Row")}}}
    document = openapi([described(BUNDLES["mixed"], "m")], paths, "1")
    assert set(document["components"]["schemas"]) == {"MRow"}


def test_operations_of_one_name_are_told_apart() -> None:
    models = [described(BUNDLES["linear"], "a-b"), described(BUNDLES["linear"], "b")]
    paths = {f"/{at}": {"get": {"operationId": "ask"}, "parameters": []} for at in range(3)}
    document = openapi(models, paths, "1")
    assert [item["get"]["operationId"] for item in document["paths"].values()] == ["ask", "ask_2", "ask_3"]


def test_addresses_of_a_default_version_and_of_another() -> None:
    default = Described("m", 2, BUNDLES["mixed"].manifest.signature, versions=(1, 2))
    (bare, mark, first), (each, other, members) = addresses("/models/m", default)
    assert (bare, mark, first) == ("/models/m", "", {})
    assert (each, other) == ("/models/m/versions/{version}", "version_")
    assert members["parameters"][0]["schema"]["enum"] == ["1", "2"]
    strange = Described("m", 3, BUNDLES["linear"].manifest.signature, versions=(3,), default=False)
    assert addresses("/models/m", strange) == [("/models/m/versions/3", "version_3_", {})]
    assert reference(strange, "Row") != reference(default, "Row")
