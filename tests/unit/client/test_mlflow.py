"""The target of mlflow.deployments: found by MLflow, real imports, real answers, errors in MLflow's class."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tests.flow import deploy_client, flow, save_onnx, save_sklearn

FRAME = pd.DataFrame({"age": [20.0, 30.0, 40.0, 50.0, 60.0, 70.0], "height": [150.0, 180, 160, 190, 170, 175]})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    model = LogisticRegression().fit(FRAME, ["young"] * 3 + ["old"] * 3)
    return {"line": save_onnx(folder / "line", 2.0), "ages": save_sklearn(folder / "ages", model, FRAME)}


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    return deploy_client("modelyard")


def error() -> type[Exception]:
    found: type[Exception] = flow("mlflow.exceptions").MlflowException
    return found


def test_a_scikit_learn_model_answers_like_the_original(target: Any, saved: dict[str, str]) -> None:
    made = target.create_deployment("ages", saved["ages"], config={"alias": "production,canary"})
    assert (made["name"], made["flavor"], made["version"], made["task"]) == ("ages", "sklearn", 1, "classification")
    assert made["aliases"] == {"production": 1, "canary": 1}
    original = flow("mlflow.pyfunc").load_model(saved["ages"]).predict(FRAME)
    columns = {name: FRAME[name].to_numpy() for name in FRAME}
    for inputs in (FRAME, columns, {"dataframe_records": FRAME.to_dict(orient="records")}, FRAME.to_dict("records")):
        assert target.predict("ages", inputs)["predictions"] == list(original)
    assert target.predict("ages@canary", FRAME[:1]).get_predictions("ndarray").tolist() == [original[0]]
    assert target.get_deployment("ages")["inputs"] == ["age", "height"]
    with pytest.raises(error(), match="JSON cannot carry"):
        target.predict("ages", {"age": [1], "height": [object()]})
    with pytest.raises(error(), match="force"):
        target.delete_deployment("ages", config={"force": "perhaps"})
    with pytest.raises(error(), match=r"points at it; remove the aliases too: -C force=true"):
        target.delete_deployment("ages")
    target.delete_deployment("ages", config={"force": "true"})
    target.delete_deployment("ages")
    assert target.list_deployments() == []


def test_an_update_behind_an_alias_says_so(
    target: Any, saved: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    target.create_deployment("line", saved["line"], config={"alias": "production"})
    told = logging.getLogger("mlflow.modelyard")
    told.addHandler(caplog.handler)  # MLflow's loggers do not pass on what they are told
    try:
        assert target.update_deployment("line", saved["ages"])["version"] == 1
    finally:
        told.removeHandler(caplog.handler)
    assert "line@1 answers for line, not line@2: move it with -C alias=production" in caplog.text
    moved = target.update_deployment("line", saved["ages"], config={"alias": "production"})
    assert (moved["version"], moved["versions"]) == (2, [1, 2])


def test_updates_are_versions(target: Any, saved: dict[str, str]) -> None:
    target.create_deployment("line", saved["line"])
    assert target.update_deployment("line", saved["line"])["versions"] == [1]  # nothing has changed
    assert [item["name"] for item in target.list_deployments()] == ["line"]
    with pytest.raises(error(), match="needs a model URI"):
        target.update_deployment("line")
    with pytest.raises(error(), match="'nothing'") as caught:
        target.update_deployment("nothing", saved["line"])
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Line", {}, "cannot be the name"),
        ("line", {"flavor": "sklearn"}, "imported by its flavor onnx, not 'sklearn'"),
        ("line", {"config": {"replicas": "2"}}, "no option 'replicas' of create"),
        ("line", {"config": {"trust": "yes"}}, "'trust' must be true or false"),
    ],
)
def test_what_cannot_be_created(target: Any, saved: dict[str, str], name: str, options: Any, words: str) -> None:
    with pytest.raises(error(), match=words):
        target.create_deployment(name, saved["line"], **options)
    assert target.list_deployments() == []


def test_a_model_of_another_flavor_is_refused_with_what_to_do(target: Any, tmp_path: Path) -> None:
    folder = tmp_path / "keras"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors:\n  keras:\n    data: data\n")
    with pytest.raises(error(), match=r"its flavor is keras.*convert it to ONNX"):
        target.create_deployment("net", str(folder))


def test_what_this_target_does_not_do_says_what_does_it(target: Any) -> None:
    for call, words in {
        lambda: target.explain("line", FRAME): "explanations are not there yet",
        lambda: target.predict_stream("line", {}): "application/x-ndjson",
        lambda: target.create_endpoint("mine"): "modelyard serve",
        lambda: target.update_endpoint("http://x"): "modelyard serve",
        lambda: target.delete_endpoint("http://x"): "stop its process",
        lambda: target.predict(inputs=[[1]]): "say which deployment",
    }.items():
        with pytest.raises(error(), match=words):
            call()
    assert target.list_endpoints() == []


def test_help_names_every_option(target: Any) -> None:
    from modelyard.client import _deploy

    text = flow("modelyard.client.mlflow").target_help()
    assert [name for names in _deploy._OPTIONS.values() for name in names if name not in text] == []
