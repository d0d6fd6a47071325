"""Schemas: valid documents, in agreement with what the server takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from modelyard.core.errors import ModelyardError
from modelyard.core.rows import from_columns, from_objects
from modelyard.core.schema import Described, answer_schema, columns_schema, feature_schema, openapi, row_schema
from modelyard.core.signature import Feature, FeatureKind, Signature
from modelyard.model.bundle import Bundle
from modelyard.model.runtime import load
from modelyard.serve.http.contracts import CONTRACTS
from modelyard.serve.http.forms.rows import RowForm
from modelyard.serve.http.pages import specification
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


def accepted(signature: Signature, rows: list[Any]) -> bool:
    try:
        from_objects(signature, rows)
    except ModelyardError:
        return False
    return True


def test_the_document_is_openapi() -> None:
    names = [*BUNDLES, "x1-2", "x12", "a--b", "a-b", "ab", "problem", "tensor", "9-lives"]
    models = [described(BUNDLES.get(name, BUNDLES["mixed"]), name) for name in names]
    document = specification(SITE, models)
    validate(document)
    json.dumps(document, allow_nan=False)
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


@EACH
def test_the_answer_fits_its_schema(bundle: Bundle) -> None:
    signature = bundle.manifest.signature
    outputs = load(bundle).run(from_objects(signature, bundle.samples.rows))
    codec = RowForm(signature, "m", 1)
    for raw in (codec.encode(outputs), codec.encode_full(outputs)):
        answer = json.loads(raw)
        assert fits(answer_schema(signature), answer)
        assert len(answer["prediction"]) == len(bundle.samples.rows)


BAD = [
    {},
    {"species": "adelie", "length": 1, "other": 2},
    {"species": "dodo", "length": 1},
    {"species": None, "length": 1},
    {"species": "adelie", "length": "1"},
    {"species": "adelie", "length": True},
    {"species": "adelie", "length": None},
    {"species": "adelie", "length": [1]},
    {"feature": [1]},
    {"image": [[1.0] * 4] * 2},
    {"image": [["x"] * 4] * 3},
    {"count": 1.5},
    {"count": "1"},
    {"count": None},
]


@EACH
@pytest.mark.parametrize("row", BAD)
def test_what_the_schema_refuses_the_rows_refuse(bundle: Bundle, row: dict[str, Any]) -> None:
    signature = bundle.manifest.signature
    assert fits(row_schema(signature), row) == accepted(signature, [row]) == False  # noqa: E712 - a chain of three


@pytest.mark.parametrize("mass", [1, 1.5, None])
def test_what_the_schema_takes_the_rows_take(mass: float | None) -> None:
    signature = BUNDLES["mixed"].manifest.signature
    for row in ({"species": "gentoo", "length": 2, "mass": mass}, {"species": "gentoo", "length": 2}):
        assert fits(row_schema(signature), row)
        assert accepted(signature, [row])
        columns = {name: [value] for name, value in row.items()}
        assert fits(columns_schema(signature), columns)
        from_columns(signature, columns)


def test_columns_are_offered_only_where_they_can_be_sent() -> None:
    document = openapi([described(BUNDLES["image"], "i"), described(BUNDLES["mixed"], "m")], {}, "1")
    assert "IColumns" not in document["components"]["schemas"]
    assert "MColumns" in document["components"]["schemas"]


def test_a_feature_tells_what_is_known_of_it() -> None:
    plain = feature_schema(Feature(name="x", minimum=0.0, maximum=2.5, unit="m", description="How far"))
    assert plain == {"type": "number", "description": "How far; in m; training data: 0 to 2.5"}
    options = Feature(name="c", kind=FeatureKind.CATEGORY, categories=("a", "b"), nullable=True)
    assert feature_schema(options)["enum"] == ["a", "b", None]
    opened = Feature(name="c", kind=FeatureKind.CATEGORY, categories=("a", "b"), accepts_unknown=True)
    assert feature_schema(opened) == {"type": "string", "examples": ["a", "b"]}


def test_an_image_is_as_deep_as_its_shape() -> None:
    schema = row_schema(BUNDLES["image"].manifest.signature)
    assert fits(schema, {"image": np.zeros((3, 4)).tolist()})
    assert not fits(schema, {"image": np.zeros((4, 3)).tolist()})
