"""The keys that were granted, and what is left of each today: no more than its creator may, for no longer.

What a key was granted never changes. What it may is what lies within the grant of the key that made it, and so on up
to whoever had no key: the command line, or somebody with a token or certificate of another authority. A key that is
revoked, or ends, therefore takes with it all that it made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from modelyard.core.errors import InvalidName, ModelyardError, NotFound, StoreDamaged
from modelyard.core.identity import Principal, parse_scope
from modelyard.core.reference import check_name
from modelyard.guard import keys
from modelyard.guard.grant import read_network
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable
from modelyard.guard.power import Power, common_scopes

#: Runs one statement with its parameters and gives the rows; a connection's own, of the driver or of a writer.
Execute = Callable[[str, tuple[Any, ...]], Iterable[Any]]

#: Before the id of a key, in the name of the principal that it stands for.
OF_KEY = "key:"
_KEYS = (
    "SELECT id, environment, name, scopes, networks, rate, not_before, expires_at, life_s, created_by,"
    " created_at, revoked_at, last_used_at FROM keys ORDER BY created_at, id"
)
_SECRETS = "SELECT key_id, digest, pepper, created_at, expires_at FROM secrets ORDER BY created_at, digest"


class KeySecret(msgspec.Struct, frozen=True):
    """What is kept of one secret of a key; it ends with its key, or before."""

    digest: str
    pepper: int
    created_at: datetime
    expires_at: datetime | None


class GrantedKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key as it was granted; `Keyring.power` is what is left of that.

    Parameters
    ----------
    id, environment, name : str
        Its public part, what it begins with, and what its owner calls it.
    grant : Power
        What it was given.
    life : timedelta
        How long it is valid each time that its maker gives it a new secret.
    rate : str
        Name of its rate class.
    created_by : str
        Name of the principal that made it.
    created_at, revoked_at, last_used_at : datetime
        The last two may not have happened.
    secrets : tuple of KeySecret
        Oldest first; none when it is revoked.
    """

    id: str
    environment: str
    name: str
    grant: Power
    life: timedelta
    rate: str
    created_by: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    secrets: tuple[KeySecret, ...]

    def __str__(self) -> str:
        return f"{OF_KEY}{self.id}"


class KeyState(StrEnum):
    """How a key is at one moment; `ORPHANED`: nothing is left of what its maker may."""

    LIVE = "live"
    WAITING = "waiting"
    ENDED = "ended"
    ORPHANED = "orphaned"
    REVOKED = "revoked"


class Keyring:
    """All keys of an installation, as they are at one moment."""

    def __init__(self, granted: Iterable[GrantedKey]) -> None:
        self.keys = {key.id: key for key in granted}

    def find(self, text: str) -> GrantedKey:
        """The key with this id or name; of several with a name the one that is not revoked, else the newest.

        A whole key is taken for its id, and never repeated.
        """
        text = meant(text)
        if text in self.keys:
            return self.keys[text]
        named = [key for key in self.keys.values() if key.name == text]
        living = [key for key in named if key.revoked_at is None]
        if found := living or named:
            return found[-1]
        known = sorted(key.name for key in self.keys.values() if key.revoked_at is None)
        raise NotFound(what="key", name=text, known=known, hint="modelyard key list" if known else "modelyard init")

    def power(self, key_id: str) -> Power | None:
        """What this key may today; None when that is nothing."""
        return self._powers.get(key_id)

    def state(self, key: GrantedKey, now: datetime) -> KeyState:
        """How the key is at this moment."""
        power = self.power(key.id)
        if key.revoked_at is not None:
            return KeyState.REVOKED
        if power is None:
            return KeyState.ORPHANED
        if now < power.not_before:
            return KeyState.WAITING
        return KeyState.LIVE if now < power.expires_at else KeyState.ENDED

    def by_name(self, *, revoked: bool = False) -> list[GrantedKey]:
        """The keys by name, then by age; the revoked ones too when they are wanted."""
        kept = (key for key in self.keys.values() if revoked or key.revoked_at is None)
        return sorted(kept, key=lambda key: (key.name, key.created_at, key.id))

    def made_by(self, key_id: str) -> Iterator[GrantedKey]:
        """The keys that this one made, and those made by them."""
        makers = {f"{OF_KEY}{key_id}"}
        for key in self._after_their_makers():
            if key.created_by in makers:
                makers.add(str(key))
                yield key

    def today(self, actor: Principal, now: datetime) -> Principal:
        """The actor with what is left of its scopes now, should it be a key that changed since it was seen."""
        if not actor.name.startswith(OF_KEY):
            return actor
        power = self.power(actor.name.removeprefix(OF_KEY))
        left = power.scopes if power is not None and power.not_before <= now < power.expires_at else frozenset()
        return msgspec.structs.replace(actor, scopes=common_scopes(actor.scopes, left))

    def table(self) -> KeyTable:
        """What replicas obey: the same for the same rows, whenever it is asked for. Keys that ended stay in."""
        kept = [_kept(self.keys[key_id], power) for key_id, power in sorted(self._powers.items()) if power is not None]
        return KeyTable(keys=tuple(kept))

    @cached_property
    def _powers(self) -> dict[str, Power | None]:
        found: dict[str, Power | None] = {}
        for key in self._after_their_makers():
            found[key.id] = self._power(key, found)
        return found

    def _power(self, key: GrantedKey, found: dict[str, Power | None]) -> Power | None:
        if key.revoked_at is not None or not key.secrets:
            return None
        if not key.created_by.startswith(OF_KEY):
            return key.grant
        makers = found.get(key.created_by.removeprefix(OF_KEY))
        return None if makers is None else key.grant.within(makers)

    def _after_their_makers(self) -> Iterator[GrantedKey]:
        """Every key after the one that made it, whatever the clock said then; keys that make each other come anyhow."""
        done: set[str] = set()
        for key in self.keys.values():
            line: dict[str, GrantedKey] = {}
            above: GrantedKey | None = key
            while above is not None and above.id not in done and above.id not in line:
                line[above.id] = above
                above = self.keys.get(above.created_by.removeprefix(OF_KEY))
            done |= line.keys()
            yield from reversed(line.values())


def load(execute: Execute) -> Keyring:
    """The keys in the database; `StoreDamaged` when a row is none that was written here."""
    secrets: dict[str, list[KeySecret]] = {}
    try:
        for owner, digest, pepper, created_at, expires_at in execute(_SECRETS, ()):
            secret = KeySecret(digest, pepper, datetime.fromisoformat(created_at), _moment(expires_at))
            secrets.setdefault(owner, []).append(secret)
        return Keyring([_read(row, tuple(secrets.get(row[0], ()))) for row in execute(_KEYS, ())])
    except (ValueError, TypeError, ModelyardError) as exc:
        raise StoreDamaged(what="the database holds a key that cannot be read") from exc


def meant(text: str) -> str:
    """The id or name that a person means: of a whole key, given by mistake, the id. What is neither is not repeated."""
    if text.startswith(f"{keys.PREFIX}_"):
        text = "".join(text.split("_")[2:3])
    try:
        return check_name(text, "a key")
    except InvalidName:
        raise NotFound(what="key", name=text and f"{text[:4]}…", hint="modelyard key list") from None


def _read(row: tuple[Any, ...], secrets: tuple[KeySecret, ...]) -> GrantedKey:
    key_id, environment, name, scopes, networks, rate, start, end, life_s, *history = row
    made_by, made_at, revoked_at, used_at = history
    return GrantedKey(
        id=key_id,
        environment=environment,
        name=name,
        grant=Power(
            scopes=frozenset(map(parse_scope, json.loads(scopes))),
            networks=tuple(map(read_network, json.loads(networks))),
            not_before=datetime.fromisoformat(start),
            expires_at=datetime.fromisoformat(end),
        ),
        life=timedelta(seconds=life_s),
        rate=rate,
        created_by=made_by,
        created_at=datetime.fromisoformat(made_at),
        revoked_at=_moment(revoked_at),
        last_used_at=_moment(used_at),
        secrets=secrets,
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _kept(key: GrantedKey, power: Power) -> KeptKey:
    return KeptKey(
        id=key.id,
        name=key.name,
        scopes=tuple(sorted(map(str, power.scopes))),
        secrets=tuple(KeptSecret(one.digest, one.pepper, _seconds(one.expires_at)) for one in key.secrets),
        not_before_s=power.not_before.timestamp(),
        expires_s=power.expires_at.timestamp(),
        networks=tuple(map(str, power.networks)),
        rate=key.rate,
    )
