"""Keys in words, for the commands that print them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.control.actions.keys import Minted
from modelyard.core.identity import ROLES, Scope, scopes
from modelyard.guard.keyring import GrantedKey, Keyring, KeyState


def say(screen: Screen, minted: Minted) -> None:
    """What the new key is, and that this is the only time that it is seen."""
    power = minted.power or minted.key.grant
    screen.say("Key", f"{minted.key.name} ({minted.key.id})")
    screen.say("May", rights(power.scopes))
    screen.say("From", ", ".join(map(str, power.networks)) or "anywhere")
    if minted.state is KeyState.WAITING:
        screen.say("Begins", f"{_moment(power.not_before)} UTC")
    screen.say("Until", f"{_moment(power.expires_at)} UTC ({_days(power.expires_at, datetime.now(UTC))})")
    screen.say("It is shown this once. What is kept here cannot be used as a key.")


def show(screen: Screen, minted: Minted, **more: Any) -> None:
    """The key itself: the result of the command, alone on standard output."""
    screen.show({**documents.minted(minted), **more}, minted.text)


def table(screen: Screen, ring: Keyring, now: datetime, *, revoked: bool) -> str:
    """The keys by name, in columns."""
    rows = [_row(ring, key, now) for key in ring.by_name(revoked=revoked)]
    used = any(row[-1] for row in rows)
    header = ["NAME", "ID", "MAY", "FROM", "UNTIL (UTC)", "STATE", "MADE BY", *(["LAST USED (UTC)"] if used else [])]
    return screen.table(header, [row if used else row[:-1] for row in rows])


def rights(granted: frozenset[Scope]) -> str:
    """A role with its models, where the scopes are one's; else the scopes."""
    patterns = sorted({scope.models for scope in granted if scope.models})
    for role in ROLES:
        if granted == frozenset().union(*(scopes(role, pattern) for pattern in patterns or ["*"])):
            return f"{role} of {', '.join(patterns)}" if patterns and patterns != ["*"] else str(role)
    return ", ".join(sorted(map(str, granted)))


def _row(ring: Keyring, key: GrantedKey, now: datetime) -> list[str]:
    power = ring.power(key.id) or key.grant
    ending = [one.expires_at for one in key.secrets if one.expires_at is not None and one.expires_at > now]
    state = f"{ring.state(key, now)}{f', older secret until {_moment(max(ending))}' if ending else ''}"
    return [
        key.name,
        key.id,
        rights(power.scopes),
        ", ".join(map(str, power.networks)) or "anywhere",
        _moment(power.expires_at),
        state,
        key.created_by,
        _moment(key.last_used_at) if key.last_used_at else "",
    ]


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _days(end: datetime, now: datetime) -> str:
    days = round((end - now).total_seconds() / 86400)
    return f"{days} days" if days > 1 else "less than two days"
