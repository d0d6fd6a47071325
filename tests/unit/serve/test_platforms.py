"""What environments say: which platform, by which variable, and what nobody heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.serve.http.contracts import CONTRACTS
from modelyard.serve.platforms import PLATFORMS, Told, artifacts, multi_model, seconds, told


def test_nothing_said_is_nothing_changed() -> None:
    assert told({"PATH": "/bin", "SERVER_PORT": "1", "WORKER_COUNT": "x"}) == Told()


@pytest.mark.parametrize("name", PLATFORMS)
def test_each_variable_that_chooses_does(name: str) -> None:
    for variable in PLATFORMS[name].choosing:
        found = told({variable: "7"})
        assert found.contracts == (name,)
        assert found.reasons == (f"{PLATFORMS[name].name} is spoken, because {variable} is set",)


def test_platforms_are_contracts() -> None:
    assert set(PLATFORMS) <= set(CONTRACTS)


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_variable_has_a_meaning_or_a_reason_but_not_both(name: str) -> None:
    platform = PLATFORMS[name]
    assert not platform.meant.keys() & platform.unmeant.keys()
    assert set(platform.choosing) <= platform.meant.keys() | platform.unmeant.keys()


def test_sagemaker_says_port_workers_and_size() -> None:
    found = told(
        {
            "SAGEMAKER_BIND_TO_PORT": "8123",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6",
            "SAGEMAKER_MULTI_MODEL": "True",
        }
    )
    assert (found.port, found.workers, found.body_mb, found.multi_model) == (8123, 3, 6, True)
    assert told({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}).body_mb is None


def test_azure_has_a_port_of_its_own_unless_the_operator_named_the_contract() -> None:
    assert told({"AZUREML_MODEL_DIR": "/m"}).port == 5001
    assert told({"AZUREML_MODEL_DIR": "/m", "SERVER_PORT": "31311"}).port == 31311
    assert told({}, ["azureml"]).port is None
    assert told({"SERVER_PORT": "31311"}, ["azureml"]).port == 31311


def test_named_contracts_are_all_that_is_looked_at() -> None:
    environ = {"SAGEMAKER_BIND_TO_PORT": "8123", "AIP_HTTP_PORT": "8124"}
    assert told(environ, ["v2"]) == Told()
    assert told(environ, ["v2", "vertex"]).port == 8124
    assert told(environ, ["vertex"]).contracts == ()


def test_what_platforms_cannot_agree_on_is_asked_of_the_operator() -> None:
    environ = {"SAGEMAKER_BIND_TO_PORT": "8123", "AIP_HTTP_PORT": "8124"}
    with pytest.raises(Conflict, match="SAGEMAKER_BIND_TO_PORT says 8123, AIP_HTTP_PORT says 8124"):
        told(environ)
    with pytest.raises(Conflict, match="the default of Azure ML says 5001"):
        told({"AIP_HTTP_PORT": "8124", "AML_APP_ROOT": "/"}, None)
    assert told(environ, given=["port"]).port is None
    assert told(environ | {"AIP_HTTP_PORT": "8123"}).port == 8123


@pytest.mark.parametrize("text", ["x", "-1", "0", "65536", "1e3", "9" * 5000, "8_0", "٣"])
def test_a_port_is_a_number(text: str) -> None:
    with pytest.raises(InvalidRequest, match="SAGEMAKER_BIND_TO_PORT"):
        told({"SAGEMAKER_BIND_TO_PORT": text})


def test_what_means_nothing_is_named_and_what_only_informs_is_not() -> None:
    found = told(
        {
            "AIP_HTTP_PORT": "8080",
            "AIP_STORAGE_URI": "gs://x",
            "AIP_ENDPOINT_ID": "1",
            "AIP_NEWS": "1",
            "SAGEMAKER_REGION": "x",
        }
    )
    assert found.unheard == (
        "AIP_NEWS is not known, and means nothing here",
        "AIP_STORAGE_URI means nothing here: nothing is fetched: models come from MODELYARD_HOME",
    )


def test_times_and_marks() -> None:
    assert seconds({}, "SCORING_TIMEOUT_MS", 1e-3) == float("inf")
    assert seconds({"SCORING_TIMEOUT_MS": "250"}, "SCORING_TIMEOUT_MS", 1e-3) == 0.25
    with pytest.raises(InvalidRequest):
        seconds({"SCORING_TIMEOUT_MS": "soon"}, "SCORING_TIMEOUT_MS")
    assert not multi_model({"SAGEMAKER_MULTI_MODEL": "1"})


def test_where_models_are_laid_down() -> None:
    sagemaker = {"SAGEMAKER_BIND_TO_PORT": "8080"}
    assert artifacts({}) == []
    assert artifacts(sagemaker) == [("SageMaker", Path("/opt/ml/model"))]
    assert artifacts({**sagemaker, "SAGEMAKER_BASE_DIR": "/x"}) == [("SageMaker", Path("/x/model"))]
    assert artifacts({**sagemaker, "SAGEMAKER_MULTI_MODEL": "true"}) == []
    assert artifacts({"AZUREML_MODEL_DIR": "/m/1"}) == [("Azure ML", Path("/m/1"))]
    assert artifacts({"AML_APP_ROOT": "/app"}) == []
