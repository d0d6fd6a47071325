"""TensorFlow Serving's REST API and KServe's protocol v1: sessions of their documentation, replayed byte for byte.

Neither has a client library for REST: people send these requests with whatever speaks HTTP, so does this.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.acceptance.serving import Served
from tests.conformance import check

CLIENT = "TensorFlow Serving REST (replayed)"
KSERVE = "KServe v1 (replayed)"
FORM = {"content-type": "application/x-www-form-urlencoded"}  # what curl -d says


def post(server: Served, path: str, body: bytes) -> tuple[int, Any]:
    """As ``curl -d`` sends it."""
    status, _, answer = server.ask("POST", f"/v1/models/{path}", body, FORM)
    return status, json.loads(answer)


@check(client=CLIENT, feature="model status")
def status(server: Served) -> None:
    code, _, body = server.ask("GET", "/v1/models/linear")
    told = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert (code, json.loads(body)["model_version_status"]) == (200, [told])
    assert json.loads(server.ask("GET", "/v1/models/linear/versions/1")[2])["model_version_status"] == [told]


@check(client=CLIENT, feature="metadata")
def metadata(server: Served) -> None:
    code, _, body = server.ask("GET", "/v1/models/image/metadata")
    definition = json.loads(body)["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert code == 200
    assert definition["inputs"]["image"]["dtype"] == "DT_FLOAT"
    assert [axis["size"] for axis in definition["inputs"]["image"]["tensor_shape"]["dim"]] == ["-1", "3", "4"]


@check(client=CLIENT, feature="predict, rows")
def rows(server: Served) -> None:
    assert post(server, "linear:predict", b'{"instances": [1.0,2.0,5.0]}') == (200, {"predictions": [2.0, 4.0, 10.0]})
    named = b'{"signature_name": "serving_default", "instances": [{"input": [1.0]}, {"input": [2.0]}]}'
    assert post(server, "linear/versions/1:predict", named) == (200, {"predictions": [2.0, 4.0]})


@check(client=CLIENT, feature="predict, columns")
def columns(server: Served) -> None:
    assert post(server, "linear:predict", b'{"inputs": [[1.0], [2.0]]}') == (200, {"outputs": [2.0, 4.0]})
    code, answer = post(server, "mixed:predict", b'{"inputs": {"species": ["gentoo"], "length": [5.5], "mass": [3.5]}}')
    assert (code, answer["outputs"]["label"]) == (200, ["big"])


@check(client=CLIENT, feature="predict, several outputs")
def several(server: Served) -> None:
    code, answer = post(server, "image:predict", b'{"instances": [[[1,2,3,4],[1,2,3,4],[1,2,3,4]]]}')
    assert (code, answer) == (200, {"predictions": [{"mean": 2.5, "peak": [[4.0]]}]})


@check(client=CLIENT, feature="predict, b64 and NaN")
def special(server: Served) -> None:
    body = b'{"instances": [{"species": {"b64": "Z2VudG9v"}, "length": 5.5, "mass": NaN}]}'
    code, answer = post(server, "mixed:predict", body)
    assert (code, answer["predictions"][0]["label"]) == (200, "big")


@check(client=CLIENT, feature="classify and regress")
def examples(server: Served) -> None:
    body = b'{"context": {"mass": 3.5}, "examples": [{"species": "adelie", "length": 3.0}]}'
    code, answer = post(server, "mixed:classify", body)
    assert code == 200
    assert [label for label, _ in answer["results"][0]] == ["small", "big"]
    body = b'{"signature_name": "tensorflow/serving/regress", "examples": [{"feature": 1.0}, {"feature": 2.0}]}'
    assert post(server, "linear:regress", body)[1]["results"] == [2.0, 4.0]
    assert post(server, "linear:classify", b'{"examples": [{"feature": 1.0}]}')[0] == 400


@check(client=CLIENT, feature="errors")
def errors(server: Served) -> None:
    for path, body, code in (
        ("half:predict", b'{"instances": [1.0,5.0]}', 404),
        ("linear/versions/9:predict", b'{"instances": [1.0]}', 404),
        ("linear:predict", b'{"instances": ["1.0"]}', 400),
        ("linear:predict", b'{"instances": [[1.0, 2.0]]}', 400),
        ("count:predict", b'{"instances": [1.5]}', 400),
        ("linear:predict", b'{"instances": [1], "inputs": [1]}', 400),
        ("linear:predict", b'{"example": [', 400),
    ):
        found, answer = post(server, path, body)
        assert (found, set(answer)) == (code, {"error"}), body


@check(client=KSERVE, feature="live, list, ready, predict")
def kserve(server: Served) -> None:
    assert json.loads(server.ask("GET", "/")[2]) == {"status": "alive"}
    assert "linear" in json.loads(server.ask("GET", "/v1/models")[2])["models"]
    ready = json.loads(server.ask("GET", "/v1/models/linear")[2])
    assert (ready["name"], ready["ready"]) == ("linear", True)
    assert server.post("/v1/models/linear:predict", {"instances": [[1.0], [2.0]]}) == (200, {"predictions": [2.0, 4.0]})
    assert server.post("/v1/models/linear:explain", {"instances": [[1.0]]})[0] == 404


@check(client=CLIENT, feature="one connection for many questions")
def kept(server: Served) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    for number in range(50):
        connection.request("POST", "/v1/models/linear:predict", json.dumps({"instances": [number]}))
        answer = json.loads(connection.getresponse().read())
        assert answer["predictions"] == pytest.approx([2.0 * number])
    connection.close()
