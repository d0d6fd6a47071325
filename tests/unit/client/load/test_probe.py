from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from modelyard.client.load.probe import example, settle
from modelyard.client.load.questions import Address
from modelyard.core.errors import InvalidRequest, NotFound, Timeout, Unavailable
from tests.unit.client.load.stand import RIGHT, Stand, http, question

ROW = {"requestBody": {"content": {"application/json": {"example": {"feature": 1.0}}}}}
ONE = {"/predict": {"post": ROW}, "/models/x/predict": {"post": ROW}, "/models/x": {"get": {}}}
TWO = {
    "/models/x/predict": {"post": ROW},
    "/models/y/predict": {"post": {}},
    "/models/x@{alias}/predict": {"post": ROW},
}


def _settle(stand: Stand, *golden: bytes, count: int = 1, check_body: bool = True):  # type: ignore[no-untyped-def]
    address = Address(stand.place, "/predict")
    asked = [question(stand.place, answer=b"")] * count
    return settle(address, asked, golden, timeout_s=0.5, check_body=check_body)


def test_the_first_answer_is_the_right_one() -> None:
    with Stand(lambda number: [http(b"[%d]" % max(0, number - 1), "201 Created")]) as stand:
        settled = _settle(stand, count=3)
        assert [(one.status, one.answer) for one in settled] == [(b"201", b"[0]"), (b"201", b"[1]"), (b"201", b"[2]")]


def test_the_golden_answer_is_right_where_the_server_differs() -> None:
    golden = b'{"prediction":[7.0]}'
    with Stand(lambda _: [http()]) as stand:
        assert _settle(stand, golden)[0].answer == golden
        near = b'{"prediction": [6.00001]}'
        assert _settle(stand, near)[0].answer == RIGHT


def test_refused_questions_are_the_askers_mistake() -> None:
    problem = json.dumps({"detail": "no input 'featur'"}).encode()
    with Stand(lambda _: [http(problem, "400 Bad Request")]) as stand, pytest.raises(InvalidRequest) as told:
        _settle(stand)
    assert "status 400" in told.value.detail
    assert told.value.cause == "no input 'featur'"


def test_answers_that_differ_each_time_cannot_be_checked() -> None:
    with Stand(lambda number: [http(b"[%d]" % number)]) as stand:
        with pytest.raises(InvalidRequest) as told:
            _settle(stand)
        assert told.value.hint.endswith("--check status")
        assert not _settle(stand, check_body=False)[0].check_body


@pytest.mark.parametrize(
    ("deeds", "kind"), [([2.0], Timeout), ([None], Unavailable), ([b"nonsense\r\n\r\n", None], Unavailable)]
)
def test_a_server_that_does_not_answer(deeds, kind) -> None:  # type: ignore[no-untyped-def]
    with Stand(lambda _: deeds) as stand, pytest.raises(kind):
        _settle(stand)


def test_a_server_that_is_not_there() -> None:
    with Stand(lambda _: []) as stand:
        pass
    with pytest.raises(Unavailable):
        _settle(stand)


def _documents(paths: object) -> Callable[[int], list[bytes]]:
    return lambda _: [http(json.dumps({"paths": paths}).encode())]


@pytest.mark.parametrize(
    ("paths", "given", "found"),
    [
        (ONE, "", "/predict"),
        (ONE, "/", "/predict"),
        (ONE, "/models/x", "/models/x/predict"),
        (ONE, "/models/x/predict?detail=full", "/models/x/predict?detail=full"),
        (TWO, "/models/x@canary/predict", "/models/x@canary/predict"),
    ],
)
def test_documents_say_where_and_what(paths: object, given: str, found: str) -> None:
    with Stand(_documents(paths)) as stand:
        address, body = example(Address(stand.place, given), {}, 5.0)
        assert address.path == found
        assert body is not None
        assert json.loads(body.content) == {"feature": 1.0}


def test_an_address_without_an_example() -> None:
    with Stand(_documents(TWO)) as stand:
        assert example(Address(stand.place, "/models/y/predict"), {}, 5.0)[1] is None


@pytest.mark.parametrize("given", ["", "/models/z/predict", "/models/x@a/b/predict"])
def test_an_address_that_is_not_there_names_those_that_are(given: str) -> None:
    with Stand(_documents(TWO)) as stand, pytest.raises(NotFound) as told:
        example(Address(stand.place, given), {}, 5.0)
    assert "/models/x/predict" in told.value.hint


@pytest.mark.parametrize("answer", [http(b"{}", "404 Not Found"), http(b"<html>"), http(b"[]"), http(b'{"paths":1}')])
def test_servers_without_documents(answer: bytes) -> None:
    with Stand(lambda _: [answer]) as stand, pytest.raises(InvalidRequest) as told:
        example(Address(stand.place, "/"), {}, 5.0)
    assert "--data" in told.value.hint
