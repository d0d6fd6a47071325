"""What changes keys, each inside the transaction it is given. Only who writes imports it.

Whoever asks is looked up again here, under the writers' lock: a key that was revoked a moment ago changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from modelyard.core.errors import Conflict, Forbidden, InvalidRequest
from modelyard.core.identity import Permission, Principal, Scope, Verb
from modelyard.guard import keyring, keys
from modelyard.guard.grant import LONGEST_OVERLAP, Grant, read_network
from modelyard.guard.keyring import OF_KEY, GrantedKey, Keyring
from modelyard.guard.power import lies_in
from modelyard.guard.tables import KEYS, SECRETS

#: A pepper with its number.
Pepper = tuple[int, bytes]


def create(connection: sa.Connection, actor: Principal, grant: Grant, pepper: Pepper, now: datetime) -> keys.Key:
    """Make the key; itself, which is kept nowhere.

    Raises
    ------
    Forbidden
        The actor may not make keys, or not one that may this.
    Conflict
        A key that was not revoked has the name.
    """
    ring = keyring.load(connection.exec_driver_sql)
    today = _check_may(ring, actor, grant.scopes, now)
    _check_taken(ring, grant.name)
    minted = keys.mint(grant.environment)
    row = {
        "id": minted.id,
        "environment": grant.environment,
        "name": grant.name,
        "scopes": sorted(map(str, grant.scopes)),
        "networks": list(grant.networks),
        "rate": _check_bounds(ring, today, grant),
        "not_before": now + grant.wait,
        "expires_at": now + grant.wait + grant.life,
        "life_s": int(grant.life.total_seconds()),
        "created_by": actor.name,
        "created_at": now,
    }
    connection.execute(sa.insert(KEYS).values(row))
    _keep(connection, minted, pepper, now)
    return minted


def rotate(
    connection: sa.Connection, actor: Principal, which: str, overlap: timedelta, pepper: Pepper, now: datetime
) -> keys.Key:
    """Give the key a second secret and as long a life again; the one before ends after the overlap, or with its life.

    A key that rotates itself lives no longer for it. Of other keys it rotates those that it made, itself or through
    others: whoever rotates a key, holds it.

    Raises
    ------
    NotFound, Forbidden
        There is no such key, or the actor may not hold it.
    Conflict
        It was revoked, or is being rotated and an overlap is wanted.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise InvalidRequest(what=f"secrets overlap for at most {LONGEST_OVERLAP.days} days")
    ring = keyring.load(connection.exec_driver_sql)
    key = ring.find(which)
    _check_may(ring, actor, key.grant.scopes, now)
    _check_holds(ring, actor, key)
    _check_rotates(key, overlap, now)
    ends = min(now + overlap, key.grant.expires_at)
    mine = SECRETS.c.key_id == key.id
    connection.execute(sa.delete(SECRETS).where(mine, SECRETS.c.expires_at <= now))
    connection.execute(sa.update(SECRETS).where(mine).values(expires_at=ends))
    connection.execute(sa.delete(SECRETS).where(mine, SECRETS.c.expires_at <= now))
    if actor.name != str(key):
        end = max(now, key.grant.not_before) + key.life
        connection.execute(sa.update(KEYS).where(KEYS.c.id == key.id).values(expires_at=end))
    minted = keys.mint(key.environment, key.id)
    _keep(connection, minted, pepper, now)
    return minted


def finish(connection: sa.Connection, actor: Principal, which: str, now: datetime) -> bool:
    """End the secrets of the key that are to end anyhow, now; whether there was one that still worked.

    Raises
    ------
    NotFound, Forbidden
        There is no such key, or the actor may less than it.
    """
    ring = keyring.load(connection.exec_driver_sql)
    key = ring.find(which)
    _check_may(ring, actor, key.grant.scopes, now)
    older = (SECRETS.c.key_id == key.id) & SECRETS.c.expires_at.is_not(None)
    connection.execute(sa.delete(SECRETS).where(older))
    return bool(_ending(key, now))


def revoke(connection: sa.Connection, actor: Principal, which: str, now: datetime) -> bool:
    """End the key and all that it made, for good; whether it was there to be ended.

    Raises
    ------
    NotFound, Forbidden
        There is no such key, or the actor may less than it.
    """
    ring = keyring.load(connection.exec_driver_sql)
    key = ring.find(which)
    _check_may(ring, actor, key.grant.scopes, now)
    if key.revoked_at is not None:
        return False
    connection.execute(sa.update(KEYS).where(KEYS.c.id == key.id).values(revoked_at=now))
    connection.execute(sa.delete(SECRETS).where(SECRETS.c.key_id == key.id))
    return True


def touch(connection: sa.Connection, used: Mapping[str, datetime]) -> None:
    """Keep when keys, by id, were last used, to the minute; a time before the one that is kept changes nothing."""
    for key_id, moment in used.items():
        minute = moment.replace(second=0, microsecond=0)
        older = sa.or_(KEYS.c.last_used_at.is_(None), KEYS.c.last_used_at < minute)
        connection.execute(sa.update(KEYS).where(KEYS.c.id == key_id, older).values(last_used_at=minute))


def peppers_used(connection: sa.Connection) -> set[int]:
    """Numbers of the peppers that some secret needs."""
    return set(connection.scalars(sa.select(SECRETS.c.pepper).distinct()))


def check_may(connection: sa.Connection, actor: Principal, now: datetime) -> None:
    """`Forbidden` when the actor may not, or not any more, change keys."""
    _check_may(keyring.load(connection.exec_driver_sql), actor, (), now)


def _keep(connection: sa.Connection, minted: keys.Key, pepper: Pepper, now: datetime) -> None:
    number, secret = pepper
    row = {"key_id": minted.id, "digest": keys.digest(secret, minted.secret), "pepper": number, "created_at": now}
    connection.execute(sa.insert(SECRETS).values(row))


def _check_may(ring: Keyring, actor: Principal, scopes: Iterable[Scope], now: datetime) -> Principal:
    """The actor as it is today: it may still change keys, and may itself all that the key may."""
    today = ring.today(actor, now)
    if not today.may(Permission(Verb.KEYS)):
        raise Forbidden(who=actor.name, verb="change", what="keys", scope=str(Scope(Verb.KEYS)))
    beyond = today.may_grant(sorted(scopes))
    if beyond is not None:
        raise Forbidden(who=actor.name, verb="give or take", what=str(beyond), scope=str(beyond))
    return today


def _check_taken(ring: Keyring, name: str) -> None:
    if any(key.name == name and key.revoked_at is None for key in ring.keys.values()):
        hint = f"give it a new secret: modelyard key rotate {name}; or end it: modelyard key revoke {name}"
        raise Conflict(what=f"there is a key {name!r} already", hint=hint)


def _check_bounds(ring: Keyring, actor: Principal, grant: Grant) -> str:
    """The new key's rate class. A key hands on its networks and rate class, or less; other classes, who configures."""
    maker = ring.keys.get(actor.name.removeprefix(OF_KEY))
    if maker is None or not actor.name.startswith(OF_KEY):
        return grant.rate
    power = ring.power(maker.id)
    allowed = power.networks if power is not None else ()
    for network in map(read_network, grant.networks):
        if allowed and not any(lies_in(network, other) for other in allowed):
            hint = f"name a network within {', '.join(map(str, allowed))}"
            raise Forbidden(who=actor.name, verb="give", what=f"the network {network}", scope="", hint=hint)
    if grant.rate not in {"", maker.rate} and not actor.may(Permission(Verb.CONFIGURE)):
        raise Forbidden(who=actor.name, verb="give", what="another rate class", scope=str(Scope(Verb.CONFIGURE)))
    return grant.rate or maker.rate


def _check_holds(ring: Keyring, actor: Principal, key: GrantedKey) -> None:
    """A key gets at the secret of itself, or of a key that is its own work and so may no more than it does."""
    if not actor.name.startswith(OF_KEY) or actor.name == str(key):
        return
    if key not in ring.made_by(actor.name.removeprefix(OF_KEY)):
        raise Forbidden(who=actor.name, verb="rotate", what=f"{key}, which it did not make", scope="", hint=_ASK_MAKER)


_ASK_MAKER = "let its maker rotate it, or the command line of the machine that has the home"


def _check_rotates(key: GrantedKey, overlap: timedelta, now: datetime) -> None:
    if key.revoked_at is not None:
        hint = f"make another: modelyard key create {key.name}"
        raise Conflict(what=f"{key} ({key.name}) was revoked", hint=hint)
    if overlap and (ending := _ending(key, now)):
        hint = f"wait, or end that one now: modelyard key rotate {key.name} --finish"
        until = f"its older secret works until {max(ending):%Y-%m-%d %H:%M} UTC"
        raise Conflict(what=f"{key} ({key.name}) is being rotated, {until}", hint=hint)


def _ending(key: GrantedKey, now: datetime) -> list[datetime]:
    """When the secrets end that work now and will not for as long as the key."""
    return [one.expires_at for one in key.secrets if one.expires_at is not None and one.expires_at > now]
