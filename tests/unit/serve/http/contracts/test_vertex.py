"""Vertex AI's contract in memory: where it answers, and what a prediction may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.core.signature import Feature, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from tests.models import image_bundle, linear_bundle
from tests.unit.serve.desk import Desk, served

PREDICT = "/v1/endpoints/1/deployedModels/2:predict"
HEALTH = "/v1/endpoints/1/deployedModels/2"


def _desk(run: Path, *bundles: Any, **environ: str) -> Desk:
    desk = Desk(run, contracts=("v1", "vertex"), environ=environ)
    desk.serve(*(served(desk.page, bundle) for bundle in bundles))
    desk.plane.ready = True
    return desk


def test_health_is_readiness(tmp_path: Path) -> None:
    desk = _desk(tmp_path, linear_bundle(), AIP_HEALTH_ROUTE="/ready")
    assert [desk.ask("GET", path).status for path in (HEALTH, "/ready")] == [200, 200]
    desk.plane.ready = False
    assert desk.ask("GET", "/ready").status == 503
    assert _desk(tmp_path).ask("GET", HEALTH).status == 503


def test_one_address_may_be_both_routes(tmp_path: Path) -> None:
    desk = _desk(tmp_path, linear_bundle(), AIP_HEALTH_ROUTE="/model", AIP_PREDICT_ROUTE="/model")
    assert desk.ask("GET", "/model").status == 200
    assert desk.ask("POST", "/model", {"instances": [{"feature": 3}]}).json == {"predictions": [6.0]}


@pytest.mark.parametrize("route", ["predict", "/a?b", "/{x}", "/a b", "/a\r\nx: y"])
def test_a_route_is_a_path(tmp_path: Path, route: str) -> None:
    with pytest.raises(InvalidRequest, match="AIP_PREDICT_ROUTE"):
        _desk(tmp_path, linear_bundle(), AIP_PREDICT_ROUTE=route)


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ({"instances": [{"feature": 3}, {"feature": 4}]}, 200, {"predictions": [6.0, 8.0]}),
        ({"instances": [3, 4]}, 200, {"predictions": [6.0, 8.0]}),
        ({"instances": [[3]], "parameters": {"threshold": 1}}, 200, {"predictions": [6.0]}),
        ({"instances": [[3]], "parameters": None}, 200, {"predictions": [6.0]}),
        ({"feature": 3}, 200, {"prediction": [6.0]}),
        ({"dataframe_records": [{"feature": 3}]}, 200, {"predictions": [6.0]}),
        (b'{"instances": [{"feature": 3}], "instances": [{"feature": 4}]}', 400, None),
        (b'{"instances": [{"feature": NaN}]}', 400, None),
        ({"instances": [{"feature": 3}], "parameters": [1]}, 400, None),
        ({"instances": [{"feature": 3}], "params": {}}, 400, None),
        ({"instances": 3}, 400, None),
        ({"parameters": {}}, 400, None),
        (b"", 400, None),
        (b"[" * 100_000, 400, None),
    ],
)
def test_predictions(tmp_path: Path, body: Any, status: int, answer: Any) -> None:
    got = _desk(tmp_path, linear_bundle()).ask("POST", PREDICT, body)
    assert got.status == status
    assert got.json == answer if answer else list(got.json) == ["error"]


def test_raw_predictions_are_any_body(tmp_path: Path) -> None:
    desk = _desk(tmp_path, linear_bundle())
    assert desk.ask("POST", PREDICT, b"3\n4\n", content_type="text/csv", accept="text/csv").body == b"6.0\n8.0\n"
    assert desk.ask("POST", PREDICT, b"x", content_type="image/png").status == 415


def test_several_outputs_are_objects(tmp_path: Path) -> None:
    answer = _desk(tmp_path, image_bundle()).ask("POST", PREDICT, {"instances": [[[1.0] * 4] * 3]})
    assert answer.json == {"predictions": [{"mean": 1.0, "peak": [[1.0]]}]}


def test_the_redirect_is_not_followed_and_several_models_are_not_guessed_between(tmp_path: Path) -> None:
    desk = _desk(tmp_path, linear_bundle("a"), linear_bundle("b"))
    assert desk.ask("POST", PREDICT, {"instances": [1]}).status == 400
    one = _desk(tmp_path, linear_bundle())
    assert one.ask("POST", PREDICT, {"instances": [1]}, X_Vertex_Ai_Triton_Redirect="metrics").status == 400


def test_a_field_called_instances_is_a_field() -> None:
    from modelyard.serve.http.forms.invocation import Invocation

    spec = TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1, 1), features=(Feature(name="instances"),))
    signature = Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,)),))
    arrays, _ = Invocation(signature, "odd", 1, "vertex-ai").read_json(b'{"instances": 2}')
    assert arrays[0].tolist() == [[2.0]]
