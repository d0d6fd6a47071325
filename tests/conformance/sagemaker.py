"""Amazon SageMaker's documented sessions, replayed: one model, and a multi-model endpoint."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.serving import Served
from tests.acceptance.test_clouds import JSON, sagemaker_session
from tests.conformance import check
from tests.models import linear_bundle

CLIENT = "SageMaker session"


@check(client=CLIENT, feature="ping, invocations", server="openapi")
def one_model(server: Served) -> None:
    sagemaker_session(server)


@check(client=CLIENT, feature="multi-model: load, list, invoke, unload", server="multi-model")
def several_models(server: Served) -> None:
    folder = Path(server.home) / "models" / "a1b2c3" / "model"
    folder.mkdir(parents=True)
    linear_bundle("price", slope=3.0).write(folder)
    entry = {"modelName": "a1b2c3", "modelUrl": str(folder)}
    asked = {"model_name": "a1b2c3", "url": str(folder)}
    assert server.ask("GET", "/ping")[0] == 200
    assert server.post("/models", asked)[0] == 200
    assert server.post("/models", asked)[0] == 409
    assert json.loads(server.ask("GET", "/models")[2]) == {"models": [entry]}
    status, _, body = server.ask("POST", "/models/a1b2c3/invoke", '{"feature": 3}', JSON)
    assert (status, body) == (200, b'{"prediction": [9.0]}')
    assert server.ask("DELETE", "/models/a1b2c3")[0] == 200
    assert server.ask("GET", "/models/a1b2c3")[0] == 404
    assert server.ask("POST", "/models/a1b2c3/invoke", '{"feature": 3}', JSON)[0] == 404
