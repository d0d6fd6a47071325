"""Every error a user can meet: worded, named, looked up, and told from one process to another without loss."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

import pytest

from modelyard.core.errors import (
    Forbidden,
    Internal,
    InvalidInput,
    Kind,
    ModelyardError,
    NotFound,
    TooLarge,
    UnknownCategory,
    UnknownField,
    WrongType,
    catalogue,
    from_wire,
    nearest,
)

#: A value for every fact that a sentence, cause or hint speaks of.
FACTS = {
    "method": "PUT",
    "accept": "image/png",
    "size_bytes": 9,
    "room_bytes": 5,
    "allowed": "GET, POST",
    "what": "churn",
    "field": "tenur",
    "fields": ["tenure", "plan"],
    "known": ["tenure", "plan"],
    "expected": "a number",
    "got": "text",
    "where": " (row 3)",
    "problem": "shape [2] does not match [-1, 3]",
    "limit": "16 MiB",
    "limit_s": 30,
    "name": "linear_regression",
    "suggestion": "linear-regression",
    "file": "model.bin",
    "seen": "zip archive",
    "model": "churn@2",
    "bundle": "churn",
    "patience": 5,
    "epoch": 12,
    "loss": 1e9,
    "missing": "landlock",
    "library": "onnx",
    "extra": "convert",
    "who": "key:ab12cd34ef",
    "verb": "deploy",
    "scope": "model:churn:deploy",
    "why": "is not signed",
    "sequence": 5,
    "wait_s": 0.5,
    "host": "elsewhere.example",
    "before": "churn@1",
    "after": "churn@2",
    "changes": "'tenure' is gone",
    "registry": "registry.example",
    "target": "prod",
    "deployment": "churn",
}


def classes() -> list[type[ModelyardError]]:
    """Every class that is raised: all but the root."""

    def tree(cls: type[ModelyardError]) -> Iterator[type[ModelyardError]]:
        for child in cls.__subclasses__():
            yield child
            yield from tree(child)

    return [cls for cls in tree(ModelyardError) if cls.__module__ == "modelyard.core.errors"]


@pytest.fixture(params=classes(), ids=lambda cls: cls.__name__)
def error(request: pytest.FixtureRequest) -> ModelyardError:
    return request.param(**FACTS)


def test_sentence_cause_and_hint_are_filled(error: ModelyardError) -> None:
    template = type(error)
    assert error.detail != template.title or template.sentence == template.title
    for text, source in ((error.detail, "sentence"), (error.cause, "cause_text"), (error.hint, "hint_text")):
        assert "{" not in text
        assert "}" not in text
        assert text or not getattr(template, source)
    assert str(error) == error.detail


def test_it_is_documented_and_has_a_kind(error: ModelyardError) -> None:
    assert len(inspect.cleandoc(type(error).__doc__ or "")) > 20
    assert error.kind in Kind
    assert error.title
    assert catalogue()[error.code] is type(error)


def test_it_survives_the_wire(error: ModelyardError) -> None:
    back = from_wire(json.loads(json.dumps(error.to_wire(), default=str)))
    assert type(back) is type(error)
    assert (back.detail, back.cause, back.hint, back.code) == (error.detail, error.cause, error.hint, error.code)
    assert str(back) == error.detail
    assert back.args == (error.detail,)


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in classes()]
    assert len(codes) == len(set(codes))


def test_depth_is_three_at_most() -> None:
    assert all(len([base for base in cls.__mro__ if base in classes()]) <= 2 for cls in classes())


def test_the_tree_in_the_docstring_names_the_first_floor() -> None:
    text = inspect.getdoc(inspect.getmodule(ModelyardError)) or ""
    roots = [cls for cls in ModelyardError.__subclasses__() if cls.__module__ == "modelyard.core.errors"]
    assert [cls.__name__ for cls in roots if cls.__name__ not in text] == []


def test_a_sentence_without_its_facts_is_the_title_not_a_template() -> None:
    assert WrongType(field="x").detail == WrongType.title
    assert InvalidInput(what="no").hint == ""


def test_cause_and_hint_can_be_given() -> None:
    error = InvalidInput(what="no", cause="because", hint="do that")
    assert (error.cause, error.hint) == ("because", "do that")


def test_long_lists_are_a_sentence_not_a_dump() -> None:
    error = UnknownField(field="zz", known=[f"f{at}" for at in range(100)])
    assert error.detail.endswith("… (100 in all)")
    assert "f9," not in error.detail


def test_the_nearest_name_is_offered() -> None:
    assert UnknownField(field="tenur", known=["tenure", "plan"]).cause == "did you mean 'tenure'?"
    assert UnknownCategory(field="plan", got="basik", known=["basic"]).cause == "did you mean 'basic'?"
    assert NotFound(what="model", name="chrn", known=["churn"]).cause == "did you mean 'churn'?"
    assert NotFound(what="model", name="zzz", known=["churn"]).cause == "there is: churn"
    assert NotFound(what="model", name="zzz").cause == ""
    assert nearest("abc", []) is None


def test_known_may_be_a_generator() -> None:
    error = UnknownField(field="tenur", known=(name for name in ["tenure"]))
    assert error.facts["known"] == ["tenure"]
    assert error.cause


def test_a_megabyte_of_name_is_neither_repeated_nor_searched_for() -> None:
    name = "x" * 1_000_000
    for error in (UnknownField(field=name, known=["a"]), UnknownCategory(field="f", got=name, known=["a"])):
        assert len(error.detail) < 300
        assert len(json.dumps(error.to_wire())) < 500
    assert nearest(name, ["a"]) is None


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"code": "NO-SUCH-CODE", "facts": {"what": "x"}},
        {"code": None, "facts": None},
        {"code": "TRAIN-DIVERGED", "facts": {"patience": 1, "epoch": "x", "loss": "high"}},
        {"code": "INPUT-INVALID", "facts": {"self": 1, "what": "x"}},
        {"code": "INPUT-INVALID", "facts": {"1": 1}},
        {"code": "INPUT-INVALID", "facts": ["what"]},
        {"code": ["INPUT-INVALID"], "facts": {}},
        {"code": "NAME-INVALID", "facts": {"name": None, "what": {"a": {}}}},
    ],
)
def test_broken_wires_are_still_errors(wire: dict[str, object]) -> None:
    error = from_wire(wire)
    assert isinstance(error, ModelyardError)
    assert error.detail
    assert isinstance(error.cause, str)
    assert isinstance(error.hint, str)


def test_an_unknown_code_is_internal() -> None:
    assert type(from_wire({"code": "FROM-THE-FUTURE"})) is Internal


def test_facts_that_are_no_text_are_told() -> None:
    assert "3" in TooLarge(what="body", limit=3).detail


def test_verbs_about_the_installation_are_said_in_words() -> None:
    said = {
        verb: Forbidden(who="key:a", verb=verb, what="this server", scope=f"server:{verb}").detail
        for verb in ("keys", "audit", "metrics", "configure")
    }
    assert said == {
        "keys": "key:a may not make or revoke keys",
        "audit": "key:a may not read the audit log",
        "metrics": "key:a may not read the metrics of this server",
        "configure": "key:a may not configure this server",
    }
    assert (
        from_wire(Forbidden(who="a", verb="keys", what="this server").to_wire()).detail
        == "a may not make or revoke keys"
    )
