"""Schemas of rows: in agreement with what the server takes and answers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

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
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.bundle import Bundle
from modelyard.model.runtime import load
from modelyard.serve.http.forms.rows import RowForm
from tests.models import count_bundle, image_bundle, linear_bundle, mixed_bundle

BUNDLES = {bundle.manifest.name: bundle for bundle in (linear_bundle(), mixed_bundle(), image_bundle(), count_bundle())}
EACH = pytest.mark.parametrize("bundle", BUNDLES.values(), ids=BUNDLES.keys())


def fits(schema: dict[str, Any], value: Any) -> bool:
    return Draft202012Validator(schema).is_valid(value)


def accepted(signature: Signature, rows: list[Any]) -> bool:
    try:
        from_objects(signature, rows)
    except ModelyardError:
        return False
    return True


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
