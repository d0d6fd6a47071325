"""The OpenAPI document: every address of every contract, by every version; one model's part of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from modelyard.serve.http.contracts import CONTRACTS
from modelyard.watch.counters import Page
from tests.models import count_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, served

#: What a page is made of.
NOT_AN_API = {"/docs", "/docs.css", "/docs.js"}
#: Regions of memory that this server never has; NVIDIA's clients ask for them, nobody writes a program for them.
CANNOT = b"cannot classify"  # a model that gives no probabilities, for example
NEVER_THERE = re.compile("/v2/(system|cuda)sharedmemory/")


def desk(run: Path, *, several: bool, contracts: tuple[str, ...] = tuple(CONTRACTS)) -> Desk:
    page = Page(run, 0)
    models = [served(page, linear_bundle(), linear_bundle(slope=3.0), aliases={"canary": 1, "latest": 2})]
    if several:
        models.append(served(page, linear_bundle(), mixed_bundle(), count_bundle(), name="odd", aliases={"old": 1}))
    return Desk(run, *models, page=page, contracts=contracts)


def addresses(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Every (method, address) of the document, parameters filled in."""
    found = set()
    for path, item in document["paths"].items():
        filled = [path]
        for parameter in item.get("parameters", []):
            mark = f"{{{parameter['name']}}}"
            filled = [each.replace(mark, value) for each in filled for value in parameter["schema"]["enum"]]
        found |= {(method.upper(), each) for each in filled for method in item.keys() - {"parameters"}}
    return found


def routed(desk: Desk) -> set[tuple[str, str]]:
    """Every (method, address) of the router's own table."""
    table = desk.routes._table.items()
    return {
        (method.decode(), path.decode()) for path, route in table for method in route.handlers if method != b"OPTIONS"
    }


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_address_is_documented_and_nothing_else(contract: str, tmp_path: Path) -> None:
    asked = desk(tmp_path, several=False, contracts=(contract,))
    document = asked.ask("GET", "/openapi.json").json
    validate(document)
    assert addresses(document) <= routed(asked)
    for method, path in routed(asked) - addresses(document):
        if path not in NOT_AN_API and not NEVER_THERE.match(path):
            answer = asked.ask(method, path)
            refused = answer.status in {404, 501} or (answer.status == 400 and CANNOT in answer.body)
            assert refused, f"{method} {path} is there, and not documented"


@pytest.mark.parametrize("contract", CONTRACTS)
def test_with_several_models_what_is_documented_is_there(contract: str, tmp_path: Path) -> None:
    asked = desk(tmp_path, several=True, contracts=(contract,))
    document = asked.ask("GET", "/openapi.json").json
    validate(document)
    assert addresses(document) <= routed(asked)


def test_versions_that_are_asked_alike_share_their_words(tmp_path: Path) -> None:
    paths = desk(tmp_path, several=True).ask("GET", "/openapi.json").json["paths"]
    shared = paths["/models/linear/versions/{version}/predict"]
    assert shared["parameters"][0]["schema"]["enum"] == ["1", "2"]
    for version, name in (("1", "Odd.v1Row"), ("2", "Odd.v2Row")):
        content = paths[f"/models/odd/versions/{version}/predict"]["post"]["requestBody"]["content"]
        assert content["application/json"]["schema"]["anyOf"][0]["$ref"].endswith(name)
    content = paths["/models/odd/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"]["anyOf"][0]["$ref"].endswith("/OddRow")
    assert "/models/odd@old/predict" in paths


def test_one_models_part(tmp_path: Path) -> None:
    asked = desk(tmp_path, several=True)
    document = asked.ask("GET", "/models/odd/openapi.json").json
    validate(document)
    assert document["paths"]
    assert all(re.search(r"\bodd\b", path) for path in document["paths"])
    assert not [name for name in document["components"]["schemas"] if name.startswith("Linear")]
    whole = asked.ask("GET", "/openapi.json").json
    assert document["paths"].items() <= whole["paths"].items()
    assert document["components"]["schemas"].items() <= whole["components"]["schemas"].items()


@pytest.mark.parametrize("name", ["nobody", "odd@old"])
def test_nobody_has_no_document(tmp_path: Path, name: str) -> None:
    assert desk(tmp_path, several=True).ask("GET", f"/models/{name}/openapi.json").status == 404
