"""Errors as gRPC."""

from __future__ import annotations

from modelyard.core.errors import InvalidRequest, Kind, UnknownField
from modelyard.serve.grpc.status import STATUS, sentence


def test_every_kind_has_a_code() -> None:
    assert set(STATUS) == set(Kind)


def test_a_sentence_says_what_and_why() -> None:
    assert sentence(UnknownField(field="tenur", known=["tenure"])) == (
        "no input 'tenur'; the model's inputs are: tenure (did you mean 'tenure'?)"
    )


def test_a_long_sentence_is_cut_between_characters() -> None:
    cut = sentence(InvalidRequest(what="ü" * 5000))
    assert cut == "ü" * 1000
    assert len(sentence(InvalidRequest(what="x" + "ü" * 5000)).encode()) == 1999
