"""The document without a server: as a server has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.control.actions import aliases
from modelyard.control.actions.home import Home
from modelyard.control.actions.openapi import openapi, write
from modelyard.control.actions.publish import publish
from modelyard.core.errors import NotFound, Unavailable
from modelyard.core.reference import parse_reference
from modelyard.serve.http.contracts import chosen
from modelyard.watch.counters import Page
from tests.models import linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, served


@pytest.fixture
def filled(home: Home) -> Home:
    for bundle in (linear_bundle(), linear_bundle(slope=3.0), mixed_bundle()):
        publish(home, bundle)
    aliases.set_alias(home, parse_reference("linear@1"), "production")
    aliases.set_alias(home, parse_reference("linear@2"), "canary")
    return home


@pytest.mark.parametrize("spoken", ["", "all", "v2"])
def test_it_is_what_a_server_says(spoken: str, filled: Home, tmp_path: Path) -> None:
    page = Page(tmp_path, 0)
    linear = served(
        page, linear_bundle(), linear_bundle(slope=3.0), aliases={"canary": 2, "latest": 2, "production": 1}
    )
    models = [type(linear)(linear.name, 1, linear.versions, linear.aliases)]
    models.append(served(page, mixed_bundle(), aliases={"latest": 1}))
    desk = Desk(tmp_path, *models, page=page, contracts=chosen(spoken))
    assert json.loads(json.dumps(openapi(filled, (), spoken))) == desk.ask("GET", "/openapi.json").json


def test_one_model_of_several(filled: Home) -> None:
    paths = openapi(filled, ["mixed"])["paths"]
    assert "/models/mixed/predict" in paths
    assert "/predict" in paths
    assert not [path for path in paths if "linear" in path]


def test_what_is_not_there_is_named(filled: Home) -> None:
    with pytest.raises(NotFound, match="no contract 'x'"):
        openapi(filled, (), "v2,x")
    with pytest.raises(NotFound, match="no model 'nobody'"):
        openapi(filled, ["nobody"])


def test_nothing_to_describe(home: Home) -> None:
    with pytest.raises(NotFound) as caught:
        openapi(home)
    assert "train" in caught.value.hint


def test_it_is_written_whole(filled: Home, tmp_path: Path) -> None:
    document = openapi(filled)
    path = write(document, tmp_path / "api.json")
    assert json.loads(path.read_bytes()) == json.loads(json.dumps(document))
    with pytest.raises(Unavailable, match="cannot write 'api"):
        write(document, tmp_path / "nowhere" / "api.json")
