"""Protocol v2 over REST, as its clients meet it: addresses, statuses, tensors in and out, what Triton has besides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from modelyard.core.errors import catalogue
from modelyard.core.manifest import MODEL, Manifest, Source
from modelyard.core.tensor import Datatype, encode_raw
from modelyard.model import formats
from modelyard.model.bundle import Bundle, seal
from modelyard.model.formats import Request as Import
from modelyard.serve.http.contracts.v2 import refuse
from modelyard.serve.http.errors import REASONS, TRITON_STATUS
from tests.models import count_bundle, echo_bundle, image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Answer, Desk, served

LINEAR = "/v2/models/linear/infer"
LENGTH = "Inference-Header-Content-Length"
GOOD = {"name": "input", "shape": [2, 1], "datatype": "FP64", "data": [3, 4]}
BINARY = {"name": "input", "shape": [2, 1], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
RAW = np.array([3.0, 4.0]).tobytes()


def brain_bundle() -> Bundle:
    """BF16 in and out, doubled, imported from a graph that has such tensors."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["wide", "wide"], ["twice"]),
            helper.make_node("Cast", ["twice"], ["y"], to=TensorProto.BFLOAT16),
        ],
        "brain",
        [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    got = formats.backend("onnx").convert(Import(raw=model.SerializeToString(), kind="onnx", frame=None))
    manifest = Manifest(name="brain", task=got.task, signature=got.signature, files={}, source=Source(format="onnx"))
    return seal(manifest, {MODEL: got.onnx})


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("run"), contracts=("v2",))
    bundles = (mixed_bundle(), image_bundle(), count_bundle(), echo_bundle(), brain_bundle())
    desk.serve(
        served(desk.page, linear_bundle(), linear_bundle(slope=10.0), aliases={"canary": 1}),
        *(served(desk.page, bundle) for bundle in bundles),
    )
    return desk


def infer(desk: Desk, path: str, document: Any, raw: bytes = b"", **headers: str) -> Answer:
    """With the header when raw tensors follow the JSON."""
    text = json.dumps(document).encode()
    return desk.ask("POST", path, text + raw, **({LENGTH: str(len(text))} if raw else {}), **headers)


def tensors(answer: Answer) -> dict[str, Any]:
    """Names to data: lists from JSON, bytes from binary."""
    assert answer.status == 200, answer.body
    length = answer.headers.get(LENGTH.lower())
    at = int(length) if length else len(answer.body)
    found: dict[str, Any] = {}
    for item in json.loads(answer.body[:at])["outputs"]:
        size = item.get("parameters", {}).get("binary_data_size")
        found[item["name"]] = item["data"] if size is None else answer.body[at : at + size]
        at += size or 0
    assert at == len(answer.body)
    return found


# --- addresses ----------------------------------------------------------------------------------------------------

#: Triton's grammar of addresses, with what is answered here.
GRAMMAR: list[tuple[str, str, int]] = [
    ("GET", "/v2", 200),
    ("GET", "/v2/", 200),
    ("GET", "/v2/health/live", 200),
    ("GET", "/v2/health/ready", 503),  # the desk is not
    ("GET", "/v2/models", 200),
    ("GET", "/v2/models/stats", 200),
    *[
        (method, f"/v2/models/{model}{path}", status)
        for model in ("linear", "linear/versions/1", "linear/versions/2")
        for method, path, status in (
            ("GET", "", 200),
            ("GET", "/ready", 200),
            ("GET", "/config", 200),
            ("GET", "/stats", 200),
            ("POST", "/infer", 400),
            ("POST", "/generate", 501),
            ("POST", "/generate_stream", 501),
            ("GET", "/trace/setting", 501),
            ("POST", "/trace/setting", 501),
        )
    ],
    *[
        (method, f"/v2/{kind}sharedmemory{path}", status)
        for kind in ("system", "cuda")
        for method, path, status in (
            ("GET", "/status", 200),
            ("GET", "/region/mine/status", 404),
            ("POST", "/region/mine/register", 501),
            ("POST", "/region/mine/unregister", 501),
            ("POST", "/unregister", 200),
        )
    ],
    ("GET", "/v2/trace/setting", 501),
    ("POST", "/v2/trace/setting", 501),
    ("GET", "/v2/logging", 501),
    ("POST", "/v2/logging", 501),
    ("GET", "/v2/models/nobody", 404),
    ("POST", "/v2/models/nobody/infer", 404),
    ("GET", "/v2/models/linear/versions/3", 404),
    ("POST", "/v2/models/linear/versions/99999999999999999999999/infer", 404),
    ("POST", "/v2/models/linear/versions/x/infer", 404),
    ("GET", "/v2/nothing", 404),
    ("GET", "/v2/models/linear/nothing", 404),
    ("DELETE", "/v2", 405),
    ("GET", LINEAR, 405),
    ("POST", "/v2/models/linear/ready", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), GRAMMAR)
def test_every_address_of_triton_is_answered_or_refused_in_its_words(
    desk: Desk, method: str, path: str, status: int
) -> None:
    answer = desk.ask(method, path)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    if status >= 400 and path != "/v2/health/ready":
        assert list(answer.json) == ["error"]
        assert answer.json["error"]


def test_health_has_a_body(desk: Desk) -> None:
    assert desk.ask("GET", "/v2/health/live").json == {"live": True}
    assert desk.ask("GET", "/v2/health/ready").json == {"ready": False}
    desk.plane.ready = True
    try:
        assert desk.ask("GET", "/v2/health/ready").json == {"ready": True}
    finally:
        desk.plane.ready = False
    assert desk.ask("GET", "/v2/models/linear/ready").json == {"name": "linear", "ready": True}


def test_shared_memory_has_no_regions(desk: Desk) -> None:
    assert desk.ask("GET", "/v2/systemsharedmemory/status").json == []
    assert "'mine'" in desk.ask("GET", "/v2/cudasharedmemory/region/mine/status").json["error"]
    refused = desk.ask("POST", "/v2/systemsharedmemory/region/mine/register", {"key": "/mine", "byte_size": 8})
    assert refused.json == {"error": "shared memory between processes is not supported"}


def test_a_model_may_be_called_stats(tmp_path: Path) -> None:
    desk = Desk(tmp_path, contracts=("v2",))
    desk.serve(served(desk.page, linear_bundle("stats")))
    assert [item["name"] for item in desk.ask("GET", "/v2/models/stats").json["model_stats"]] == ["stats"]
    assert desk.ask("GET", "/v2/models/stats/versions/1").json["name"] == "stats"
    assert desk.ask("POST", "/v2/models/stats/infer", {"inputs": [GOOD]}).status == 200


@pytest.mark.parametrize("cls", catalogue().values(), ids=lambda cls: cls.code)
def test_every_error_has_tritons_status_and_one_member(desk: Desk, cls: Any) -> None:
    error = cls.__new__(cls)
    error.facts = {}
    first, body = refuse(error, object())  # type: ignore[arg-type]  # it looks at the error only
    status = int(first.split()[1])
    assert status == TRITON_STATUS[cls.kind]
    assert status in REASONS
    assert list(json.loads(body)) == ["error"]


# --- tensors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "application/json", "application/octet-stream", "text/html", "", "nonsense"])
def test_the_content_type_is_not_looked_at(desk: Desk, kind: str | None) -> None:
    headers = {} if kind is None else {"content_type": kind}
    assert tensors(infer(desk, LINEAR, {"inputs": [GOOD]}, b"", **headers)) == {"prediction": [30.0, 40.0]}


@pytest.mark.parametrize("path", [LINEAR, "/v2/models/linear/versions/2/infer", "/v2/models/linear/versions/1/infer"])
def test_json_and_binary_in_and_out(desk: Desk, path: str) -> None:
    slope = 2.0 if "versions/1" in path else 10.0
    wanted = np.array([3.0, 4.0]) * slope
    for item, raw in ((GOOD, b""), (BINARY, RAW)):
        answer = infer(desk, path, {"id": "7", "inputs": [item]}, raw)
        assert tensors(answer) == {"prediction": wanted.tolist()}
        assert (answer.json["id"], answer.json["model_version"]) == ("7", "1" if slope == 2.0 else "2")
        answer = infer(desk, path, {"inputs": [item], "parameters": {"binary_data_output": True}}, raw)
        assert tensors(answer) == {"prediction": wanted.tobytes()}
        assert answer.headers["content-type"] == "application/octet-stream"


def test_json_and_binary_inputs_in_one_request(desk: Desk) -> None:
    species = {"name": "species", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 10}}
    length = {"name": "length", "shape": [1], "datatype": "FP64", "data": [5.5]}
    mass = {"name": "mass", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}
    raw = b"\x06\0\0\0gentoo" + np.array([np.nan]).tobytes()
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
    answer = infer(desk, "/v2/models/mixed/infer", {"inputs": [species, length, mass], "outputs": outputs}, raw)
    found = tensors(answer)
    assert list(found) == ["probabilities", "label"]
    assert found["label"] == ["big"]
    assert np.frombuffer(found["probabilities"], "<f4").sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["sagemaker", "vertex-ai"])
def test_the_length_may_stand_in_the_content_type(desk: Desk, kind: str) -> None:
    text = json.dumps({"inputs": [BINARY]}).encode()
    told = f"application/vnd.{kind}-triton.binary+json;json-header-size={len(text)}"
    assert tensors(desk.ask("POST", LINEAR, text + RAW, content_type=told)) == {"prediction": [30.0, 40.0]}


def test_a_raw_binary_request(desk: Desk) -> None:
    answer = desk.ask("POST", LINEAR, RAW, **{LENGTH: "0"})
    assert tensors(answer) == {"prediction": np.array([30.0, 40.0]).tobytes()}
    picture = np.arange(12, dtype=np.float32)
    answer = desk.ask("POST", "/v2/models/image/infer", picture.tobytes(), **{LENGTH: "0"})
    assert tensors(answer) == {"mean": np.float32(5.5).tobytes(), "peak": np.float32(11).tobytes()}
    for path, body, says in (
        (LINEAR, RAW[:-1], "a multiple of 8 bytes, got 15"),
        (LINEAR, b"", "no rows"),
        ("/v2/models/mixed/infer", RAW, "models with one input"),
    ):
        answer = desk.ask("POST", path, body, **{LENGTH: "0"})
        assert answer.status == 400
        assert says in answer.json["error"]


@pytest.mark.parametrize(("model", "datatype"), [("echo", Datatype.FP16), ("brain", Datatype.BF16)])
def test_halves_of_a_float_are_binary_only(desk: Desk, model: str, datatype: Datatype) -> None:
    path = f"/v2/models/{model}/infer"
    name = "half" if model == "echo" else "x"
    raw = encode_raw(np.array([[0.5, -2.0]]), datatype)
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    more = [text] if model == "echo" else []
    item = {"name": name, "shape": [1, 2], "datatype": datatype, "parameters": {"binary_data_size": 4}}
    told = {"inputs": [item, *more], "parameters": {"binary_data_output": True}}
    found = next(iter(tensors(infer(desk, path, told, raw)).values()))
    assert found == (raw if model == "echo" else encode_raw(np.array([[1.0, -4.0]]), datatype))

    answer = infer(desk, path, {"inputs": [item, *more]}, raw)
    assert answer.status == 400
    assert "binary data format" in answer.json["error"]
    answer = infer(desk, path, {"inputs": [{**item, "parameters": {}, "data": [0.5, -2.0]}, *more]})
    assert answer.status == 400
    assert "binary data format" in answer.json["error"]


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"inputs": [{**GOOD, "name": "other"}]}, 400, "'other'"),
        ({"inputs": [{**GOOD, "datatype": "FP32"}]}, 400, "datatype FP64"),
        ({"inputs": [{**GOOD, "shape": [1, 2]}]}, 400, "shape"),
        ({"inputs": [{**GOOD, "data": [1]}]}, 400, "needs 2 elements"),
        ({"inputs": [{**GOOD, "data": [1, None]}]}, 400, "missing"),
        ({"inputs": [GOOD, GOOD]}, 400, "twice"),
        ({"inputs": []}, 400, "missing input"),
        ({"outputs": [{"name": "other"}]}, 400, "'other'"),
        ({"outputs": [{"name": "prediction"}] * 2}, 400, "twice"),
        ({"outputs": [{"name": "prediction", "parameters": {"shared_memory_region": "r"}}]}, 501, "shared memory"),
        ({"parameters": {"timeout": "soon"}}, 400, "'timeout'"),
        ({"parameters": {"triton_enable_empty_final_response": True}}, 400, "triton_"),
        ({"parameters": {"mine": {"a": 1}}}, 400, "'mine'"),
        ({"id": 3}, 400, "v2 inference request"),
    ],
)
def test_what_is_refused(desk: Desk, change: dict[str, Any], status: int, says: str) -> None:
    answer = infer(desk, LINEAR, {"inputs": [GOOD], **change})
    assert (answer.status, list(answer.json)) == (status, ["error"])
    assert says in answer.json["error"]


def test_parameters_that_change_nothing(desk: Desk) -> None:
    """Sequences and priorities: models here keep nothing, so each request is answered alone."""
    parameters = {"sequence_id": 7, "sequence_start": True, "sequence_end": False, "priority": 2, "mine": "x"}
    assert tensors(infer(desk, LINEAR, {"inputs": [GOOD], "parameters": parameters})) == {"prediction": [30.0, 40.0]}


def test_the_best_classes(desk: Desk) -> None:
    numbers = [{"name": name, "shape": [2], "datatype": "FP64", "data": [1, 9]} for name in ("length", "mass")]
    species = {"name": "species", "shape": [2], "datatype": "BYTES", "data": ["gentoo", "adelie"]}
    asked = [{"name": "probabilities", "parameters": {"classification": 1}}]
    answer = infer(desk, "/v2/models/mixed/infer", {"inputs": [species, *numbers], "outputs": asked})
    (output,) = answer.json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 1])
    assert output["data"] == ["0.880797:1:big", "0.500000:0:small"]  # 1 / (1 + exp(-2)), and of equals the first


@pytest.mark.parametrize(("timeout_us", "status"), [(None, 200), (0, 200), (30_000_000, 200), (1, 503)])
def test_a_caller_who_waits_no_longer(tmp_path: Path, timeout_us: int | None, status: int) -> None:
    desk = Desk(tmp_path, contracts=("v2",))
    model = served(desk.page, linear_bundle())
    desk.serve(model)
    parameters = {} if timeout_us is None else {"timeout": timeout_us}
    answer = infer(desk, LINEAR, {"inputs": [GOOD], "parameters": parameters})
    assert answer.status == status
    if status == 503:
        assert "took longer than" in answer.json["error"]
