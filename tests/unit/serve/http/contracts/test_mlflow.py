"""MLflow's scoring server: its addresses, content types, error bodies, and which model answers."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import modelyard
from modelyard.core.errors import Kind
from modelyard.serve.http.contracts import mlflow
from modelyard.watch.counters import Page
from tests.models import linear_bundle, mixed_bundle
from tests.unit.serve.desk import Answer, Desk, served

JSON = "application/json"
SPLIT = {"dataframe_split": {"columns": ["feature"], "index": [0, 1], "data": [[1.0], [2.5]]}}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    page = Page(tmp_path, 0)
    desk = Desk(tmp_path, served(page, linear_bundle(), linear_bundle(slope=3.0), aliases={"best": 1}), page=page)
    desk.plane.ready = True
    return desk


def ask(desk: Desk, body: Any, path: str = "/invocations", kind: str = JSON) -> Answer:
    return desk.ask("POST", path, body, content_type=kind)


@pytest.mark.parametrize("kind", [JSON, "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"])
def test_the_only_model_answers(desk: Desk, kind: str) -> None:
    answer = ask(desk, SPLIT, kind=kind)
    assert (answer.status, answer.json) == (200, {"predictions": [3.0, 7.5]})
    assert answer.headers["content-type"] == JSON
    assert answer.headers["modelyard-model"] == "linear@2"


@pytest.mark.parametrize(
    ("address", "slope"),
    [("linear", 3), ("linear/versions/1", 2), ("linear@1", 2), ("linear@2", 3), ("linear@best", 2)],
)
def test_every_version_has_its_own_address(desk: Desk, address: str, slope: float) -> None:
    found = ask(desk, {"instances": [1]}, f"/models/{address}/invocations").json
    assert found == {"predictions": [slope]}


def test_several_models_are_named(tmp_path: Path) -> None:
    page = Page(tmp_path, 0)
    desk = Desk(tmp_path, served(page, linear_bundle()), served(page, mixed_bundle()), page=page)
    answer = ask(desk, SPLIT)
    assert (answer.status, answer.json["error_code"]) == (400, "BAD_REQUEST")
    assert ask(desk, SPLIT, "/models/linear/invocations").json == {"predictions": [2.0, 5.0]}
    row = {"species": "gentoo", "length": 5.5}
    assert ask(desk, {"dataframe_records": [row]}, "/models/mixed/invocations").json == {"predictions": ["big"]}


def test_no_model_at_all(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.plane.ready = True
    assert desk.ask("GET", "/ping").status == 404
    assert ask(desk, SPLIT).json["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text/html", "content type 'text/html'"),
        ("application/json; charset=latin-1", "charset 'latin-1'"),
        ("application/json; format=pandas-split", "content type parameter 'format'"),
        ("", "without a content type"),
    ],
)
def test_content_types_are_refused_in_text(desk: Desk, kind: str, words: str) -> None:
    answer = ask(desk, SPLIT, kind=kind)
    assert (answer.status, answer.headers["content-type"]) == (415, "text/plain")
    assert words in answer.body.decode()


def test_a_missing_content_type_is_refused(desk: Desk) -> None:
    assert desk.ask("POST", "/invocations", SPLIT).status == 415


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[1]", "'body' must be an object, got a list"),
        (b"", "not valid JSON"),
        ({"feature": 3}, "unknown member 'feature'"),
        ({"dataframe_records": [{"slope": 3}]}, "no input 'slope'; the model's inputs are: feature"),
        ({"dataframe_split": {"columns": ["feature", "more"], "data": [[1, 2]]}}, "no input 'more'"),
    ],
)
def test_errors_are_mlflows(desk: Desk, body: Any, words: str) -> None:
    answer = ask(desk, body)
    assert answer.status == 400
    assert set(answer.json) == {"error_code", "message"}
    assert answer.json["error_code"] == "BAD_REQUEST"
    assert words in answer.json["message"]


def test_every_kind_of_error_has_mlflows_word() -> None:
    assert set(mlflow._CODES) == set(Kind)


def test_whether_it_is_there(desk: Desk) -> None:
    for address in ("/ping", "/health"):
        answer = desk.ask("GET", address)
        assert (answer.status, answer.body) == (200, b"\n")
    desk.plane.ready = False
    assert desk.ask("GET", "/ping").status == 503
    assert desk.ask("GET", "/version").body == modelyard.__version__.encode()


def test_only_post(desk: Desk) -> None:
    answer = desk.ask("GET", "/invocations")
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert answer.json["error_code"] == "BAD_REQUEST"


def test_tables_are_the_same_rows(desk: Desk) -> None:
    parquet = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"feature": [1.0, 2.5]}), parquet)
    for kind, body in {"text/csv": b"feature\n1\n2.5\n", "application/vnd.apache.parquet": parquet.getvalue()}.items():
        answer = ask(desk, body, kind=kind)
        assert (answer.status, answer.json) == (200, {"predictions": [3.0, 7.5]})
        assert answer.headers["content-type"] == JSON
        refused = ask(desk, b"slope\n1\n", kind=kind)
        assert (refused.status, refused.json["error_code"]) == (400, "BAD_REQUEST")
