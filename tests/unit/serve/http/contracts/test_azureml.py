"""Azure ML's contract in memory: ids, origins, failures, and the shapes of its own models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from modelyard.core.errors import Internal, InvalidRequest, Timeout
from modelyard.guard.edges import Hosts
from modelyard.serve import platforms
from modelyard.serve.http.contracts.azureml import _Talk
from tests.models import image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, served

ROW = {"species": "gentoo", "length": 5.0, "mass": None}


def _desk(run: Path, *bundles: Any, contracts: tuple[str, ...] = ("azureml",), **environ: str) -> Desk:
    desk = Desk(run, contracts=contracts, environ=environ)
    desk.hosts = Hosts((), platforms.origins(environ))
    desk.serve(*(served(desk.page, bundle) for bundle in bundles))
    desk.plane.ready = True
    return desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return _desk(tmp_path, mixed_bundle())


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"data": [ROW]}, {"result": ["big"]}),
        ({"data": [ROW], "method": "predict"}, {"result": ["big"]}),
        ({"data": [list(ROW.values())] * 2}, {"result": ["big", "big"]}),
        (b'{"data": [{"species": "gentoo", "length": 5, "mass": NaN}]}', {"result": ["big"]}),
        ({"input_data": {"columns": list(ROW), "index": [7], "data": [list(ROW.values())]}}, ["big"]),
        ({"input_data": {"columns": list(ROW), "data": [list(ROW.values())]}, "params": {}}, ["big"]),
        ({"input_data": {name: [value] for name, value in ROW.items()}}, ["big"]),
        ({"input_data": [ROW]}, ["big"]),
        ([ROW], {"prediction": ["big"]}),
    ],
)
def test_shapes_of_questions(desk: Desk, body: Any, answer: Any) -> None:
    got = desk.ask("POST", "/score", body)
    assert (got.status, got.json) == (200, answer)


@pytest.mark.parametrize(
    "body",
    [
        {"data": []},
        {"data": ROW},
        {"data": [ROW], "more": 1},
        {"data": [["gentoo", 5.0]]},
        {"input_data": {"columns": ["species"], "data": [["gentoo"]]}},
        {"input_data": {"columns": list(ROW), "index": [], "data": [list(ROW.values())]}},
        {"input_data": 3},
        b'{"data": [], "data": []}',
        b"[" * 100_000,
        b"",
    ],
)
def test_what_does_not_fit_is_refused_as_bad_input(desk: Desk, body: Any) -> None:
    got = desk.ask("POST", "/score", body)
    assert (got.status, got.headers["x-ms-run-function-failed"]) == (400, "False")
    assert got.json["message"]


def test_rows_of_values_need_a_field_each_and_pictures_are_what_they_are(tmp_path: Path) -> None:
    picture = [[1.0] * 4] * 3
    answer = _desk(tmp_path, image_bundle()).ask("POST", "/score", {"data": [picture]})
    assert answer.json == {"result": [{"mean": 1.0, "peak": [[1.0]]}]}


def test_a_question_in_the_address(desk: Desk) -> None:
    assert desk.ask("GET", "/score?species=gentoo&length=5.0&mass=null").json == {"prediction": ["big"]}
    twice = "species=gentoo&species=adelie&length=5&length=1&mass=1&mass=9"
    assert desk.ask("GET", f"/score?{twice}").json == {"prediction": ["big", "small"]}
    assert desk.ask("GET", f"/score?data={quote(json.dumps([ROW]))}").status == 400
    for query in ("", "?", "?species", "?species=gentoo", "?" + "a=1&" * 1001, "?species=%ff&length=1"):
        assert desk.ask("GET", f"/score{query}").status in {400, 414}


@pytest.mark.parametrize(
    ("sent", "back"),
    [
        ({}, {}),
        ({"x-ms-request-id": "old"}, {"x-ms-request-id": "old", "x-ms-client-request-id": "old"}),
        ({"x-ms-client-request-id": "new"}, {"x-ms-request-id": "new", "x-ms-client-request-id": "new"}),
        (
            {"x-ms-request-id": "old", "x-ms-client-request-id": "new"},
            {"x-ms-request-id": "old", "x-ms-client-request-id": "new"},
        ),
        ({"x-request-id": "own"}, {"x-request-id": "own", "x-ms-request-id": "own"}),
    ],
)
@pytest.mark.parametrize("body", [ROW, {"wrong": 1}], ids=["good", "bad"])
def test_ids_are_carried_along(desk: Desk, sent: dict[str, str], back: dict[str, str], body: Any) -> None:
    headers = desk.ask("POST", "/score", body, **sent).headers
    told = {name: headers.get(name) for name in ("x-ms-request-id", "x-ms-client-request-id")}
    assert told == {name: back.get(name) for name in told}
    assert headers["x-request-id"] == back.get("x-request-id", headers["x-request-id"])


def test_ids_that_are_too_long_are_refused_everywhere(desk: Desk) -> None:
    for path in ("/score", "/", "/swagger.json"):
        answer = desk.ask("GET", path, **{"x-ms-request-id": "x" * 101})
        assert (answer.status, answer.json["message"]) == (431, "x-ms-request-id must not exceed 100 characters")


def test_what_azure_calls_a_failed_script() -> None:
    class _Asked:
        def __init__(self) -> None:
            self.headers: dict[bytes, bytes] = {}

    talk = _Talk({"SCORING_TIMEOUT_MS": "250"})
    assert talk.timeout_s == 0.25
    first, body = talk.refuse(Timeout(what="it", limit_s=1), _Asked())  # type: ignore[arg-type]
    assert b" 500 " in first
    assert b"x-ms-run-function-failed: True" in first
    assert body == b'{"message":"Scoring timeout after 250 ms"}'
    assert b"x-ms-run-function-failed: True" in talk.refuse(Internal(), _Asked())[0]  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        _Talk({"SCORING_TIMEOUT_MS": "0"})


def test_origins(tmp_path: Path) -> None:
    some = _desk(tmp_path, linear_bundle(), AML_CORS_ORIGINS="http://a.example,http://b.example")
    every = _desk(tmp_path, linear_bundle(), AML_CORS_ORIGINS="*")
    allowed = "access-control-allow-origin"
    assert some.ask("POST", "/score", {"feature": 1}, origin="http://a.example").headers[allowed] == "http://a.example"
    other = some.ask("POST", "/score", {"feature": 1}, origin="http://c.example")
    assert (other.status, allowed in other.headers) == (403, False)
    assert allowed not in some.ask("POST", "/score", {"feature": 1}).headers
    assert every.ask("POST", "/score", {"x": 1}, origin="http://c.example").headers[allowed] == "http://c.example"
    preflight = some.ask("OPTIONS", "/score", origin="http://b.example", access_control_request_method="POST")
    assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (200, "GET, POST")


def test_the_front_page_is_whoevers_asks(tmp_path: Path) -> None:
    alone, among = _desk(tmp_path, linear_bundle()), _desk(tmp_path, linear_bundle(), contracts=("v1", "azureml"))
    chosen = _desk(tmp_path, linear_bundle(), contracts=("v1", "azureml"), AZUREML_MODEL_DIR="/m")
    assert [desk.ask("GET", "/").body for desk in (alone, among, chosen)] == [
        b"Healthy",
        b'{"status":"alive"}',
        b"Healthy",
    ]
    for desk in (alone, among, chosen):
        assert desk.ask("GET", "/", accept="text/plain").body == b"Healthy"
        assert desk.ask("GET", "/", accept="application/json").json == {"status": "alive"}
        assert desk.ask("GET", "/", accept="text/html").status == 302


def test_documents_speak_of_the_service(tmp_path: Path) -> None:
    told = {"SERVICE_NAME": "houses", "SERVICE_VERSION": "7", "SERVICE_PATH_PREFIX": "/api/"}
    document = _desk(tmp_path, linear_bundle(), **told).ask("GET", "/swagger.json?version=3.1").json
    assert (document["info"], set(document["paths"])) == ({"title": "houses", "version": "7"}, {"/api/", "/api/score"})
    several = _desk(tmp_path, linear_bundle("a"), linear_bundle("b"))
    assert several.ask("GET", "/swagger.json").status == 400
    assert several.ask("POST", "/score", {"feature": 1}).status == 400
