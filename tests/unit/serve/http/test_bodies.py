"""What is read and what is answered, by the headers alone; against a real model."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.serve.http.bodies import Bodies
from modelyard.serve.http.forms import FORMS, OFFERED
from tests.models import image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Answer, Desk, served
from tests.unit.serve.http.forms.bodies import WRITERS, npy

MIXED = mixed_bundle()
SIGNATURE, ROWS = MIXED.manifest.signature, MIXED.samples.rows
TABULAR = [media for media in WRITERS if media != "application/x-npy"]
WORDS = ["small", "big", "small"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.serve(
        served(desk.page, MIXED),
        served(desk.page, image_bundle()),
        served(desk.page, linear_bundle(features=("a", "b"))),
    )
    return desk


def rows_in(answer: Answer) -> list[dict[str, Any]]:
    """The rows of an answer in any form, by the library that its clients use."""
    kind = answer.headers["content-type"].partition(";")[0]
    body = answer.body
    if kind == "text/csv":
        return list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    if kind == "application/xml":
        return [{str(item.get("name")): item.text for item in row} for row in ElementTree.fromstring(body)]
    if kind == "application/x-npy":
        return [{"prediction": item} for item in np.load(io.BytesIO(body)).tolist()]
    if "apache" in kind:
        open_it = {"parquet": lambda raw: pq.read_table(pa.py_buffer(raw))}.get(
            kind.rpartition(".")[2],
            lambda raw: (pa.ipc.open_file if kind.endswith("file") else pa.ipc.open_stream)(raw).read_all(),
        )
        found: list[dict[str, Any]] = open_it(body).to_pylist()
        return found
    document = msgspec.msgpack.decode(body) if "msgpack" in kind else answer.json
    return [{"prediction": item} for item in document["prediction"]]


@pytest.mark.parametrize("accept", OFFERED)
@pytest.mark.parametrize("sent", TABULAR)
def test_every_question_is_answered_in_every_form(desk: Desk, sent: str, accept: str) -> None:
    body = WRITERS[sent](SIGNATURE, ROWS)
    answer = desk.ask("POST", "/models/mixed/predict", body, content_type=sent, accept=accept)
    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == accept
    assert answer.headers["modelyard-model"] == "mixed@1"
    assert [row["prediction"] for row in rows_in(answer)] == WORDS


@pytest.mark.parametrize("accept", [None, "*/*"])
@pytest.mark.parametrize("sent", [*TABULAR, "application/json", "text/xml", "application/msgpack", "text/plain"])
def test_who_does_not_say_gets_the_form_of_the_question(desk: Desk, sent: str, accept: str | None) -> None:
    write = WRITERS.get(
        {"text/xml": "application/xml", "application/msgpack": "application/vnd.msgpack"}.get(sent, sent)
    )
    body: Any = write(SIGNATURE, ROWS) if write else ROWS
    headers = {"accept": accept} if accept else {}
    answer = desk.ask("POST", "/models/mixed/predict", body, content_type=sent, **headers)
    told = answer.headers["content-type"].partition(";")[0]
    assert told == ("application/json" if sent == "text/plain" else sent)


def test_details_in_every_form_that_holds_them(desk: Desk) -> None:
    for accept in OFFERED:
        answer = desk.ask("POST", "/models/mixed/predict?detail=full", ROWS, accept=accept)
        if accept == "application/x-npy":
            assert (answer.status, answer.json["code"]) == (406, "NOT-ACCEPTABLE")
        elif accept in {"application/json", "application/vnd.msgpack"}:
            document = answer.json if accept == "application/json" else msgspec.msgpack.decode(answer.body)
            assert (document["model"], document["version"]) == ("mixed", 1)
            assert document["probabilities"][0]["small"] == pytest.approx(0.6224, abs=1e-4)
        else:
            first = rows_in(answer)[0]
            assert list(first) == ["prediction", "probability_small", "probability_big"]
            assert float(first["probability_small"]) == pytest.approx(0.6224, abs=1e-4)
    both = desk.ask(
        "POST", "/models/mixed/predict?detail=full", ROWS, accept="application/x-npy, application/json;q=0.1"
    )
    assert both.headers["content-type"] == "application/json"


def test_one_array_in_and_out(desk: Desk) -> None:
    answer = desk.ask(
        "POST", "/models/linear/predict", npy(np.array([[1, 2], [3, 4]])), content_type="application/x-npy"
    )
    assert np.load(io.BytesIO(answer.body)).tolist() == [6.0, 14.0]
    pictures = npy(np.zeros((2, 3, 4), dtype="f4"))
    answer = desk.ask("POST", "/models/image/predict", pictures, content_type="application/x-npy")
    assert answer.headers["content-type"] == "application/json"  # two outputs are no one array
    assert len(answer.json["prediction"]) == 2


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/html", "x"])
def test_a_form_that_nobody_has_is_406(desk: Desk, accept: str) -> None:
    answer = desk.ask("POST", "/models/linear/predict", {"a": 1, "b": 2}, accept=accept)
    assert (answer.status, answer.json["status"], answer.json["code"]) == (406, 406, "NOT-ACCEPTABLE")
    assert "text/csv" in answer.json["hint"]


def test_a_type_that_nobody_reads_is_415(desk: Desk) -> None:
    answer = desk.ask("POST", "/models/linear/predict", {"a": 1, "b": 2}, content_type="image/png")
    assert (answer.status, answer.json["code"]) == (415, "UNSUPPORTED")
    assert "application/xml" in answer.json["hint"]
    for kind in ("text/csv; charset=latin-1", "application/xml; charset=utf-16"):
        assert desk.ask("POST", "/models/linear/predict", b"a,b\n1,2\n", content_type=kind).status == 415
    for kind in ("text/csv", "application/xml"):
        answer = desk.ask("POST", "/models/image/predict", b"image\n1\n", content_type=kind, accept="application/json")
        assert answer.status == 415


def test_a_library_that_is_not_installed_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "modelyard.serve.http.forms.columnar", raising=False)
    parquet = "application/vnd.apache.parquet"
    answer = desk.ask("POST", "/models/linear/predict", b"PAR1", content_type=parquet)
    assert (answer.status, answer.json["hint"]) == (415, 'pip install "modelyard[arrow]"')
    answer = desk.ask("POST", "/models/linear/predict", {"a": 1, "b": 2}, accept=parquet)
    assert (answer.status, answer.json["hint"]) == (406, 'pip install "modelyard[arrow]"')
    answer = desk.ask("POST", "/models/linear/predict", {"a": 1, "b": 2}, accept=f"{parquet}, text/csv;q=0.5")
    assert answer.headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize(
    ("query", "kind"),
    [("?header=absent", "text/csv"), ("", "text/csv; header=absent"), ("?header=absent", "text/csv;header=present")],
)
def test_a_csv_without_a_header(desk: Desk, query: str, kind: str) -> None:
    answer = desk.ask("POST", f"/models/linear/predict{query}", b"1,2\r\n3,4\r\n", content_type=kind)
    assert answer.body == b"prediction\r\n6.0\r\n14.0\r\n"


@pytest.mark.parametrize(
    "query", ["detail=half", "details=full", "detail=full&detail=full", "header=absent", "header=none", "&", "detail"]
)
def test_parameters_that_mean_nothing_are_refused(desk: Desk, query: str) -> None:
    answer = desk.ask("POST", f"/models/linear/predict?{query}", {"a": 1, "b": 2})
    assert (answer.status, answer.json["code"]) == (400, "REQUEST-INVALID")


def test_clients_of_xml_are_told_errors_in_xml(desk: Desk) -> None:
    body = b"<rows><row><field name='a'>1</field><field name='c'>2</field></row></rows>"
    answer = desk.ask("POST", "/models/linear/predict", body, content_type="application/xml")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+xml")
    root = ElementTree.fromstring(answer.body)
    assert root.findtext("{urn:ietf:rfc:7807}code") == "INPUT-UNKNOWN-FIELD"
    answer = desk.ask("POST", "/models/linear/predict", body, content_type="application/xml", accept="application/json")
    assert answer.headers["content-type"] == "application/problem+json"
    answer = desk.ask("GET", "/models/linear/predict", accept="text/xml")
    assert (answer.status, answer.headers["content-type"]) == (405, "application/problem+xml")


def test_an_empty_body_is_said_to_be_empty(desk: Desk) -> None:
    for media in OFFERED:
        answer = desk.ask("POST", "/models/linear/predict", b"", content_type=media, accept="application/json")
        assert answer.json["detail"] == "the body is empty"


def test_what_headers_say_is_kept_within_bounds(desk: Desk) -> None:
    codec = Bodies(desk.plane.roster.models["linear"].version(), None)  # type: ignore[arg-type]  # it is not asked
    for at in range(1_000):
        codec._found((b"text/csv", b"text/csv;x=%d" % at, b""))
    assert len(codec._ways) <= 256


def test_openapi_tells_every_form_and_its_examples_are_true(desk: Desk) -> None:
    paths = desk.ask("GET", "/openapi.json").json["paths"]
    mixed = paths["/models/mixed/predict"]["post"]
    content = mixed["requestBody"]["content"]
    assert set(content) == set(OFFERED) - {"application/x-npy"}
    told = mixed["responses"]["200"]["content"]
    assert set(told) == set(OFFERED)
    for media in ("text/csv", "application/xml"):
        answer = desk.ask("POST", "/models/mixed/predict", content[media]["example"].encode(), content_type=media)
        assert answer.body.decode() == told[media]["example"]
    image = paths["/models/image/predict"]["post"]
    assert {"text/csv", "application/xml"}.isdisjoint(image["requestBody"]["content"])
    assert "application/x-npy" in image["requestBody"]["content"]
    assert "application/x-npy" not in image["responses"]["200"]["content"]
    assert {media.encode() for media in OFFERED} <= set(FORMS)
