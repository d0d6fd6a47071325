"""TensorFlow Serving's REST API: addresses, both formats, status, metadata, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.core.manifest import Task
from modelyard.model.bundle import Bundle, seal
from modelyard.serve.http.forms import numeric
from modelyard.watch.counters import Page, read_totals
from tests.models import count_bundle, image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Answer, Desk, served

MIXED = {"species": "gentoo", "length": 5.5, "mass": None}


def named(name: str, bundle: Bundle) -> Bundle:
    return seal(msgspec.structs.replace(bundle.manifest, name=name), bundle.files)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    page = Page(tmp_path, 0)
    linear = served(page, linear_bundle(), linear_bundle(slope=3.0), aliases={"stable": 1, "gone": 9})
    others = [linear_bundle("packed", features=("a", "b")), mixed_bundle(), image_bundle(), count_bundle()]
    desk = Desk(tmp_path, linear, *(served(page, bundle) for bundle in others), page=page)
    desk.plane.ready = True
    return desk


def ask(desk: Desk, path: str, body: Any) -> Answer:
    return desk.ask("POST", f"/v1/models/{path}", body)


def test_rows_are_answered_with_predictions(desk: Desk) -> None:
    answer = ask(desk, "linear:predict", {"instances": [1.0, 2.5]})
    assert (answer.status, answer.body) == (200, b'{"predictions":[3.0,7.5]}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["modelyard-model"] == "linear@2"


def test_columns_are_answered_with_outputs(desk: Desk) -> None:
    answer = ask(desk, "packed:predict", {"inputs": {"a": [1, 2], "b": [3, 4]}})
    assert answer.body == b'{"outputs":[8.0,12.0]}'


@pytest.mark.parametrize(
    ("address", "expected"), [("linear", 3.0), ("linear/versions/1", 2.0), ("linear/labels/stable", 2.0)]
)
def test_versions_and_labels(desk: Desk, address: str, expected: float) -> None:
    assert ask(desk, f"{address}:predict", {"instances": [[1]]}).json == {"predictions": [expected]}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("missing:predict", "no model 'missing'"),
        ("linear/versions/7:predict", "no served version of 'linear': '7'"),
        ("linear/labels/none:predict", "no alias 'none'"),
        ("linear/labels/gone:predict", "no address"),
    ],
)
def test_what_is_not_served_is_404(desk: Desk, address: str, words: str) -> None:
    answer = ask(desk, address, {"instances": [1]})
    assert answer.status == 404
    assert words in answer.json["error"]


def test_an_explanation_is_nowhere_to_be_had(desk: Desk) -> None:
    assert ask(desk, "linear:explain", {"instances": [1]}).status == 404


@pytest.mark.parametrize("name", ["serving_default", "predict", "tensorflow/serving/predict", ""])
def test_the_usual_names_of_the_signature(desk: Desk, name: str) -> None:
    body = {"signature_name": name, "instances": [1]}
    assert ask(desk, "linear:predict", body).json == {"predictions": [3.0]}
    assert ask(desk, "linear:predict", {"inputs": [1], "signature_name": name}).json == {"outputs": [3.0]}


def test_several_outputs_are_objects(desk: Desk) -> None:
    rows = ask(desk, "mixed:predict", {"instances": [MIXED]}).json["predictions"]
    assert rows[0]["label"] == "big"
    assert rows[0]["probabilities"] == pytest.approx([0.0293122, 0.9706878], rel=1e-5)
    columns = ask(desk, "mixed:predict", {"inputs": {name: [value] for name, value in MIXED.items()}}).json
    assert columns["outputs"] == {"label": ["big"], "probabilities": [rows[0]["probabilities"]]}


def test_nan_in_a_request_is_a_missing_value(desk: Desk) -> None:
    told = b'{"instances": [{"species": "gentoo", "length": 5.5, "mass": NaN}]}'
    assert ask(desk, "mixed:predict", told).json == ask(desk, "mixed:predict", {"instances": [MIXED]}).json
    refused = ask(desk, "linear:predict", b'{"instances": [NaN]}')
    assert (refused.status, "may not be missing" in refused.json["error"]) == (400, True)


def test_images_are_nested_lists(desk: Desk) -> None:
    picture = [[1, 2, 3, 4]] * 3
    expected = {"predictions": [{"mean": 2.5, "peak": [[4.0]]}]}
    assert ask(desk, "image:predict", {"instances": [picture]}).json == expected
    assert ask(desk, "image:predict", {"instances": [{"image": picture}]}).json == expected


def test_an_output_keeps_its_shape(desk: Desk) -> None:
    assert ask(desk, "count:predict", {"instances": [3]}).json == {"predictions": [[6]]}


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("linear", {"instances": [1], "inputs": [1]}, "either instances or inputs"),
        ("linear", {}, "either instances or inputs"),
        ("linear", {"signature_name": "serving_default"}, "either instances or inputs"),
        ("linear", {"instances": [1], "signature_name": "other"}, "no signature 'other'"),
        ("linear", {"instances": [1], "signature_name": 3}, "no signature '3'"),
        ("linear", {"instances": [1], "signature_nam": "x"}, "did you mean 'signature_name'"),
        ("linear", [1], "'body' must be an object, got a list"),
        ("linear", b"", "not valid JSON"),
        ("linear", b'{"instances": [1], "instances": [2]}', "'instances' is sent twice"),
        ("linear", b'{"signature_name": "", "instances": [1], "instances": [2]}', "'instances' is sent twice"),
        ("linear", {"instances": "x"}, "'instances' must be a list, got text"),
        ("linear", {"instances": []}, "no rows"),
        ("linear", {"instances": [{"slope": 3}]}, "no input 'slope'"),
        ("count", {"instances": [1.5]}, "count"),
        ("count", {"instances": ["1"]}, "count"),
        ("mixed", {"instances": [{**MIXED, "length": "5"}]}, "'length' must be a number"),
        ("mixed", {"instances": [{"species": "gentoo"}]}, "missing input length"),
    ],
)
def test_refusals(desk: Desk, model: str, body: Any, words: str) -> None:
    answer = ask(desk, f"{model}:predict", body)
    assert answer.status == 400
    assert words in answer.json["error"]


def test_answers_and_refusals_are_counted(desk: Desk, tmp_path: Path) -> None:
    ask(desk, "count:predict", {"instances": [1, 2]})
    ask(desk, "count:predict", {"instances": [1.5]})
    total = read_totals(tmp_path)["count@1"]
    assert (total.rows, total.ok, total.invalid) == (2, 1, 1)


def test_classify_gives_labels_with_scores(desk: Desk) -> None:
    examples = [{"species": "gentoo", "length": 5.5}, {"species": ["adelie"], "length": [3.0]}]
    body = {"signature_name": "tensorflow/serving/classify", "context": {"mass": 3.5}, "examples": examples[:1]}
    answer = ask(desk, "mixed:classify", body)
    assert answer.status == 200
    (row,) = answer.json["results"]
    assert [label for label, _ in row] == ["small", "big"]
    assert sum(score for _, score in row) == pytest.approx(1)
    assert answer.json["result"] == answer.json["results"]
    listed = ask(desk, "mixed:classify", {"examples": [{**examples[1], "mass": [3.5]}]})
    plain = ask(desk, "mixed:classify", {"examples": [{"species": "adelie", "length": 3.0, "mass": 3.5}]})
    assert listed.json == plain.json


def test_regress_gives_numbers(desk: Desk) -> None:
    answer = ask(desk, "packed:regress", {"context": {"b": 1}, "examples": [{"a": 1}, {"a": [2]}, {"a": 3.5}][:1]})
    assert answer.json == {"results": [4.0], "result": [4.0]}
    named = {"signature_name": "tensorflow/serving/regress", "examples": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}
    assert ask(desk, "packed:regress", named).json["results"] == [6.0, 14.0]


@pytest.mark.parametrize(
    ("address", "body", "words"),
    [
        ("linear:classify", {"examples": [{"feature": 1}]}, "linear@2 cannot classify (it gives no probabilities)"),
        ("mixed:regress", {"examples": [MIXED]}, "mixed@1 cannot regress"),
        ("count:regress", {"examples": [{"count": 1}]}, "count@1 cannot regress"),
        ("packed:regress", {"instances": [{"a": 1, "b": 1}]}, "unknown member 'instances'"),
        ("packed:regress", {}, "'examples' must be a list of objects, got nothing"),
        ("packed:regress", {"examples": []}, "no rows"),
        ("packed:regress", {"examples": [[1, 2]]}, "'example 0' must be an object, got a list"),
        ("packed:regress", {"examples": [{"a": 1}], "context": [1]}, "'context' must be an object, got a list"),
        ("packed:regress", {"examples": [{"a": 1}], "context": {"a": 1}}, "'a' is both in the context and in"),
        ("packed:regress", {"examples": [{"a": 1}]}, "missing input b"),
        ("packed:regress", {"examples": [{"a": 1, "b": 1}], "signature_name": "predict"}, "no signature 'predict'"),
    ],
)
def test_refusals_of_examples(desk: Desk, address: str, body: Any, words: str) -> None:
    answer = ask(desk, address, body)
    assert answer.status == 400
    assert words in answer.json["error"]


def test_a_regression_of_integers_has_numbers_too(tmp_path: Path) -> None:
    bundle = count_bundle()
    page = Page(tmp_path, 0)
    regression = seal(msgspec.structs.replace(bundle.manifest, task=Task.REGRESSION), bundle.files)
    desk = Desk(tmp_path, served(page, regression), page=page)
    assert ask(desk, "count:regress", {"examples": [{"count": 2}]}).json["results"] == [4]


def test_the_status_speaks_both_dialects(desk: Desk) -> None:
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    whole = desk.ask("GET", "/v1/models/linear")
    assert (whole.status, whole.json["name"], whole.json["ready"]) == (200, "linear", True)
    assert whole.json["model_version_status"] == [{"version": "2", **available}, {"version": "1", **available}]
    for one in ("versions/1", "labels/stable"):
        told = desk.ask("GET", f"/v1/models/linear/{one}").json["model_version_status"]
        assert told == [{"version": "1", **available}]
    desk.plane.ready = False
    stopping = desk.ask("GET", "/v1/models/linear")
    assert (stopping.status, stopping.json["ready"]) == (503, False)
    assert desk.ask("GET", "/v1/models/none").status == 404


def test_models_are_listed(desk: Desk) -> None:
    assert desk.ask("GET", "/v1/models").json == {"models": ["linear", "packed", "mixed", "image", "count"]}
    assert desk.ask("GET", "/").json == {"status": "alive"}


def test_metadata_is_the_signature_definition(desk: Desk) -> None:
    for address, version in (("mixed", "1"), ("mixed/versions/1", "1")):
        found = desk.ask("GET", f"/v1/models/{address}/metadata").json
        assert found["model_spec"] == {"name": "mixed", "signature_name": "", "version": version}
        definition = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert definition["method_name"] == "tensorflow/serving/predict"
        assert definition["inputs"]["species"] == {
            "dtype": "DT_STRING",
            "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False},
            "name": "species:0",
        }
        assert {name: item["dtype"] for name, item in definition["outputs"].items()} == {
            "label": "DT_STRING",
            "probabilities": "DT_FLOAT",
        }
    assert desk.ask("GET", "/v1/models/linear/labels/stable/metadata").json["model_spec"]["version"] == "1"


def test_methods_that_an_address_does_not_take(desk: Desk) -> None:
    answer = desk.ask("GET", "/v1/models/linear:predict")
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert "error" in answer.json


MANY = [[float(at), at + 0.5] for at in range(200)]


@pytest.mark.parametrize(
    ("form", "key"),
    [
        ('{"instances":%s}', "predictions"),
        (' { "signature_name" : "serving_default", "instances" : %s } ', "predictions"),
        ('{"inputs":%s}', "outputs"),
        ('{"inputs":%s,"inputs":[[1,2]]}', "'inputs' is sent twice"),
        ('{"inputs":[[1,2]],"instances":%s}', "either instances or inputs"),
        ('{"instances":%s,"signature_name":"other"}', "no signature 'other'"),
        ('{"instances":%s,"x":1}', "unknown member 'x'"),
        ('{"instances":%s', "not valid JSON"),
        ('{"instances":%s]}', "not valid JSON"),
        ('{"instances":%s}}', "not valid JSON"),
        ('\ufeff{"instances":%s}', "not valid JSON"),
    ],
)
def test_many_numbers_mean_what_few_mean(desk: Desk, form: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (form % json.dumps(MANY)).encode()
    answer = ask(desk, "packed:predict", body)
    monkeypatch.setattr(numeric, "Parser", None)
    slow = ask(desk, "packed:predict", body)
    assert (answer.status, answer.body) == (slow.status, slow.body)
    assert answer.json.get(key) == [2 * sum(row) for row in MANY] or key in answer.json["error"]


def test_what_is_wrong_with_one_of_many_numbers(desk: Desk) -> None:
    for odd, words in (
        ("null", "'b' may not be missing, NaN or infinite (row 7)"),
        ('"7"', "nested lists"),
        ("7,8", "unlike lengths"),
    ):
        body = json.dumps({"instances": MANY}).replace("7.5]", f"{odd}]", 1).encode()
        answer = ask(desk, "packed:predict", body)
        assert answer.status == 400
        assert words in answer.json["error"]
