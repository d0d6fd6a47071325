from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from modelyard.cli.errors import document, exit_code, report
from modelyard.cli.screen import Screen
from modelyard.core.errors import (
    CorruptBundle,
    InvalidName,
    ModelyardError,
    NoSandbox,
    NotFound,
    StoreFull,
    TooLarge,
    UnknownField,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreFull(where="blobs"), 1),
        (CorruptBundle(bundle="x", what="model.onnx was changed"), 1),
        (InvalidName(name="a_b", what="a model", suggestion="a-b"), 2),
        (NotFound(what="model", name="x"), 3),
        (NoSandbox(missing="no seccomp"), 4),
        (UnknownField(field="tenur", known=["tenure"]), 5),
        (TooLarge(what="body", limit="16 MiB"), 5),
    ],
)
def test_exit_codes(error: ModelyardError, code: int) -> None:
    assert exit_code(error) == code


def test_a_report_has_four_parts(capsys: pytest.CaptureFixture[str]) -> None:
    code = report(UnknownField(field="tenur", known=["tenure", "age"], model="churn@1"), Screen())
    assert code == 5
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error[INPUT-UNKNOWN-FIELD]: no input 'tenur'; the model's inputs are: tenure, age (exit 5)",
        "  cause: did you mean 'tenure'?",
        "  fix:   see what the model expects: modelyard model show churn@1",
        "  more:  modelyard explain INPUT-UNKNOWN-FIELD",
    ]


def test_parts_that_are_not_there_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    report(NotFound(what="model", name="x"), Screen())
    assert [line.split(":")[0].strip() for line in capsys.readouterr().err.splitlines()] == ["error[NOT-FOUND]", "more"]


def test_as_json_it_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    error = UnknownField(field="tenur", known=["tenure"])
    assert report(error, Screen(as_json=True)) == 5
    said = capsys.readouterr()
    assert said.err == ""
    assert json.loads(said.out) == json.loads(json.dumps(document(error)))
    assert json.loads(said.out)["error"]["code"] == "INPUT-UNKNOWN-FIELD"
    assert json.loads(said.out)["error"]["kind"] == "invalid"


def _every(cls: type[ModelyardError]) -> Iterator[type[ModelyardError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _every(child)


@pytest.mark.parametrize("cls", list(_every(ModelyardError)), ids=lambda cls: cls.__name__)
def test_every_error_has_a_code_to_exit_with(cls: type[ModelyardError]) -> None:
    assert exit_code(cls.__new__(cls)) in {1, 2, 3, 4, 5, 7}
