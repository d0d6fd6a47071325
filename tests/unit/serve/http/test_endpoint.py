"""One version's two contracts: bodies, types, heads, counts."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.errors import NotAcceptable
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.plan import Limits
from modelyard.core.tensor import Arrays
from modelyard.serve.http.bodies import Bodies
from modelyard.serve.http.endpoint import LARGE_BYTES, SLOW_BYTES
from modelyard.serve.http.forms.rows import RowForm
from modelyard.serve.http.protocol import Server
from modelyard.watch.counters import Page, read_totals
from tests.models import linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, in_thread, served
from tests.unit.serve.http.test_protocol import Transport

INFER = {"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP64", "data": [3]}]}
ROW = {"species": "gentoo", "length": 5.5, "mass": None}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    page = Page(tmp_path, 0)
    return Desk(tmp_path, served(page, linear_bundle()), served(page, mixed_bundle()), page=page)


def test_the_founding_example(desk: Desk) -> None:
    answer = desk.ask("POST", "/models/linear/predict", b'{"feature": 3}', content_type="application/json")
    assert (answer.status, answer.body) == (200, b'{"prediction": [6.0]}')
    assert answer.headers["modelyard-model"] == "linear@1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.x+json",
        "text/plain",
        "application/x-www-form-urlencoded",
    ],
)
def test_types_that_are_json(desk: Desk, kind: str) -> None:
    assert desk.ask("POST", "/models/linear/predict", {"feature": 3}, content_type=kind).status == 200


@pytest.mark.parametrize("kind", ["text/html", "image/png", "multipart/form-data", "json", ""])
def test_types_that_are_not(desk: Desk, kind: str) -> None:
    answer = desk.ask("POST", "/models/linear/predict", {"feature": 3}, content_type=kind)
    assert (answer.status, answer.json["code"]) == (415, "UNSUPPORTED")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("path", "status"), [("/models/linear/predict", 415), ("/v2/models/linear/infer", 501)])
def test_an_unknown_encoding_is_refused(desk: Desk, path: str, status: int) -> None:
    assert desk.ask("POST", path, b"\x1f\x8b", content_encoding="br").status == status
    assert desk.ask("POST", path, b"", content_encoding="identity").status == 400


def test_details_on_demand(desk: Desk) -> None:
    answer = desk.ask("POST", "/models/mixed/predict?detail=full", ROW).json
    assert answer["prediction"] == ["big"]
    assert (answer["model"], answer["version"]) == ("mixed", 1)
    assert answer["probabilities"][0]["big"] == pytest.approx(0.970688)
    for query in ("detail=half", "detail=full&x=1", "x"):
        assert desk.ask("POST", f"/models/mixed/predict?{query}", ROW).json["code"] == "REQUEST-INVALID"


def test_a_refusal_says_what_why_and_what_to_do(desk: Desk) -> None:
    answer = desk.ask("POST", "/models/mixed/predict", {**ROW, "species": "gento"}, x_request_id="abc-1")
    assert answer.status == 400
    assert answer.json == {
        "type": "invalid",
        "title": "The input does not fit the model's signature",
        "status": 400,
        "detail": "input 'species' does not know the category 'gento'; it knows: adelie, chinstrap, gentoo",
        "instance": "abc-1",
        "code": "INPUT-UNKNOWN-CATEGORY",
        "cause": "did you mean 'gentoo'?",
        "hint": "see what the model expects: modelyard model show mixed@1",
        "facts": {
            "field": "species",
            "got": "gento",
            "known": ["adelie", "chinstrap", "gentoo"],
            "where": "",
            "model": "mixed@1",
        },
    }
    assert answer.headers["x-request-id"] == "abc-1"


def test_tensors_in_json(desk: Desk) -> None:
    answer = desk.ask("POST", "/v2/models/linear/infer", {**INFER, "id": "7"})
    assert answer.json == {
        "model_name": "linear",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "prediction", "datatype": "FP64", "shape": [1], "data": [6.0]}],
    }


def test_tensors_in_bytes(desk: Desk) -> None:
    text = json.dumps(
        {
            "inputs": [{"name": "input", "shape": [2, 1], "datatype": "FP64", "parameters": {"binary_data_size": 16}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    body = text + np.array([3.0, 4.0]).tobytes()
    answer = desk.ask("POST", "/v2/models/linear/infer", body, inference_header_content_length=str(len(text)))
    at = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert np.frombuffer(answer.body[at:]).tolist() == [6.0, 8.0]
    assert json.loads(answer.body[:at])["outputs"][0]["parameters"] == {"binary_data_size": 16}


@pytest.mark.parametrize("length", ["x", "99999", "9" * 4_000, "-1"])
def test_a_broken_header_length(desk: Desk, length: str) -> None:
    answer = desk.ask("POST", "/v2/models/linear/infer", INFER, inference_header_content_length=length)
    assert answer.status == 400
    assert set(answer.json) == {"error"}


def test_the_v2_contract_has_its_own_refusals(desk: Desk) -> None:
    answer = desk.ask("POST", "/v2/models/linear/infer", {"inputs": []})
    assert (answer.status, answer.json) == (400, {"error": "missing input input"})


@pytest.mark.parametrize("body", [b"", b"\xff", b'{"feature": "\xff"}', b"[]", b"{}", b"[" * 100_000])
@pytest.mark.parametrize("path", ["/models/linear/predict", "/v2/models/linear/infer"])
def test_no_body_is_an_error_of_ours(desk: Desk, body: bytes, path: str) -> None:
    assert desk.ask("POST", path, body).status == 400


@pytest.mark.parametrize("threaded", [False, True])
def test_requests_are_counted(tmp_path: Path, *, threaded: bool) -> None:
    page = Page(tmp_path, 0)
    model = served(page, linear_bundle())
    if threaded:
        in_thread(model.version())
    desk = Desk(tmp_path, model, page=page)
    for body, status in ((b'[{"feature": 1}, {"feature": 2}]', 200), (b'{"feature": "x"}', 400), (b"", 400)):
        assert desk.ask("POST", "/predict", body).status == status
    assert desk.ask("POST", "/v2/models/linear/infer", INFER).status == 200
    found = read_totals(tmp_path)["linear@1"]
    assert (found.ok, found.rows, found.invalid, found.failed) == (2, 3, 2, 0)
    assert sum(found.buckets) == 2


def test_what_was_run_and_cannot_be_written_is_a_refusal_and_no_answer(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(codec: Bodies, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        raise NotAcceptable(accept="x", known=["y"])

    with monkeypatch.context() as patched:
        patched.setattr(Bodies, "encode", refuse)
        assert desk.ask("POST", "/models/linear/predict", {"feature": 3}).status == 406
    found = read_totals(tmp_path)["linear@1"]
    assert (found.ok, found.rows, found.calls, found.invalid + found.failed) == (0, 0, 1, 1)
    assert (found.seconds, sum(found.buckets)) == (0.0, 0)
    assert desk.ask("POST", "/models/linear/predict", {"feature": 3}).status == 200
    assert read_totals(tmp_path)["linear@1"].ok == 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_body_is_read_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, packed: bool) -> None:
    """It is answered, or refused, as any other, and not read on the event loop."""
    threads: list[str] = []
    read = RowForm.decode

    def noted(form: RowForm, body: bytes) -> Arrays:
        threads.append(threading.current_thread().name)
        return read(form, body)

    monkeypatch.setattr(RowForm, "decode", noted)
    page = Page(tmp_path, 0)
    desk = Desk(tmp_path, served(page, linear_bundle()), page=page)
    rows = 40_000
    told: dict[str, str] = {"content_encoding": "gzip"} if packed else {}
    for row, status in ((b'{"feature": %d}', 200), (b'{"featuer": %d}', 400)):
        body = b"[" + b",".join(row % (at * 7919) for at in range(rows)) + b"]"
        assert len(body) > LARGE_BYTES
        body = gzip.compress(body) if packed else body
        assert len(body) > SLOW_BYTES
        answer = desk.ask("POST", "/predict", body, **told)
        assert answer.status == status
        if status == 200:
            assert answer.json["prediction"] == [2.0 * at * 7919 for at in range(rows)]
    assert desk.ask("POST", "/predict", b'{"feature": 1}').json == {"prediction": [2.0]}
    assert [name == threading.main_thread().name for name in threads] == [False, False, True]
    found = read_totals(tmp_path)["linear@1"]
    assert (found.ok, found.invalid, found.failed) == (2, 1, 0)


@pytest.mark.parametrize("where", ["queue", "thread"])
def test_who_leaves_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """In the model's queue, or while a thread still reads the body: nothing is run for a client that has gone."""
    model = served(Page(tmp_path, 0), linear_bundle())
    replica, desk = model.version(), Desk(tmp_path, model)
    in_thread(replica)
    calls: list[int] = []
    run, gate = replica._runner.run, threading.Event()
    monkeypatch.setattr(replica._runner, "run", lambda arrays: calls.append(len(arrays[0])) or run(arrays))
    decode = RowForm.decode
    monkeypatch.setattr(RowForm, "decode", lambda form, body: (gate.wait(10), decode(form, body))[1])
    body = b'{"feature": 3}'
    if where == "thread":
        body = gzip.compress(json.dumps([{"feature": number} for number in range(40_000)]).encode(), 1)
        assert len(body) > SLOW_BYTES
    else:
        gate.set()
    extra = b"content-encoding: gzip\r\n" if where == "thread" else b""
    head = b"POST /models/linear/predict HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n" % (extra, len(body))

    async def story() -> None:
        server = Server(Limits(), desk.routes)
        transport, connection = Transport(), server()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(head + body)
        connection.connection_lost(None)
        gate.set()
        await asyncio.sleep(0.2)
        assert replica.waiting == 0
        assert transport.sent == b""

    asyncio.run(story())
    assert calls == []
