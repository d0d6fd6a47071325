"""The documents: valid OpenAPI, a page with nothing from elsewhere, and no way to smuggle markup in."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from modelyard.core.errors import CorruptBundle
from modelyard.core.manifest import MODEL, SAMPLES
from modelyard.core.signature import Feature, FeatureKind
from modelyard.model.bundle import Bundle, seal
from modelyard.model.golden import record
from modelyard.model.runtime import load
from modelyard.serve.http import pages
from modelyard.watch.counters import Page
from tests.models import count_bundle, image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, served

EVIL = "</td><script>alert(1)</script>\"'&{x}"


def evil() -> Bundle:
    """A model whose every word is an attack."""
    bundle = mixed_bundle()
    species = Feature(name=EVIL, kind=FeatureKind.CATEGORY, categories=(EVIL, "b"), unit=EVIL, description=EVIL)
    inputs = (
        msgspec.structs.replace(
            bundle.manifest.signature.inputs[0], name=EVIL, features=(species,), graph_name="species"
        ),
        *bundle.manifest.signature.inputs[1:],
    )
    signature = msgspec.structs.replace(bundle.manifest.signature, inputs=inputs)
    bare = seal(msgspec.structs.replace(bundle.manifest, signature=signature), {MODEL: bundle.files[MODEL]})
    samples = record(load(bare), [{EVIL: EVIL, "length": 1.0, "mass": None}])
    return seal(bare.manifest, {**bare.files, SAMPLES: msgspec.json.encode(samples)})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    page = Page(tmp_path, 0)
    models = [served(page, bundle) for bundle in (linear_bundle(), mixed_bundle(), image_bundle(), count_bundle())]
    return Desk(tmp_path, *models, served(page, evil(), name="evil"), page=page)


class Markup(HTMLParser):
    """Tags, and the addresses they load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_openapi_document_is_valid(desk: Desk) -> None:
    document = desk.ask("GET", "/openapi.json").json
    validate(document)
    example = document["paths"]["/models/image/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    assert example["example"] == {"prediction": [{"mean": 5.5, "peak": [[11.0]]}]}


def test_every_example_fits_and_its_answer_is_true(desk: Desk) -> None:
    document = desk.ask("GET", "/openapi.json").json
    asked = 0
    for address, item in document["paths"].items():
        path = address
        for parameter in item.get("parameters", []):
            path = path.replace(f"{{{parameter['name']}}}", parameter["schema"]["enum"][0])
        body = item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" not in body:
            continue
        answer = desk.ask("POST", path, body["example"], content_type="application/json")
        assert answer.status == 200
        told = item["post"]["responses"]["200"]["content"]["application/json"]
        for schema, value in ((body, body["example"]), (told, answer.json)):
            Draft202012Validator({**schema["schema"], "components": document["components"]}).validate(value)
        example = told.get("example", {})
        assert {key: answer.json[key] for key in example} == example
        asked += bool(example)
    assert asked >= 5 * 4  # every model, in four contracts at least


def test_the_page_loads_nothing_from_elsewhere(desk: Desk) -> None:
    answer = desk.ask("GET", "/docs")
    page = Markup(answer.body.decode())
    assert page.tags.count("script") == 1
    assert all(address.startswith(("/", "#")) and not address.startswith("//") for address in page.loads)
    for address in set(page.loads) - {place for place in page.loads if place.startswith("#")}:
        assert desk.ask("GET", address).status in {200, 503}
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_way_to_ask_is_listed_by_model(desk: Desk) -> None:
    text = desk.ask("GET", "/docs").body.decode()
    section = text[text.index('<section id="mixed"') : text.index("</section>", text.index('<section id="mixed"'))]
    ways = section[section.index("<details") :]
    asked = re.findall(r"<tr><td><code>([^<]*)</code>", ways)
    assert asked == [
        "/models/mixed/predict",
        "/v2/models/mixed/infer",
        "/v1/models/mixed:predict",
        "/v1/models/mixed:classify",
        "/models/mixed/invocations",
    ]
    assert "application/" not in ways, "media types go by the names that people use"
    assert 'href="/models/mixed/openapi.json"' in ways


def test_words_of_a_model_are_words(desk: Desk) -> None:
    text = desk.ask("GET", "/docs").body.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert len(re.findall("<section ", text)) == 5


def test_ids_are_unique_and_every_model_has_its_place(desk: Desk) -> None:
    page = Markup(desk.ask("GET", "/docs").body.decode())
    assert len(page.ids) == len(set(page.ids))
    assert {"linear", "mixed", "image", "count", "evil"} <= set(page.ids)
    assert {f"#{name}" for name in ("linear", "evil")} <= set(page.loads)


def test_without_models_there_is_a_page_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.ask("GET", "/docs").status == 200
    validate(desk.ask("GET", "/openapi.json").json)


@pytest.mark.parametrize(("path", "kind"), [("/docs.css", "text/css"), ("/docs.js", "text/javascript")])
def test_style_and_script_are_served(desk: Desk, path: str, kind: str) -> None:
    answer = desk.ask("GET", path)
    assert answer.headers["content-type"].startswith(kind)
    assert b"http://" not in answer.body.replace(b"http://www.w3.org", b"")
    assert b"https://" not in answer.body


@pytest.mark.parametrize("error", [CorruptBundle(bundle="x", what="it is gone"), ValueError("a mistake of ours")])
def test_a_document_that_cannot_be_made_is_an_error(desk: Desk, error: Exception, monkeypatch: Any) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(pages, "specification", broken)
    for path in ("/openapi.json", "/docs", "/models/mixed/openapi.json"):
        answer = desk.ask("GET", path)
        assert answer.status == (400 if isinstance(error, CorruptBundle) else 500)
        assert "mistake of ours" not in answer.body.decode()
    monkeypatch.undo()
    assert desk.ask("GET", "/openapi.json").status == 200  # it is tried again


def test_a_document_is_made_once(desk: Desk, monkeypatch: Any) -> None:
    first = desk.ask("GET", "/models/mixed/openapi.json").body
    monkeypatch.setattr(pages, "specification", None)
    assert desk.ask("GET", "/models/mixed/openapi.json").body == first
