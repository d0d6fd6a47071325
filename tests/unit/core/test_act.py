"""An act says who did what to what; it can be told to others as plain data."""

from __future__ import annotations

import msgspec

from modelyard.core.act import Act
from modelyard.core.identity import LOCAL


def test_an_act_was_done_from_the_command_line_unless_it_says_otherwise() -> None:
    act = Act(LOCAL, "model.publish", "churn@3")
    assert (act.outcome, act.source, act.detail) == ("done", "cli", {})


def test_details_of_one_act_are_not_another_ones() -> None:
    one, other = Act(LOCAL, "key.create", "key:0"), Act(LOCAL, "key.create", "key:1")
    one.detail["name"] = "shop"
    assert other.detail == {}


def test_an_act_survives_json() -> None:
    act = Act(LOCAL, "key.revoke", "key:ab12cd34ef", "denied", {"why": "no scope"}, "10.0.0.1")
    assert msgspec.json.decode(msgspec.json.encode(act), type=Act) == act
