from __future__ import annotations

import json

import pytest

from modelyard.core.errors import Busy, InvalidRequest, Kind, NotFound, UnknownField
from modelyard.serve.http.errors import REASONS, STATUS, problem, protocol_error, refusal


def test_a_problem_is_rfc_9457_with_our_members() -> None:
    error = UnknownField(field="tenur", known=["tenure", "age"], model="churn@1")
    assert json.loads(problem(error, "req_1")) == {
        "type": "invalid",
        "title": "The input does not fit the model's signature",
        "status": 400,
        "detail": "no input 'tenur'; the model's inputs are: tenure, age",
        "instance": "req_1",
        "code": "INPUT-UNKNOWN-FIELD",
        "cause": "did you mean 'tenure'?",
        "hint": "see what the model expects: modelyard model show churn@1",
        "facts": {"field": "tenur", "known": ["tenure", "age"], "model": "churn@1"},
    }


def test_empty_members_are_left_out() -> None:
    assert set(json.loads(problem(Busy(what="full"), "req_2"))) >= {"type", "title", "status", "detail", "instance"}
    assert "cause" not in json.loads(problem(Busy(what="full"), "req_2"))


def test_the_protocols_own_body_is_one_sentence() -> None:
    said = json.loads(protocol_error(NotFound(what="model", name="churm", known=["churn"])))
    assert said == {"error": "no model 'churm' (did you mean 'churn'?)"}


def test_a_refusal_without_a_request_is_a_problem_too() -> None:
    body = json.loads(refusal(431, "too many or too large headers"))
    assert body["status"] == 431
    assert body["detail"] == "too many or too large headers"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_status_with_words(kind: Kind) -> None:
    assert REASONS[STATUS[kind]]


def test_text_from_a_request_cannot_break_out_of_json() -> None:
    said = json.loads(problem(InvalidRequest(what='"}\n\x00<script>'), "req_3"))
    assert said["detail"] == '"}\n\x00<script>'
