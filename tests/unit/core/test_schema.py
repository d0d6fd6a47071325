"""Schemas: valid documents, in agreement with what the server takes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from modelyard.core.errors import ModelyardError, WrongType
from modelyard.core.jsonschema import (
    answer_schema,
    columns_schema,
    feature_schema,
    row_schema,
    scalar,
)
from modelyard.core.nested import from_nested
from modelyard.core.rows import from_columns, from_objects
from modelyard.core.schema import Described, addresses, openapi, reference
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.core.tensorschema import tensors_answer_schema, tensors_schema
from modelyard.model.bundle import Bundle
from modelyard.model.runtime import load
from modelyard.serve.http.contracts import CONTRACTS
from modelyard.serve.http.documents import specification
from modelyard.serve.http.forms.rows import RowForm
from modelyard.serve.http.forms.tensors import TensorForm
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


@EACH
def test_tensors_fit_their_schema(bundle: Bundle) -> None:
    signature = bundle.manifest.signature
    arrays = from_objects(signature, bundle.samples.rows)
    inputs = [
        {"name": spec.name, "datatype": str(spec.datatype), "shape": list(array.shape), "data": array.ravel().tolist()}
        for spec, array in zip(signature.inputs, arrays, strict=True)
    ]
    nested = [{**item, "data": array.tolist()} for item, array in zip(inputs, arrays, strict=True)]
    schema = tensors_schema(signature)
    for good in (inputs, nested):
        question = {"inputs": json.loads(json.dumps(good).replace("NaN", "null"))}
        assert fits(schema, question)
        form = TensorForm(signature, "m", 1)
        given, wanted = form.decode(json.dumps(question).encode(), None)
        answer, _ = form.encode(load(bundle).run(given), wanted)
        assert fits(tensors_answer_schema(signature), json.loads(answer))
    for bad in (
        [],
        [{**inputs[0], "name": "other"}, *inputs[1:]],
        [{**inputs[0], "datatype": "UINT8"}, *inputs[1:]],
        [{**inputs[0], "shape": [2, 7, 5, 3]}, *inputs[1:]],
        [{**inputs[0], "data": [{}]}, *inputs[1:]],
        [*inputs, inputs[0]],
    ):
        assert not fits(schema, {"inputs": bad})
        with pytest.raises(ModelyardError):
            form.decode(json.dumps({"inputs": bad}).replace("NaN", "null").encode(), None)


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


@pytest.mark.parametrize("datatype", [Datatype.FP16, Datatype.FP32, Datatype.BF16])
def test_the_bounds_of_a_datatype_are_where_it_turns_infinite(datatype: Datatype) -> None:
    limit = scalar(datatype)["exclusiveMaximum"]
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1, 1))
    for sign in (1, -1):
        inside = from_nested(spec, [[sign * math.nextafter(limit, 0)]])
        assert np.isfinite(inside).all()
        with pytest.raises(WrongType):
            from_nested(spec, [[sign * math.nextafter(limit, math.inf)]])
    assert scalar(datatype)["exclusiveMinimum"] == -limit
