"""Aliases move in the catalogue and in the plan of a running server."""

from __future__ import annotations

import pytest

from modelyard.control.actions import aliases, plans
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import InvalidName, NotFound
from modelyard.core.plan import Plan
from modelyard.core.reference import parse_reference
from tests.models import linear_bundle


def test_set_move_and_remove(home: Home) -> None:
    publish(home, linear_bundle())
    publish(home, linear_bundle(slope=3.0))
    path = plans.save(home, "server", plans.render(home))

    def default() -> int:
        return Plan.from_bytes(path.read_bytes()).models[0].default

    assert default() == 2
    assert str(aliases.set_alias(home, parse_reference("linear@1"), "production")) == "linear@1"
    assert default() == 1
    assert str(aliases.set_alias(home, parse_reference("linear@latest"), "production")) == "linear@2"
    assert default() == 2
    aliases.set_alias(home, parse_reference("linear@1"), "production")
    assert str(aliases.remove_alias(home, "linear", "production")) == "linear@1"
    assert default() == 2


def test_refusals(home: Home) -> None:
    publish(home, linear_bundle())
    with pytest.raises(InvalidName):
        aliases.set_alias(home, parse_reference("linear@1"), "latest")
    with pytest.raises(NotFound):
        aliases.set_alias(home, parse_reference("linear@2"), "production")
    with pytest.raises(NotFound):
        aliases.remove_alias(home, "linear", "production")
