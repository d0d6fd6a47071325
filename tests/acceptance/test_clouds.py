"""Sessions of SageMaker, Vertex AI and Azure ML as they are documented, against real servers: all at once, and each."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator, validate

from tests.acceptance.serving import Served, home_with, plan_of
from tests.models import linear_bundle, mixed_bundle

ROW = {"species": "adelie", "length": 5.0, "mass": None}
JSON = {"content-type": "application/json"}
WORKERS = ("--workers", "2")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """All contracts on one port, and one model, for nobody's platform in particular."""
    home = tmp_path_factory.mktemp("home")
    home_with(home, mixed_bundle())
    with Served(home, "--contracts", "all", *WORKERS) as server:
        yield server


def _post(served: Served, path: str, document: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    told = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    body = document if isinstance(document, (str, bytes)) else json.dumps(document)
    return served.ask("POST", path, body, told)


# --- Amazon SageMaker -------------------------------------------------------------------------------------------


def sagemaker_session(served: Served) -> None:
    """A health check, then invocations in the content types that the platform's own toolkit names."""
    assert served.ask("GET", "/ping")[::2] == (200, b"")
    attributes = "trace=7; c000b4f9-df62-4c85-a0bf-7c525f9104a4"
    status, headers, body = _post(served, "/invocations", ROW, X_Amzn_SageMaker_Custom_Attributes=attributes)
    assert (status, body) == (200, b'{"prediction": ["big"]}')
    assert headers["content-type"] == "application/json"
    assert headers["x-amzn-sagemaker-custom-attributes"] == attributes
    told = {"content-type": "text/csv", "accept": "text/csv", "x-amzn-sagemaker-inference-id": "1"}
    status, headers, body = served.ask("POST", "/invocations", "adelie,5.0,\ngentoo,1,6.5\n", told)
    assert (status, body) == (200, b"big\nsmall\n")
    assert headers["content-type"] == "text/csv"
    told = {"content-type": "application/jsonlines", "accept": "application/jsonlines"}
    status, headers, body = served.ask("POST", "/invocations", f"{json.dumps(ROW)}\n" * 2, told)
    assert (status, headers["content-type"]) == (200, "application/jsonlines")
    assert [json.loads(line) for line in body.splitlines()] == [{"prediction": "big"}] * 2
    status, headers, body = _post(served, "/invocations", {"instances": [ROW]}, Accept="application/x-npy")
    assert (status, headers["content-type"]) == (200, "application/x-npy")
    assert np.load(BytesIO(body)).tolist() == ["big"]
    assert json.loads(served.ask("GET", "/execution-parameters")[2])["BatchStrategy"] == "MULTI_RECORD"


def test_sagemaker_with_all_contracts(every: Served) -> None:
    sagemaker_session(every)


def test_sagemaker_by_its_environment(tmp_path: Path) -> None:
    home_with(tmp_path, mixed_bundle())
    port = str(_free_port())
    environ = {"SAGEMAKER_BIND_TO_PORT": port, "SAGEMAKER_MODEL_SERVER_WORKERS": "2", "SAGEMAKER_PROGRAM": "serve.py"}
    with _alone(tmp_path, SAGEMAKER_MAX_PAYLOAD_IN_MB="1", SAGEMAKER_TFS="1", **environ) as served:
        assert str(served.port) == port
        assert len(served.workers()) == 2
        assert _post(served, "/invocations", ROW)[0] == 200
        assert _post(served, "/invocations", " " * 1_100_000)[0] == 413
        assert json.loads(served.ask("GET", "/execution-parameters")[2])["MaxPayloadInMB"] == 1
        assert served.ask("POST", "/score", json.dumps(ROW), JSON)[0] == 404
    assert "SageMaker is spoken, because SAGEMAKER_BIND_TO_PORT is set" in served.stderr
    assert "SAGEMAKER_PROGRAM means nothing here" in served.stderr
    assert "SAGEMAKER_TFS is not known" in served.stderr


def test_v2_tensors_pass_where_only_the_content_type_does(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle())
    with Served(tmp_path, "--contracts", "sagemaker,vertex") as served:
        for platform, path in (
            ("sagemaker", "/invocations"),
            ("vertex-ai", "/v1/endpoints/1/deployedModels/2:predict"),
        ):
            raw = np.array([[3.0], [4.0]]).tobytes()
            tensor = {"name": "input", "shape": [2, 1], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
            text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
            kind = f"application/vnd.{platform}-triton.binary+json;json-header-size={len(text)}"
            status, headers, body = served.ask("POST", path, text + raw, {"content-type": kind})
            assert status == 200
            told, _, length = headers["content-type"].partition(";json-header-size=")
            assert told == f"application/vnd.{platform}-triton.binary+json"
            assert np.frombuffer(body[int(length) :]).tolist() == [6.0, 8.0]


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (ROW | {"lenght": 1}, {}, 400, "lenght"),
        (ROW | {"length": "x"}, {}, 400, "length"),
        ({"instances": []}, {}, 400, "no rows"),
        ({"instances": [ROW], "inputs": {}}, {}, 400, "exactly one"),
        (ROW, {"content-type": "image/png"}, 415, "image/png"),
        (ROW, {"content-type": ""}, 415, "content type"),
        (ROW, {"accept": "image/png"}, 406, "image/png"),
        ("adelie,5.0\n", {"content-type": "text/csv"}, 400, "cell"),
        ("adelie,x,1\n", {"content-type": "text/csv"}, 400, "length"),
        ("adelie,5.0,\n", {"content-type": "text/csv; header=maybe"}, 415, "header"),
        ("[1]\n", {"content-type": "application/jsonlines"}, 400, "line 1"),
        ("", {"content-type": "application/jsonlines"}, 400, "no rows"),
        ("x", {"content-type": "application/octet-stream"}, 415, "octets"),
    ],
)
def test_invocations_that_do_not_fit_are_refused(
    every: Served, body: Any, headers: dict[str, str], status: int, words: str
) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    got, _, answer = every.ask("POST", "/invocations", raw, JSON | headers)
    assert got == status
    assert words in json.loads(answer)["message"]


# --- SageMaker's multi-model endpoints --------------------------------------------------------------------------


def test_a_multi_model_endpoint(tmp_path: Path) -> None:
    """Load, list, invoke, unload, as the platform does it; in every worker before each answer."""
    home_with(tmp_path / "home")
    folders = {}
    for name, slope in (("b1c2", 2.0), ("d3e4", 3.0)):
        folders[name] = tmp_path / "models" / name / "model"
        folders[name].mkdir(parents=True)
        linear_bundle("price", slope=slope).write(folders[name])
    with Served(tmp_path / "home", *WORKERS, SAGEMAKER_MULTI_MODEL="true") as served:
        served.wait_for("ready")
        assert served.ask("GET", "/ping")[0] == 200  # without any model, too
        assert served.post("/models/b1c2/invoke", {"feature": 3})[0] == 404
        for name, folder in folders.items():
            assert served.post("/models", {"model_name": name, "url": str(folder)})[0] == 200
        assert served.post("/models", {"model_name": "b1c2", "url": str(folders["b1c2"])})[0] == 409
        listed = [{"modelName": name, "modelUrl": str(folder)} for name, folder in folders.items()]
        assert json.loads(served.ask("GET", "/models")[2]) == {"models": listed}
        assert json.loads(served.ask("GET", "/models/d3e4")[2]) == listed[1]
        answers = {served.ask("POST", "/models/d3e4/invoke", '{"feature": 3}', JSON)[2] for _ in range(16)}
        assert answers == {b'{"prediction": [9.0]}'}
        assert served.ask("DELETE", "/models/b1c2")[0] == 200
        assert {served.ask("GET", "/models/b1c2")[0] for _ in range(16)} == {404}
        assert served.ask("DELETE", "/models/b1c2")[0] == 404
        (folders["b1c2"] / "model.onnx").write_bytes(b"other")
        status, told = served.post("/models", {"model_name": "b1c2", "url": str(folders["b1c2"])})
        assert (status, "model.onnx" in told["message"]) == (400, True)
        for name, url in (("a/b", str(folders["d3e4"])), ("x", "model"), ("x", str(tmp_path / "nowhere"))):
            assert served.post("/models", {"model_name": name, "url": url})[0] == 400
        assert served.post("/models", {"model_name": "x"})[0] == 400
        assert served.ask("GET", "/models?next_page_token=x")[0] == 400


def test_models_are_not_loaded_where_nobody_asked_for_it(every: Served) -> None:
    assert every.post("/models", {"model_name": "x", "url": "/"})[0] == 405


# --- Google Vertex AI -------------------------------------------------------------------------------------------


def vertex_session(served: Served, health: str, predict: str) -> None:
    """A health check, a prediction with parameters, explained errors."""
    assert served.ask("GET", health)[0] == 200
    status, headers, body = _post(served, predict, {"instances": [ROW, ROW], "parameters": {"threshold": 0.5}})
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"predictions": ["big", "big"]}
    assert json.loads(_post(served, predict, {"instances": [ROW]})[2]) == {"predictions": ["big"]}
    assert _post(served, predict, ROW)[2] == b'{"prediction": ["big"]}'  # a raw prediction: any body
    for wrong in (
        {"instances": ROW},
        {"instances": []},
        {"instances": [ROW], "parameter": {}},
        {"instances": [ROW] * 2 + [1]},
    ):
        status, _, body = _post(served, predict, wrong)
        assert status == 400
        assert json.loads(body)["error"]
    told = _post(served, predict, {"instances": [ROW]}, X_Vertex_Ai_Triton_Redirect="v2/repository/index")
    assert (told[0], "not followed" in json.loads(told[2])["error"]) == (400, True)


def test_vertex_with_all_contracts(every: Served) -> None:
    base = "/v1/endpoints/123/deployedModels/456"
    vertex_session(every, base, base + ":predict")


def test_vertex_by_its_environment(tmp_path: Path) -> None:
    home_with(tmp_path, mixed_bundle())
    port = str(_free_port())
    environ = {"AIP_HTTP_PORT": port, "AIP_HEALTH_ROUTE": "/health/mine", "AIP_PREDICT_ROUTE": "/mine"}
    with _alone(tmp_path, AIP_STORAGE_URI="gs://mine/model", AIP_MODE="PREDICTION", **environ) as served:
        assert str(served.port) == port
        vertex_session(served, "/health/mine", "/mine")
    assert "Vertex AI is spoken, because AIP_HTTP_PORT is set" in served.stderr
    assert "AIP_STORAGE_URI means nothing here: nothing is fetched" in served.stderr


# --- Azure ML ---------------------------------------------------------------------------------------------------


def azure_session(served: Served) -> None:
    """Scores in the shapes of Azure ML's own models, ids carried along, documents in three versions."""
    for document, answer in (
        ({"data": [ROW]}, {"result": ["big"]}),
        ({"data": [list(ROW.values())]}, {"result": ["big"]}),
        ({"input_data": {"columns": list(ROW), "index": [0], "data": [list(ROW.values())]}}, ["big"]),
        ({"input_data": {name: [value] for name, value in ROW.items()}}, ["big"]),
        ({"instances": [ROW]}, {"predictions": ["big"]}),
        (ROW, {"prediction": ["big"]}),
    ):
        status, headers, body = _post(served, "/score", document, x_ms_client_request_id="mine", x_request_id="own")
        assert (status, json.loads(body)) == (200, answer)
        assert float(headers["x-ms-run-fn-exec-ms"]) >= 0
        assert headers["x-ms-run-function-failed"] == "False"
        ids = [headers[name] for name in ("x-request-id", "x-ms-request-id", "x-ms-client-request-id")]
        assert ids == ["own", "mine", "mine"]
    status, _, body = served.ask("GET", "/score?species=adelie&length=5&mass=null")
    assert (status, json.loads(body)) == (200, {"prediction": ["big"]})
    assert _post(served, "/score", "nonsense")[0] == 400
    status, headers, body = _post(served, "/score", {"data": [ROW | {"length": "x"}]})
    assert (status, headers["x-ms-run-function-failed"]) == (400, "False")
    assert "length" in json.loads(body)["message"]
    assert served.ask("POST", "/score", "x", {"content-type": "image/png"})[0] == 415
    assert served.ask("PUT", "/score")[0] == 405
    for name in ("x-request-id", "x-ms-request-id", "x-ms-client-request-id"):
        status, _, body = _post(served, "/score", ROW, **{name.replace("-", "_"): "a" * 101})
        assert (status, name in json.loads(body)["message"]) == (431, True)
    assert served.ask("GET", "/", headers={"accept": "text/plain"})[::2] == (200, b"Healthy")
    assert json.loads(served.ask("GET", "/", headers={"accept": "application/json"})[2]) == {"status": "alive"}
    azure_documents(served)


def azure_documents(served: Served) -> None:
    """Real documents, in which consumers find ``ServiceInput`` and ``ServiceOutput``."""
    kinds = {"2": OpenAPIV2SpecValidator, "3": OpenAPIV30SpecValidator, "3.1": OpenAPIV31SpecValidator}
    for version, kind in kinds.items():
        status, _, body = served.ask("GET", f"/swagger.json?version={version}")
        document = json.loads(body)
        assert status == 200
        validate(document, cls=kind)
        schemas = document["definitions"] if version == "2" else document["components"]["schemas"]
        row = schemas["ServiceInput"]["properties"]["data"]["items"]["properties"]
        assert row["species"]["enum"] == ["adelie", "chinstrap", "gentoo"]
        mass = {"2": {"type": "number", "x-nullable": True}, "3": {"type": "number", "nullable": True}}
        assert row["mass"] == mass.get(version, {"type": ["number", "null"]})
        assert _post(served, "/score", schemas["ServiceInput"]["example"])[0] == 200
    assert served.ask("GET", "/swagger.json")[2] == served.ask("GET", "/swagger.json?version=2")[2]
    status, _, body = served.ask("GET", "/swagger.json?version=4")
    assert (status, "'4'" in json.loads(body)["message"]) == (404, True)


def test_azure_with_all_contracts(every: Served) -> None:
    azure_session(every)
    assert json.loads(every.ask("GET", "/")[2]) == {"status": "alive"}  # another contract's clients read JSON here
    assert (
        "access-control-allow-origin" not in every.ask("OPTIONS", "/score", headers={"origin": "http://a.example"})[1]
    )


def test_azure_by_its_environment(tmp_path: Path) -> None:
    home_with(tmp_path, mixed_bundle())
    port = str(_free_port())
    environ = {"AZUREML_MODEL_DIR": "/var/azureml-app", "SERVER_PORT": port, "WORKER_COUNT": "2"}
    origins = "http://a.example, http://b.example"
    with _alone(tmp_path, AML_CORS_ORIGINS=origins, SERVICE_NAME="houses", **environ) as served:
        assert str(served.port) == port
        assert len(served.workers()) == 2
        azure_session(served)
        assert served.ask("GET", "/")[::2] == (200, b"Healthy")
        assert json.loads(served.ask("GET", "/swagger.json")[2])["info"]["title"] == "houses"
        asked = {"origin": "http://b.example", "access-control-request-headers": "content-type"}
        status, headers, _ = served.ask("OPTIONS", "/score", headers=asked)
        assert (status, headers["access-control-allow-origin"]) == (200, "http://b.example")
        assert headers["access-control-allow-headers"] == "content-type"
        assert "POST" in headers["access-control-allow-methods"]
        status, headers, _ = _post(served, "/score", ROW, origin="http://c.example")
        assert (status, "access-control-allow-origin" in headers) == (403, False)
    assert "Azure ML is spoken, because AZUREML_MODEL_DIR is set" in served.stderr


@pytest.mark.parametrize("cloud", ["sagemaker", "azure"])
def test_the_model_that_a_cloud_lays_down_is_served(tmp_path: Path, cloud: str) -> None:
    """SageMaker unpacks model.tar.gz to a folder of its own; Azure mounts NAME/VERSION. Nothing else is told."""
    place = tmp_path / "ml" / "model" if cloud == "sagemaker" else tmp_path / "models" / "price" / "1"
    place.mkdir(parents=True)
    linear_bundle("price").write(place)
    environ = (
        {"SAGEMAKER_BASE_DIR": str(tmp_path / "ml"), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
        if cloud == "sagemaker"
        else {"AZUREML_MODEL_DIR": str(tmp_path / "models")}
    )
    with Served(tmp_path / "home", **environ) as served:
        path = "/invocations" if cloud == "sagemaker" else "/score"
        status, _, body = _post(served, path, {"feature": 3})
        assert (status, json.loads(body)) == (200, {"prediction": [6.0]})
    assert "has laid down what to serve" in served.stderr


# --- which contracts --------------------------------------------------------------------------------------------


def test_contracts_that_nobody_knows_are_named(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [linear_bundle()])
    served = Served(tmp_path, "--plan", str(plan), "--contracts", "v2,sagmaker")
    assert served.process.wait(20) == 3
    served.stop()
    assert "no contract 'sagmaker'" in served.output
    assert "did you mean 'sagemaker'" in served.output


def test_only_what_is_named_is_spoken(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [linear_bundle()])
    with Served(tmp_path, "--plan", str(plan), "--contracts", "v2") as served:
        assert served.ask("GET", "/v2")[0] == 200
        assert served.ask("POST", "/v2/repository/index")[0] == 200
        assert served.ask("POST", "/predict", "{}")[0] == 404
        assert served.ask("GET", "/ping")[0] == 404


def test_platforms_that_want_different_ports_are_not_guessed_between(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle())
    served = _alone(tmp_path, AIP_HTTP_PORT="8001", SAGEMAKER_BIND_TO_PORT="8002")
    assert served.process.wait(20) == 1
    served.stop()
    assert "SAGEMAKER_BIND_TO_PORT says 8002, AIP_HTTP_PORT says 8001" in served.output


class _Unported(Served):
    """A server whose port nobody gives: the environment decides."""

    PORT = ("--no-grpc",)


def _alone(home: Path, **environ: str) -> Served:
    return _Unported(home, **environ)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
