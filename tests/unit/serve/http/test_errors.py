"""Errors as HTTP: every kind has a status, every body is JSON, whatever the facts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelyard.core.errors import (
    InvalidInput,
    InvalidRequest,
    Kind,
    ModelyardError,
    NotAcceptable,
    UnknownField,
    catalogue,
)
from modelyard.serve.http.errors import REASONS, STATUS, problem, protocol_error, refusal, status


def test_every_kind_has_a_status_and_a_reason() -> None:
    assert set(STATUS) == set(Kind)
    assert {*STATUS.values(), status(NotAcceptable)} <= set(REASONS)
    assert all(400 <= code < 600 for code in STATUS.values())


@pytest.mark.parametrize("cls", catalogue().values(), ids=lambda cls: cls.__name__)
def test_every_error_has_both_bodies(cls: type[ModelyardError]) -> None:
    error = cls.__new__(cls)
    error.facts = {"what": "x", "cause": "why", "hint": "do", "name": "n"}
    body = json.loads(problem(error, "r-1"))
    assert (body["type"], body["status"], body["instance"]) == (error.kind, status(error), "r-1")
    assert (body["code"], body["cause"], body["hint"]) == (error.code, "why", "do")
    assert body["detail"]
    assert body["facts"] == {"what": "x", "name": "n"}
    assert json.loads(protocol_error(error)) == {"error": f"{error.detail} (why)"}


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


def test_text_from_a_request_cannot_break_out_of_json() -> None:
    said = json.loads(problem(InvalidRequest(what='"}\n\x00<script>'), "req_3"))
    assert said["detail"] == '"}\n\x00<script>'


def test_members_without_content_are_left_out() -> None:
    assert set(json.loads(problem(ModelyardError(), "r"))) == {"type", "title", "status", "detail", "instance", "code"}


@pytest.mark.parametrize(
    "fact", [2**70, float("nan"), np.float32(1), np.arange(2), {1: 2}, b"\xff", "\ud800", object(), ["a", {"b": None}]]
)
def test_any_fact_can_be_told(fact: Any) -> None:
    body = json.loads(problem(InvalidInput(what="x", fact=fact), "r"))
    assert body["detail"] == "x"


def test_the_protocols_own_body_says_what_and_why() -> None:
    error = UnknownField(field="tenur", known=["tenure"])
    assert json.loads(protocol_error(error)) == {
        "error": "no input 'tenur'; the model's inputs are: tenure (did you mean 'tenure'?)"
    }


@pytest.mark.parametrize("status", [400, 405, 408, 413, 414, 417, 431, 503])
def test_what_is_refused_before_there_is_a_request(status: int) -> None:
    body = json.loads(refusal(status, "no"))
    assert (body["status"], body["detail"], body["title"]) == (status, "no", REASONS[status].decode())
    assert body["type"] in set(Kind)
