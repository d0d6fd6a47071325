"""Scopes: what one contains, it contains; roles: the table; principals: nobody grants what they may not."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidName
from modelyard.core.identity import (
    LOCAL,
    NOBODY,
    OF_MODELS,
    ROLES,
    Permission,
    Principal,
    Role,
    Scope,
    Verb,
    parse_scope,
    scopes,
)

# Few letters, so that patterns meet.
PATTERNS = st.text("ab-*", min_size=1, max_size=7)
NAMES = st.text("ab-", min_size=1, max_size=7)
ABOUT_SERVER = sorted(set(Verb) - OF_MODELS)


def any_scope() -> st.SearchStrategy[Scope]:
    of_models = st.builds(Scope, st.sampled_from(sorted(OF_MODELS)), PATTERNS)
    return st.one_of(of_models, st.builds(Scope, st.sampled_from(ABOUT_SERVER)))


def permissions() -> st.SearchStrategy[Permission]:
    return st.builds(Permission, st.sampled_from(sorted(OF_MODELS)), NAMES) | st.builds(
        Permission, st.sampled_from(Verb)
    )


def stands_for(pattern: str, name: str) -> bool:
    """Another way to say it: position by position, without regular expressions."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(stands_for(pattern[1:], name[at:]) for at in range(len(name) + 1))
    return name[:1] == pattern[0] and stands_for(pattern[1:], name[1:])


@given(PATTERNS, NAMES)
def test_a_pattern_covers_the_names_that_it_stands_for(pattern: str, name: str) -> None:
    covered = Scope(Verb.PREDICT, pattern).covers(Permission(Verb.PREDICT, name))
    assert covered == stands_for(pattern, name)


@given(any_scope(), any_scope(), st.lists(permissions(), min_size=20, max_size=20))
def test_what_is_contained_is_never_more(parent: Scope, child: Scope, asked: list[Permission]) -> None:
    if parent.contains(child):
        assert all(parent.covers(permission) for permission in asked if child.covers(permission))


@given(PATTERNS, st.data())
def test_every_name_of_a_contained_pattern_is_covered(parent: str, data: st.DataObject) -> None:
    """Children made from their parent, so that many are contained, and names made from the child, so that all count."""
    pieces = parent.split("*")
    filled = [data.draw(st.text("ab-*", max_size=3)) for _ in pieces[1:]]
    child = pieces[0] + "".join(fill + piece for fill, piece in zip(filled, pieces[1:], strict=True)) or "*"
    assert Scope(Verb.READ, parent).contains(Scope(Verb.READ, child))
    name = re.sub(r"\*", lambda _: data.draw(st.text("ab-", max_size=3)), child)
    assume(name)
    assert Scope(Verb.READ, child).covers(Permission(Verb.READ, name))
    assert Scope(Verb.READ, parent).covers(Permission(Verb.READ, name))


def test_no_pattern_takes_long() -> None:
    """As a regular expression this one would take longer than anybody has."""
    began = time.perf_counter()
    assert not Scope(Verb.PREDICT, "*a" * 31 + "b").covers(Permission(Verb.PREDICT, "a" * 63))
    assert time.perf_counter() - began < 0.1


@given(any_scope(), any_scope(), any_scope())
def test_to_contain_is_an_order(one: Scope, two: Scope, three: Scope) -> None:
    assert one.contains(one)
    if one.contains(two) and two.contains(three):
        assert one.contains(three)


@pytest.mark.parametrize(
    ("parent", "child", "contains"),
    [
        ("*", "fraud-*", True),
        ("fraud-*", "fraud-eu", True),
        ("fraud-*", "fraud-*-eu", True),
        ("fraud-*", "fraud-", True),
        ("fraud-*", "*", False),
        ("fraud-*", "fraud*", False),
        ("*-eu", "fraud-*", False),
        ("a*b*", "a*b", True),
        ("a*b", "a*b*", False),
        ("churn", "churn", True),
        ("churn", "churn-2", False),
    ],
)
def test_containment_of_patterns(parent: str, child: str, contains: bool) -> None:
    assert Scope(Verb.PREDICT, parent).contains(Scope(Verb.PREDICT, child)) is contains
    assert not Scope(Verb.PUBLISH, parent).contains(Scope(Verb.PREDICT, child))


def test_all_models_are_only_covered_by_every_name() -> None:
    assert Scope(Verb.READ, "*").covers(Permission(Verb.READ))
    assert not Scope(Verb.READ, "fraud-*").covers(Permission(Verb.READ))


@given(any_scope())
def test_scopes_are_read_as_they_are_written(scope: Scope) -> None:
    assert parse_scope(str(scope)) == scope


@given(st.text(max_size=40))
def test_what_is_no_scope_is_refused_with_words(text: str) -> None:
    assume(not text.startswith(("model:", "server:")))
    with pytest.raises(InvalidName) as caught:
        parse_scope(text)
    assert "model:PATTERN:VERB" in caught.value.cause


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "model:*", "model::predict", "model:*:keys", "server:predict", "server:", "server:keys "),
        *("model:*:predict\n", "model:a.b:read", "model:*:predict:read", "MODEL:*:predict", "model:A:read"),
        f"model:{'a' * 64}:read",
    ],
)
def test_these_are_no_scopes(text: str) -> None:
    with pytest.raises(InvalidName):
        parse_scope(text)


def test_a_verb_and_its_models_belong_together() -> None:
    for verb in Verb:
        with pytest.raises(ValueError, match="about models"):
            Scope(verb, "" if verb in OF_MODELS else "*")


def test_the_permission_table() -> None:
    table = {role: {str(verb) for verb in verbs} for role, verbs in ROLES.items()}
    assert table == {
        Role.VIEWER: {"read", "metrics"},
        Role.PREDICTOR: {"read", "metrics", "predict"},
        Role.DEPLOYER: {"read", "metrics", "predict", "publish", "deploy"},
        Role.ADMIN: {"read", "metrics", "predict", "publish", "deploy", "keys", "configure", "audit"},
        Role.AUDITOR: {"audit"},
    }
    assert set(ROLES) == set(Role)


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_what_the_table_says_and_nothing_else(role: Role) -> None:
    principal = Principal("key:0", scopes(role, "fraud-*"), "key")
    for verb in Verb:
        of_models = verb in OF_MODELS
        assert principal.may(Permission(verb, "fraud-eu" if of_models else "")) == (verb in ROLES[role])
        assert principal.may(Permission(verb, "churn")) == (verb in ROLES[role] and not of_models)


def test_the_local_caller_may_everything_and_nobody_nothing() -> None:
    everything = [Permission(verb, model) for verb in Verb for model in ("", "churn")]
    assert all(LOCAL.may(permission) for permission in everything)
    assert not any(NOBODY.may(permission) for permission in everything)


@given(st.frozensets(any_scope(), max_size=4), st.frozensets(any_scope(), max_size=4), st.lists(permissions()))
def test_nobody_grants_more_than_they_may(
    own: frozenset[Scope], wanted: frozenset[Scope], asked: list[Permission]
) -> None:
    parent, child = Principal("key:0", own), Principal("key:1", wanted)
    beyond = parent.may_grant(sorted(wanted))
    if beyond is None:
        assert all(parent.may(permission) for permission in asked if child.may(permission))
    else:
        assert beyond in wanted
        assert not any(scope.contains(beyond) for scope in own)
