"""Schemas of tensors, and of rows as other servers take them: in agreement with what is taken and answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from modelyard.core.errors import ModelyardError
from modelyard.core.jsonschema import (
    columns_schema,
    row_schema,
)
from modelyard.core.rows import from_objects
from modelyard.core.schema import has_columns
from modelyard.core.tensorschema import (
    frames_answer_schema,
    frames_schema,
    inputs_schema,
    instances_schema,
    outputs_schema,
    predictions_schema,
    tensors_answer_schema,
    tensors_schema,
)
from modelyard.model.bundle import Bundle
from modelyard.model.runtime import load
from modelyard.serve.http.forms.dataframe import DataframeForm
from modelyard.serve.http.forms.instances import InstanceForm
from modelyard.serve.http.forms.tensors import TensorForm
from tests.models import count_bundle, image_bundle, linear_bundle, mixed_bundle

BUNDLES = {bundle.manifest.name: bundle for bundle in (linear_bundle(), mixed_bundle(), image_bundle(), count_bundle())}
EACH = pytest.mark.parametrize("bundle", BUNDLES.values(), ids=BUNDLES.keys())


def fits(schema: dict[str, Any], value: Any) -> bool:
    return Draft202012Validator(schema).is_valid(value)


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
        answer, _ = form.encode(load(bundle).run(tuple(given)), wanted)
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


QUESTIONS: list[tuple[str, Any, bool]] = [
    ("linear", {"instances": [{"feature": 1}, {"feature": 2.5}]}, True),
    ("linear", {"instances": [1, 2.5]}, True),
    ("linear", {"instances": [[1], [2.5]]}, True),
    ("linear", {"instances": [{"input": [1]}]}, True),
    ("linear", {"inputs": {"feature": [1, 2]}}, True),
    ("linear", {"inputs": {"input": [[1], [2]]}}, True),
    ("linear", {"inputs": [[1], [2]]}, True),
    ("linear", {"inputs": [1, 2]}, True),
    ("linear", {"instances": [{"feature": "1"}]}, False),
    ("linear", {"instances": [{"features": 1}]}, False),
    ("linear", {"instances": []}, False),
    ("linear", {"instances": [[1, 2]]}, False),
    ("linear", {"instances": [True]}, False),
    ("linear", {"inputs": {"feature": 1}}, False),
    ("linear", {"inputs": {"feature": [1], "input": [[1]]}}, False),
    ("mixed", {"instances": [{"species": "adelie", "length": 1, "mass": None}]}, True),
    ("mixed", {"instances": [{"species": {"b64": "YWRlbGll"}, "length": [1], "mass": [2]}]}, True),
    ("mixed", {"inputs": {"species": ["adelie"], "length": [1], "mass": [2]}}, True),
    ("mixed", {"instances": [{"species": "adelie", "length": None}]}, False),
    ("mixed", {"inputs": [["adelie"]]}, False),
    ("image", {"instances": [[[0.5] * 4] * 3]}, True),
    ("image", {"instances": [{"image": [[0.5] * 4] * 3}]}, True),
    ("image", {"inputs": {"image": [[[0.5] * 4] * 3]}}, True),
    ("image", {"instances": [[[0.5] * 3] * 4]}, False),
    ("image", {"inputs": {"image": [[0.5] * 4] * 3}}, False),
    ("count", {"instances": [1]}, True),
    ("count", {"instances": [1.5]}, False),
    ("count", {"inputs": [None]}, False),
]


@pytest.mark.parametrize(("name", "question", "good"), QUESTIONS)
def test_rows_and_columns_of_tensorflow_serving(name: str, question: dict[str, Any], good: bool) -> None:
    signature = BUNDLES[name].manifest.signature
    columns = [columns_schema(signature)] if has_columns(signature) else []
    schemas = {
        "instances": instances_schema(signature, row_schema(signature)),
        "inputs": inputs_schema(signature, columns),
    }
    ((word, value),) = question.items()
    form = InstanceForm(signature, name, 1)
    assert fits(schemas[word], value) == good
    if not good:
        with pytest.raises(ModelyardError):
            (form.from_rows if word == "instances" else form.from_columns)(value)
        return
    outputs = load(BUNDLES[name]).run((form.from_rows if word == "instances" else form.from_columns)(value))
    assert fits(predictions_schema(signature), json.loads(form.predictions(outputs)))
    assert fits(outputs_schema(signature), json.loads(form.outputs(outputs)))


FRAMES: list[tuple[Any, bool]] = [
    ({"dataframe_split": {"columns": ["feature"], "data": [[1]]}}, True),
    ({"dataframe_split": {"columns": ["feature"], "index": [7], "data": [[1]]}, "params": {"a": 1}}, True),
    ({"dataframe_records": [{"feature": 1}]}, True),
    ({"instances": [{"feature": 1}], "params": None}, True),
    ({"inputs": {"feature": [1]}}, True),
    ({"inputs": [{"feature": 1}]}, True),
    ({"dataframe_split": {"columns": ["features"], "data": [[1]]}}, False),
    ({"dataframe_split": {"columns": ["feature"]}}, False),
    ({"dataframe_records": {"feature": 1}}, False),
    ({"dataframe_records": [{"feature": 1}], "instances": [1]}, False),
    ({"instances": [1], "inputs": [1]}, False),
    ({"instances": [1], "other": 1}, False),
    ({"params": {}}, False),
    ([1], False),
]


@pytest.mark.parametrize(("question", "good"), FRAMES)
def test_frames_of_mlflow(question: Any, good: bool) -> None:
    signature = BUNDLES["linear"].manifest.signature
    row, columns = row_schema(signature), columns_schema(signature)
    forms = {
        "Row": row,
        "Instances": instances_schema(signature, row),
        "Inputs": inputs_schema(signature, [columns]),
    }
    form = DataframeForm(signature, "linear", 1)
    body = json.dumps(question).encode()
    assert fits(frames_schema(signature, forms), question) == good
    if not good:
        with pytest.raises(ModelyardError):
            form.decode(body)
        return
    answer = json.loads(form.encode(load(BUNDLES["linear"]).run(tuple(form.decode(body)))))
    assert fits(frames_answer_schema(signature, {}), answer)
