"""Rate classes: what callers may ask of models, said and taken back; running servers obey."""

from __future__ import annotations

from typing import Any

from modelyard.control.actions import configure, plans
from modelyard.control.actions.home import Home
from modelyard.core import rates
from modelyard.core.errors import Conflict, InvalidRequest, NotFound
from modelyard.core.rates import USUAL, Rate
from modelyard.core.reference import check_name
from modelyard.guard import keyring


def listed(home: Home) -> dict[str, tuple[Rate, ...]]:
    """The classes by name; the usual one under the empty name."""
    return rates.read(configure.read(home.settings.rates))


def put(home: Home, name: str, limits: dict[str, Any]) -> Rate:
    """Say what callers of this class may ask of the models of a pattern, instead of what was said before.

    Parameters
    ----------
    home : Home
        Where.
    name : str
        Of the class; `USUAL` for the one of keys that name none, of tokens and of certificates.
    limits : dict
        Fields of `core.rates.Rate`.

    Raises
    ------
    InvalidName, InvalidRequest
        That cannot be a name, or a limit.
    Forbidden
        The actor may not.
    """
    key = "" if name == USUAL else check_name(name, "a rate class")
    try:
        rate = Rate(**limits)
    except ValueError as exc:
        raise InvalidRequest(what=str(exc), hint="modelyard rate set --help") from exc

    def rewrite(raw: bytes) -> bytes:
        known = rates.read(raw)
        others = [each for each in known.get(key, ()) if each.models != rate.models]
        return rates.write({**known, key: tuple(sorted((*others, rate), key=lambda each: each.models))})

    detail = {field: f"{value}" for field, value in limits.items() if value is not None}
    configure.change(home, home.settings.rates, ("rate.set", name), rewrite, detail)
    plans.announce(home, f"rate class {name} is set")
    return rate


def remove(home: Home, name: str, models: str | None = None) -> None:
    """Take back what was said of a class; of one pattern, or of all.

    Raises
    ------
    InvalidName
        That cannot be a name.
    NotFound
        Nothing was said.
    Conflict
        Keys name the class, which would have no limits then.
    Forbidden
        The actor may not.
    """
    key = "" if name == USUAL else check_name(name, "a rate class")
    users = _users(home, key)

    def rewrite(raw: bytes) -> bytes:
        known = rates.read(raw)
        if key not in known:
            raise NotFound(what="rate class", name=name[:80], known=[each or USUAL for each in known])
        left = tuple(each for each in known[key] if models is not None and each.models != models)
        if len(left) == len(known[key]):
            patterns = [each.models for each in known[key]]
            raise NotFound(what=f"rate of class {name} for", name=str(models)[:80], known=patterns)
        if users and not left:
            what = f"keys are of the class {name}: {', '.join(users[:8])}"
            raise Conflict(what=what, hint=f"modelyard key revoke {users[0]}, or modelyard rate set {name} ...")
        others = {each: kept for each, kept in known.items() if each != key}
        return rates.write({**others, key: left} if left else others)

    configure.change(home, home.settings.rates, ("rate.remove", name[:63]), rewrite, {"models": models or ""})
    plans.announce(home, f"rate class {name} is changed")


def _users(home: Home, key: str) -> list[str]:
    """Names of the living keys of this class; nobody has to name the usual one."""
    if not key:
        return []
    with home.database.read() as connection:
        known = keyring.load(connection.execute).keys.values()
    return sorted(each.name for each in known if each.rate == key and each.revoked_at is None)
