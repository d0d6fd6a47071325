"""SageMaker's contract in memory: health, headers that come back, pages of models, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.plan import Plan
from modelyard.serve.plane import Roster
from tests.models import linear_bundle
from tests.unit.serve.desk import Desk, served

ROW = {"feature": 3}
JSON = "application/json"


def _desk(run: Path, *names: str, contracts: tuple[str, ...] = ("simple", "sagemaker"), **environ: str) -> Desk:
    desk = Desk(run, contracts=contracts, environ=environ)
    desk.serve(*(served(desk.page, linear_bundle(name), name=name) for name in names))
    desk.plane.ready = True
    return desk


def test_ping_is_readiness_for_one_model_and_life_for_several(tmp_path: Path) -> None:
    one = _desk(tmp_path, "linear")
    answer = one.ask("GET", "/ping")
    assert (answer.status, answer.body) == (200, b"")
    one.plane.ready = False
    assert one.ask("GET", "/ping").status == 503
    assert _desk(tmp_path).ask("GET", "/ping").status == 503
    assert _desk(tmp_path, SAGEMAKER_MULTI_MODEL="true").ask("GET", "/ping").status == 200


@pytest.mark.parametrize(
    ("attributes", "back"), [("trace=1", "trace=1"), ("x" * 1024, "x" * 1024), ("x" * 1025, None), ("tür", None)]
)
def test_custom_attributes_come_back_when_they_are_what_they_may_be(
    tmp_path: Path, attributes: str, back: str | None
) -> None:
    desk = _desk(tmp_path, "linear")
    answer = desk.ask("POST", "/invocations", ROW, content_type=JSON, x_amzn_sagemaker_custom_attributes=attributes)
    assert (answer.status, answer.headers.get("x-amzn-sagemaker-custom-attributes")) == (200, back)


def test_the_default_answer_is_the_environments(tmp_path: Path) -> None:
    desk = _desk(tmp_path, "linear", SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv")
    assert desk.ask("POST", "/invocations", ROW, content_type=JSON).body == b"6.0\n"
    assert desk.ask("POST", "/invocations", ROW, content_type=JSON, accept="*/*").body == b"6.0\n"
    assert desk.ask("POST", "/invocations", ROW, content_type=JSON, accept=JSON).json == {"prediction": [6.0]}


def test_several_models_need_a_name(tmp_path: Path) -> None:
    answer = _desk(tmp_path, "a", "b").ask("POST", "/invocations", ROW, content_type=JSON)
    assert (answer.status, answer.json["error_code"]) == (400, "REQUEST-INVALID")
    named = _desk(tmp_path, "a", "b", SAGEMAKER_TRITON_DEFAULT_MODEL_NAME="b")
    assert named.ask("POST", "/invocations", ROW, content_type=JSON).headers["modelyard-model"] == "b@1"
    gone = _desk(tmp_path, "a", SAGEMAKER_TRITON_DEFAULT_MODEL_NAME="b")
    assert gone.ask("POST", "/invocations", ROW, content_type=JSON).status == 404


def test_models_are_listed_page_by_page(tmp_path: Path) -> None:
    desk = _desk(tmp_path, "linear", SAGEMAKER_MULTI_MODEL="true")
    (model,) = desk.plane.roster.models.values()
    names = [f"m{at:03}" for at in range(205)]
    plan = Plan(models=(), folders={name: f"/opt/ml/models/{name}/model" for name in names})
    desk.routes.replace(Roster(models=dict.fromkeys(names, model), plan=plan))
    listed, token = [], "0"
    while token:
        page = desk.ask("GET", f"/models?next_page_token={token}").json
        assert len(page["models"]) <= 100
        listed += page["models"]
        token = page.get("nextPageToken", "")
    assert listed == [{"modelName": name, "modelUrl": plan.folders[name]} for name in names]
    assert desk.ask("GET", "/models?next_page_token=999").json == {"models": []}
    for query in ("next_page_token=-1", "next_page_token=" + "9" * 5000, "x=1"):
        assert desk.ask("GET", f"/models?{query}").status in {400, 414}


def test_loading_is_refused_where_the_server_was_not_told_to(tmp_path: Path) -> None:
    desk = _desk(tmp_path, "linear", SAGEMAKER_MULTI_MODEL="true")
    assert desk.ask("POST", "/models", {"model_name": "x", "url": "/x"}).status == 503
    assert desk.ask("DELETE", "/models/linear").status == 503
    assert desk.ask("DELETE", "/models/other").status == 404
    assert desk.ask("POST", "/models/linear/invoke", ROW, content_type=JSON).json == {"prediction": [6.0]}
    assert _desk(tmp_path, "linear").ask("POST", "/models/linear/invoke", ROW).status == 404


def test_the_environments_limits_and_a_broken_one(tmp_path: Path) -> None:
    assert _desk(tmp_path, "linear").ask("GET", "/execution-parameters").json["MaxPayloadInMB"] == 16
    with pytest.raises(Exception, match="SAGEMAKER_MODEL_SERVER_TIMEOUT"):
        _desk(tmp_path, "linear", SAGEMAKER_MODEL_SERVER_TIMEOUT="soon")
