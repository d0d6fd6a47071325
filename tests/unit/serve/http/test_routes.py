"""Which address answers what, and what is said where nothing answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.serve.plane import Roster
from modelyard.watch.counters import UNROUTED, Page, read_totals
from tests.models import image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, served


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    page = Page(tmp_path, 0)
    linear = served(page, linear_bundle(), linear_bundle(slope=10.0), aliases={"canary": 1, "latest": 2, "gone": 9})
    return Desk(tmp_path, linear, served(page, mixed_bundle()), served(page, image_bundle()), page=page)


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/models/linear/predict", 2),
        ("/models/linear/versions/1/predict", 1),
        ("/models/linear/versions/2/predict", 2),
        ("/models/linear@1/predict", 1),
        ("/models/linear@2/predict", 2),
        ("/models/linear@canary/predict", 1),
        ("/models/linear@latest/predict", 2),
    ],
)
def test_every_way_to_name_a_version(desk: Desk, path: str, version: int) -> None:
    answer = desk.ask("POST", path, {"feature": 3})
    assert answer.json == {"prediction": [{1: 6.0, 2: 30.0}[version]]}
    assert answer.headers["modelyard-model"] == f"linear@{version}"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/models/liner/predict", "no model 'liner'"),
        ("/v2/models/liner/infer", "no model 'liner'"),
        ("/models/linear@9/predict", "'9'"),
        ("/models/linear@canar/predict", "no alias 'canar'"),
        ("/models/linear@gone/predict", "no address"),
        ("/models/linear/versions/9/predict", "'9'"),
        ("/v2/models/linear/versions/9/infer", "'9'"),
        ("/models/linear/versions/" + "9" * 5_000, "served version"),
        ("/models/linear@" + "9" * 5_000 + "/predict", "served version"),
        ("/models/linear/versions//predict", "no address"),
        ("/models//predict", "no address"),
        ("/models/linear/", "no address"),
        ("/models/linear@/predict", "no address"),
        ("/favicon.ico", "no address"),
        ("/" + "x" * 5_000, "no address"),
        ("/predict/", "no address"),
        ("/models/" + "x" * 5_000 + "/predict", "no model"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_there_is_said_in_terms_of_models(desk: Desk, path: str, says: str, method: str) -> None:
    answer = desk.ask(method, path)
    assert answer.status == 404
    said = answer.json["error" if path.startswith("/v2") else "detail"]
    assert says in said
    assert len(answer.body) < 2_000


@pytest.mark.parametrize("path", ["/models/linear@\xb2/predict", "/models/linear/versions/\xb2/predict", "/\xff"])
def test_an_address_is_ascii(desk: Desk, path: str) -> None:
    assert desk.ask("POST", path).status == 400


def test_the_nearest_model_is_offered(desk: Desk) -> None:
    assert desk.ask("POST", "/models/liner/predict").json["cause"] == "did you mean 'linear'?"


def test_a_wrong_method_names_the_right_ones(desk: Desk) -> None:
    answer = desk.ask("GET", "/models/linear/predict")
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
    answer = desk.ask("DELETE", "/livez")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    answer = desk.ask("OPTIONS", "/models/linear/predict")
    assert (answer.status, answer.headers["allow"]) == (200, "OPTIONS, POST")


def test_a_head_has_no_body(desk: Desk) -> None:
    whole, head = desk.ask("GET", "/models"), desk.ask("HEAD", "/models")
    assert head.body == b""
    assert head.headers["content-length"] == str(len(whole.body))


def test_predict_needs_exactly_one_model(desk: Desk, tmp_path: Path) -> None:
    answer = desk.ask("POST", "/predict", {"feature": 3})
    assert (answer.status, answer.json["code"]) == (400, "REQUEST-INVALID")
    assert "/models/linear/predict" in answer.json["hint"]
    (tmp_path / "empty").mkdir()
    assert Desk(tmp_path / "empty").ask("POST", "/predict", {"feature": 3}).status == 404


def test_the_server_describes_itself(desk: Desk) -> None:
    assert desk.ask("GET", "/v2").json["name"] == "modelyard"
    assert desk.ask("GET", "/v2").body == desk.ask("GET", "/v2/").body
    assert desk.ask("GET", "/v2/models").json == {"models": ["linear", "mixed", "image"]}
    listed = desk.ask("GET", "/models").json["models"][0]
    assert listed == {
        "name": "linear",
        "default": 2,
        "versions": [1, 2],
        "aliases": {"canary": 1, "latest": 2, "gone": 9},
    }


def test_a_model_describes_itself(desk: Desk) -> None:
    about = desk.ask("GET", "/models/linear").json
    assert (about["version"], about["fields"], about["example"]) == (2, ["feature"], [{"feature": 1.0}])
    assert about["digest"] == linear_bundle(slope=10.0).digest
    assert desk.ask("GET", "/v2/models/mixed").json == {
        "name": "mixed",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "species", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "length", "datatype": "FP64", "shape": [-1, 1]},
            {"name": "mass", "datatype": "FP64", "shape": [-1, 1]},
        ],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }
    assert desk.ask("GET", "/v2/models/linear/ready").status == 200


def test_health(desk: Desk) -> None:
    assert desk.ask("GET", "/livez").json == {"live": True}
    for ready, status in ((False, 503), (True, 200)):
        desk.plane.ready = ready
        assert desk.ask("GET", "/readyz").status == status
        assert desk.ask("GET", "/v2/health/ready").status == status
    desk.routes.replace(Roster(troubles={"linear": "damaged"}))
    assert desk.ask("GET", "/readyz").json == {"ready": True, "troubles": {"linear": "damaged"}}


def test_a_new_roster_answers_at_once(desk: Desk) -> None:
    desk.routes.replace(Roster())
    assert desk.ask("POST", "/models/linear/predict", {"feature": 3}).status == 404


def test_the_home_page_is_for_browsers(desk: Desk) -> None:
    assert desk.ask("GET", "/").json == {"status": "alive"}
    answer = desk.ask("GET", "/", accept="text/html,*/*")
    assert (answer.status, answer.headers["location"]) == (302, "/docs")


def test_metrics_of_everybody(desk: Desk, tmp_path: Path) -> None:
    desk.ask("POST", "/models/linear/predict", {"feature": 3})
    desk.ask("POST", "/nowhere")
    Page(tmp_path, 1).counter("linear@2").ok(1, [0.1])  # another worker
    answer = desk.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    rows = {tuple(sample.labels.values()): sample.value for sample in families["modelyard_rows"].samples}
    assert rows["linear", "2"] == 2
    assert read_totals(tmp_path)[UNROUTED].invalid == 1


def test_every_answer_is_json_or_says_otherwise(desk: Desk) -> None:
    for path in ("/", "/livez", "/models", "/v2", "/openapi.json", "/models/image", "/nowhere"):
        json.loads(desk.ask("GET", path).body)
