"""The served API as its users meet it: addresses, contracts, documents, and every bad input refused clearly."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from modelyard.control.actions import aliases
from modelyard.core.errors import NotANumber, UnknownField
from modelyard.core.reference import parse_reference
from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle

V2 = "/v2/models/price/infer"
TENSOR = {"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("home")
    home = home_with(
        path,
        linear_bundle("price", slope=2.0, features=("area", "rooms")),
        linear_bundle("price", slope=3.0, features=("area", "rooms")),
        linear_bundle("linear-regression"),
    )
    aliases.set_alias(home, parse_reference("price@1"), "production")
    aliases.set_alias(home, parse_reference("price@2"), "canary")
    with Served(path) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/models/price/predict", 6.0),
        ("/models/price@production/predict", 6.0),
        ("/models/price@canary/predict", 9.0),
        ("/models/price@latest/predict", 9.0),
        ("/models/price/versions/1/predict", 6.0),
        ("/models/price/versions/2/predict", 9.0),
        ("/models/price@2/predict", 9.0),
    ],
)
def test_every_way_to_name_a_version(served: Served, path: str, answer: float) -> None:
    assert served.post(path, {"area": 1, "rooms": 2}) == (200, {"prediction": [answer]})


@pytest.mark.parametrize(
    "body",
    [
        {"area": 1, "rooms": 2},
        [{"area": 1, "rooms": 2}],
        {"area": [1], "rooms": [2]},
    ],
)
def test_object_list_and_columns(served: Served, body: object) -> None:
    assert served.post("/models/price/predict", body) == (200, {"prediction": [6.0]})


def test_answers_name_their_version_and_request(served: Served) -> None:
    status, headers, body = served.ask(
        "POST", "/models/price@canary/predict", '{"area":1,"rooms":2}', {"x-request-id": "mine-1"}
    )
    assert status == 200
    assert headers["modelyard-model"] == "price@2"
    assert headers["x-request-id"] == "mine-1"
    assert body == b'{"prediction": [9.0]}'
    _, headers, _ = served.ask("GET", "/livez", headers={"x-request-id": "spaces are not a token"})
    assert headers["x-request-id"].startswith("req_")


def test_detail_names_the_version(served: Served) -> None:
    status, document = served.post("/models/price/predict?detail=full", {"area": 1, "rooms": 2})
    assert (status, document) == (200, {"prediction": [6.0], "model": "price", "version": 1})


def test_predict_without_a_name_needs_one_model(served: Served) -> None:
    status, problem = served.post("/predict", {"feature": 3})
    assert status == 400
    assert "/models/linear-regression/predict" in problem["hint"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2", "/v2/", "/"])
def test_health_and_metadata_answer_json(served: Served, path: str) -> None:
    status, headers, body = served.ask("GET", path)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert json.loads(body)
    head_status, head_headers, head_body = served.ask("HEAD", path)
    assert (head_status, head_body) == (200, b"")
    assert head_headers["content-length"] == str(len(body))


def test_metrics_count_what_was_asked(served: Served) -> None:
    def requests(outcome: str) -> float:
        text = served.ask("GET", "/metrics")[2].decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "modelyard_requests_total"
            and sample.labels == {"model": "price", "version": "2", "outcome": outcome}
        )

    good, bad = requests("ok"), requests("invalid")
    for _ in range(7):
        served.post("/models/price@2/predict", {"area": 1, "rooms": 2})
    for _ in range(3):
        served.post("/models/price@2/predict", {"area": "x", "rooms": 2})
    assert (requests("ok") - good, requests("invalid") - bad) == (7, 3)


def test_openapi_is_valid_and_its_example_works(served: Served) -> None:
    document = json.loads(served.ask("GET", "/openapi.json")[2])
    validate(document)
    operation = document["paths"]["/models/price/predict"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    expected = operation["responses"]["200"]["content"]["application/json"]["example"]
    assert served.post("/models/price/predict", example) == (200, expected)


def test_docs_need_nothing_from_elsewhere(served: Served) -> None:
    status, headers, body = served.ask("GET", "/docs")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert b"//" not in body.replace(b"http://www.w3.org", b"").replace(b"{origin}", b"")
    for asset in ("/docs.css", "/docs.js"):
        assert served.ask("GET", asset)[0] == 200
    status, headers, _ = served.ask("GET", "/", headers={"accept": "text/html"})
    assert (status, headers["location"]) == (302, "/docs")


def test_tritonclient_json_and_binary(served: Served) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("price")
        assert client.is_model_ready("price", "2")
        assert not client.is_model_ready("nobody")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("price")
        assert metadata["versions"] == ["1", "2"]
        assert metadata["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 2]}]
        rows = np.array([[1.0, 2.0], [3.0, 4.5]])
        for binary_in in (False, True):
            for binary_out in (False, True):
                tensor = triton.InferInput("input", list(rows.shape), "FP64")
                tensor.set_data_from_numpy(rows, binary_data=binary_in)
                wanted = triton.InferRequestedOutput("prediction", binary_data=binary_out)
                result = client.infer("price", [tensor], outputs=[wanted], request_id="r-1", model_version="2")
                np.testing.assert_array_equal(result.as_numpy("prediction"), rows.sum(axis=1) * 3.0)
                assert result.get_response()["id"] == "r-1"
                assert result.get_response()["model_version"] == "2"
        everything = client.infer("price", [tensor])  # no outputs named: all, in the client's default form
        np.testing.assert_array_equal(everything.as_numpy("prediction"), rows.sum(axis=1) * 2.0)
        wrong = triton.InferInput("input", [1, 2], "FP32")
        wrong.set_data_from_numpy(np.ones((1, 2), dtype=np.float32))
        with pytest.raises(InferenceServerException, match="FP64"):
            client.infer("price", [wrong])
        with pytest.raises(InferenceServerException, match="no model 'nobody'"):
            client.infer("nobody", [tensor])
    finally:
        client.close()


def test_client_and_load_agree(served: Served) -> None:
    import modelyard

    with modelyard.Client(served.url, "price@canary") as client:
        assert client.predict({"area": [1, 2], "rooms": [2, 3]}) == [9.0, 15.0]
        with pytest.raises(UnknownField, match="no input 'aera'") as caught:
            client.predict({"aera": 1, "rooms": 2})
        assert caught.value.cause == "did you mean 'area'?"
        with pytest.raises(NotANumber):
            client.predict({"area": None, "rooms": 2})


BAD_SIMPLE = [
    ("missing field", {"area": 1}, "INPUT-MISSING-FIELD", "rooms"),
    ("unknown field", {"area": 1, "rooms": 2, "colour": 3}, "INPUT-UNKNOWN-FIELD", "colour"),
    ("wrong dtype", {"area": "big", "rooms": 2}, "INPUT-WRONG-TYPE", "area"),
    ("boolean for a number", {"area": True, "rooms": 2}, "INPUT-WRONG-TYPE", "area"),
    ("null where not allowed", {"area": None, "rooms": 2}, "INPUT-NOT-A-NUMBER", "area"),
    ("ragged columns", {"area": [1, 2], "rooms": [2]}, "INPUT-WRONG-SHAPE", "rooms"),
    ("ragged rows", [{"area": 1, "rooms": 2}, {"area": 1}], "INPUT-MISSING-FIELD", "row 1"),
    ("nested value", {"area": {"m2": 3}, "rooms": 2}, "INPUT-WRONG-TYPE", "area"),
    ("half columns", {"area": [1], "rooms": 2}, "INPUT-WRONG-TYPE", "area"),
    ("no rows", [], "INPUT-NO-ROWS", "no rows"),
    ("a number", 3, "INPUT-WRONG-TYPE", "object"),
    ("a text row", ["x"], "INPUT-WRONG-TYPE", "object"),
    ("null", None, "INPUT-WRONG-TYPE", "object"),
]


@pytest.mark.parametrize(("body", "code", "named"), [row[1:] for row in BAD_SIMPLE], ids=[row[0] for row in BAD_SIMPLE])
def test_bad_rows_are_refused(served: Served, body: object, code: str, named: str) -> None:
    status, problem = served.post("/models/price/predict", body)
    assert (status, problem["code"]) == (400, code)
    assert named in problem["detail"]
    assert problem["instance"]


BAD_JSON = [
    b"",
    b"{",
    b'{"area": 1, "rooms": 2',
    b'{"area": NaN, "rooms": 2}',
    b'{"area": Infinity, "rooms": 2}',
    b'{"area": 1e400, "rooms": 2}',
    b'{"area": 1' + b"0" * 5000 + b', "rooms": 2}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"area": "\\ud800", "rooms": 2}',
    b"[" * 1000 + b"]" * 1000,
    b'{"area":' * 1000 + b"1" + b"}" * 1000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"area": 1, "rooms": 2} trailing',
    b"hello",
]


@pytest.mark.parametrize("body", BAD_JSON, ids=range(len(BAD_JSON)))
@pytest.mark.parametrize("path", ["/models/price/predict", V2])
def test_hostile_json_is_refused(served: Served, body: bytes, path: str) -> None:
    status, headers, answer = served.ask("POST", path, body, {"content-type": "application/json"})
    assert status == 400, answer
    assert json.loads(answer).get("error") or json.loads(answer)["detail"]
    assert served.post("/models/price/predict", {"area": 1, "rooms": 2})[0] == 200
    del headers


BAD_TENSORS = [
    ("wrong name", {**TENSOR, "name": "x"}, "no input 'x'"),
    ("wrong dtype", {**TENSOR, "datatype": "FP32"}, "must be datatype FP64"),
    ("no such dtype", {**TENSOR, "datatype": "COMPLEX"}, "must be datatype FP64"),
    ("short data", {**TENSOR, "data": [1.0]}, "needs 2 elements"),
    ("long data", {**TENSOR, "data": [1.0, 2.0, 3.0]}, "needs 2 elements"),
    ("wrong columns", {**TENSOR, "shape": [2, 1]}, "does not match"),
    ("wrong rank", {**TENSOR, "shape": [1, 1, 2]}, "does not match"),
    ("negative axis", {**TENSOR, "shape": [-1, 2]}, "not a tensor's shape"),
    ("huge axis", {**TENSOR, "shape": [2**62, 2**62]}, "not a tensor's shape"),
    ("ragged", {**TENSOR, "shape": [2, 2], "data": [[1.0, 2.0], [3.0]]}, "a list of 1 where its shape says 2"),
    ("text", {**TENSOR, "data": ["a", "b"]}, "must be FP64 data"),
    ("no data", {key: value for key, value in TENSOR.items() if key != "data"}, "no data"),
    ("null data", {**TENSOR, "data": None}, "input 'input'"),
    ("binary size without bytes", {**TENSOR, "parameters": {"binary_data_size": 16}}, "binary_data_size"),
]


@pytest.mark.parametrize(("tensor", "named"), [row[1:] for row in BAD_TENSORS], ids=[row[0] for row in BAD_TENSORS])
def test_bad_tensors_are_refused(served: Served, tensor: dict[str, object], named: str) -> None:
    status, answer = served.post(V2, {"inputs": [tensor]})
    assert status == 400
    assert named in answer["error"]


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"inputs": []}, "missing input"),
        ({"inputs": [TENSOR, TENSOR]}, "sent twice"),
        ({"inputs": [TENSOR], "outputs": [{"name": "nothing"}]}, "no input 'nothing'"),
        ({"input": [TENSOR]}, "not a v2 inference request"),
        ([], "not a v2 inference request"),
    ],
)
def test_bad_v2_messages_are_refused(served: Served, document: object, named: str) -> None:
    status, answer = served.post(V2, document)
    assert status == 400
    assert named in answer["error"]


@pytest.mark.parametrize("cut", [0, 1, 15, 17])
def test_truncated_binary_tensor(served: Served, cut: int) -> None:
    head = json.dumps(
        {"inputs": [{**{k: TENSOR[k] for k in ("name", "shape", "datatype")}, "parameters": {"binary_data_size": 16}}]}
    )
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    status, _, body = served.ask("POST", V2, head.encode() + b"\0" * cut, headers)
    assert status == 400
    assert json.loads(body)["error"]


@pytest.mark.parametrize("length", ["x", "-1", "999999", "0", "1.5", ""])
def test_bad_header_length(served: Served, length: str) -> None:
    status, _, body = served.ask("POST", V2, b'{"inputs":[]}', {"inference-header-content-length": length})
    assert status in {400, 415}
    assert json.loads(body)["error"]


def test_nan_in_a_binary_tensor(served: Served) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    try:
        for value in (np.nan, np.inf, -np.inf):
            tensor = triton.InferInput("input", [1, 2], "FP64")
            tensor.set_data_from_numpy(np.array([[1.0, value]]))
            with pytest.raises(InferenceServerException, match="'rooms' may not be missing, NaN or infinite"):
                client.infer("price", [tensor])
    finally:
        client.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "named"),
    [
        ("POST", "/models/nobody/predict", 404, "nobody"),
        ("POST", "/models/prise/predict", 404, "prise"),
        ("POST", "/models/price/versions/99/predict", 404, "99"),
        ("POST", "/models/price@nowhere/predict", 404, "nowhere"),
        ("POST", "/models/price@99/predict", 404, "99"),
        ("GET", "/v2/models/nobody", 404, "nobody"),
        ("POST", "/v2/models/price/versions/99/infer", 404, "99"),
        ("GET", "/models/price/predict", 405, "POST"),
        ("DELETE", "/models/price", 405, "GET"),
        ("POST", "/metrics", 405, "GET"),
        ("GET", "/etc/passwd", 404, "/etc/passwd"),
        ("GET", "/models/../../etc/passwd", 404, ""),
        ("GET", "/docs/", 404, "/docs/"),
        ("GET", "/%2e%2e/docs", 404, ""),
        ("GET", "//docs", 404, ""),
    ],
)
def test_what_is_not_there(served: Served, method: str, path: str, status: int, named: str) -> None:
    got, _, body = served.ask(method, path, b"{}" if method == "POST" else None)
    assert got == status, body
    assert named in body.decode()


def test_did_you_mean(served: Served) -> None:
    assert served.post("/models/prise/predict", {})[1]["cause"] == "did you mean 'price'?"


@pytest.mark.parametrize("kind", ["text/html", "application/pdf", "multipart/form-data; boundary=x", "nonsense"])
def test_media_types_that_are_not_spoken(served: Served, kind: str) -> None:
    status, _, body = served.ask("POST", "/models/price/predict", b"{}", {"content-type": kind})
    assert status == 415
    assert json.loads(body)["hint"].startswith("send one of: application/json, text/csv")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "application/vnd.me+json", "APPLICATION/JSON", None]
)
def test_media_types_that_are(served: Served, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    assert served.ask("POST", "/models/price/predict", b'{"area":1,"rooms":2}', headers)[0] == 200


def test_bodies_that_are_not_what_they_say_are_refused_clearly(served: Served) -> None:
    status, _, body = served.ask("POST", "/models/price/predict", b"{}", {"content-encoding": "gzip"})
    assert status == 400
    assert "Content-Encoding" in json.loads(body)["detail"]
    status, _, body = served.ask("POST", "/models/price/predict", b"{}", {"content-encoding": "br"})
    assert status == 415
    assert "gzip" in json.loads(body)["hint"]
