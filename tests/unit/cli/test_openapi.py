"""``modelyard openapi``: on standard output, into a file, and refused."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from openapi_spec_validator import validate

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from tests.models import linear_bundle


def test_the_document_is_printed_and_written(home: Home, tmp_path: Path) -> None:
    publish(home, linear_bundle())
    environ = {"MODELYARD_HOME": str(home.settings.home)}
    printed = CliRunner().invoke(root, ["openapi", "linear", "--contracts", "v2"], env=environ)
    assert printed.exit_code == 0
    document = json.loads(printed.output)
    validate(document)
    assert "/v2/models/linear/infer" in document["paths"]
    assert "/models/linear/predict" not in document["paths"]
    target = tmp_path / "api.json"
    said = CliRunner().invoke(root, ["openapi", "--contracts", "v2", "-o", str(target)], env=environ)
    assert said.exit_code == 0
    assert f"{len(document['paths'])} addresses" in said.output
    assert json.loads(target.read_text()) == document


def test_a_platforms_environment_is_heard(home: Home) -> None:
    publish(home, linear_bundle())
    environ = {"MODELYARD_HOME": str(home.settings.home)}
    told = {"AIP_PREDICT_ROUTE": "/here", "AIP_HEALTH_ROUTE": "/well", "AIP_HTTP_PORT": "8080"}
    for obj, there in ((told, True), ({}, False)):
        done = CliRunner().invoke(root, ["openapi"], env=environ, obj=obj)
        assert ("/here" in json.loads(done.output)["paths"]) == there


def test_no_such_model(home: Home) -> None:
    done = CliRunner().invoke(root, ["openapi", "nobody"], env={"MODELYARD_HOME": str(home.settings.home)})
    assert done.exit_code == 3
    assert "nobody" in done.output
