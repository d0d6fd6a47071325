"""Keys: made, rotated, revoked; and the key table, the one file of them that running servers obey."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modelyard.control.actions import configure
from modelyard.core import rates
from modelyard.core.errors import ModelyardError, NotFound, Unavailable
from modelyard.core.plan import Access
from modelyard.guard import keyring, peppers
from modelyard.guard.grant import USUAL_OVERLAP
from modelyard.guard.keyring import GrantedKey, Keyring, KeyState
from modelyard.guard.power import Power
from modelyard.store import files

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home
    from modelyard.core.settings import Settings
    from modelyard.guard.grant import Grant
    from modelyard.guard.keys import Key


class Minted(msgspec.Struct, frozen=True):
    """A key with the one copy of its new secret: to be handed to its owner, and forgotten.

    Parameters
    ----------
    text : str
        What the owner sends.
    key : GrantedKey
        As it is kept.
    power : Power or None
        What it may today.
    state : KeyState
        How it is now.
    """

    text: str
    key: GrantedKey
    power: Power | None
    state: KeyState

    def __repr__(self) -> str:
        return f"<Minted {self.key}>"


def create(home: Home, grant: Grant) -> Minted:
    """Make a key that may what the grant says, and tell running servers.

    Raises
    ------
    Forbidden
        The actor may not make keys, or may itself less than the key.
    Conflict
        The name is taken.
    NotFound
        There is no such rate class.
    """
    from modelyard.guard import rows  # noqa: PLC0415 - brings SQLAlchemy

    with home.change("key.create", grant.name) as (connection, record):
        _check_rate(home, grant.rate)
        minted = rows.create(connection, home.actor, grant, pepper(home.settings), datetime.now(UTC))
        record(f"key:{minted.id}", described(grant))
    return announced(home, minted, f"key {grant.name} is made")


def _check_rate(home: Home, name: str) -> None:
    """`NotFound` when nobody has said what keys of this class may."""
    known = [each for each in rates.read(configure.read(home.settings.rates)) if each]
    if name and name not in known:
        raise NotFound(what="rate class", name=name, known=known, hint=f"modelyard rate set {name} --per-second 10")


def rotate(home: Home, which: str, overlap: timedelta = USUAL_OVERLAP) -> Minted:
    """Give a key, by its id or name, a second secret and as long a life again, and tell running servers.

    Raises
    ------
    NotFound, Forbidden, Conflict, InvalidRequest
        See `guard.rows.rotate`.
    """
    from modelyard.guard import rows  # noqa: PLC0415 - as above

    which = keyring.meant(which)
    with home.change("key.rotate", which) as (connection, record):
        now = datetime.now(UTC)
        minted = rows.rotate(connection, home.actor, which, overlap, pepper(home.settings), now)
        record(f"key:{minted.id}", {"overlap_s": f"{overlap.total_seconds():g}"})
    return announced(home, minted, f"key {minted.id} has a new secret")


def finish(home: Home, which: str) -> GrantedKey:
    """End the older secret of a key that is being rotated, by its id or name, and tell running servers; the key.

    Raises
    ------
    NotFound, Forbidden
        See `guard.rows.finish`.
    """
    from modelyard.guard import rows  # noqa: PLC0415 - as above

    which = keyring.meant(which)
    with home.change("key.finish", which) as (connection, record):
        key = keyring.load(connection.exec_driver_sql).find(which)
        if rows.finish(connection, home.actor, key.id, datetime.now(UTC)):
            record(str(key), {"name": key.name})
    _announce(home, f"the older secret of key {key.name} has ended")
    return read(home).keys[key.id]


def revoke(home: Home, which: str) -> tuple[GrantedKey, tuple[GrantedKey, ...]]:
    """End a key, by its id or name, and tell running servers. One that was revoked stays so.

    Returns
    -------
    tuple of GrantedKey and tuple of GrantedKey
        The key, and those that end with it, because it made them or their makers.

    Raises
    ------
    NotFound, Forbidden
        See `guard.rows.revoke`.
    """
    from modelyard.guard import rows  # noqa: PLC0415 - as above

    which = keyring.meant(which)
    with home.change("key.revoke", which) as (connection, record):
        ring = keyring.load(connection.exec_driver_sql)
        key = ring.find(which)
        ended = tuple(child for child in ring.made_by(key.id) if child.revoked_at is None)
        if rows.revoke(connection, home.actor, key.id, datetime.now(UTC)):
            record(str(key), {"name": key.name, "with": " ".join(map(str, ended))})
    _announce(home, f"key {key.name} is revoked")
    return read(home).keys[key.id], ended


def read(home: Home) -> Keyring:
    """All keys, as they are now."""
    with home.database.read() as connection:
        return keyring.load(connection.execute)


def touch(home: Home, used: Mapping[str, datetime]) -> None:
    """Keep when keys, by id, were last used. No act of anybody: nothing is recorded, and no server needs to know."""
    from modelyard.guard import rows  # noqa: PLC0415 - as above

    with home.database.write() as connection:
        rows.touch(connection, used)


def renew_pepper(home: Home) -> tuple[int, tuple[int, ...]]:
    """Make a new pepper for the secrets to come; its number, and those of the old ones that no secret needed any more.

    The old ones that are needed stay: rotating a key moves it to the newest.
    """
    from modelyard.guard import rows  # noqa: PLC0415 - as above

    folder = home.settings.secrets
    with home.change("pepper.renew", "peppers") as (connection, record):
        rows.check_may(connection, home.actor, datetime.now(UTC))
        number, _ = peppers.add(folder)
        spare = tuple(sorted(peppers.peppers(folder).keys() - rows.peppers_used(connection) - {number}))
        record(f"pepper:{number}", {"removed": " ".join(map(str, spare))})
    for old in spare:
        peppers.remove(folder, old)
    return number, spare


def refresh(home: Home) -> bool:
    """Render the key table from the database; whether it had to be.

    One process at a time, each from the rows as they are then, so that the last to finish has seen every change.
    """
    path = home.settings.keys
    with files.locked(files.make_folder(home.settings.secrets)):
        table = read(home).table()
        raw = table.to_bytes()
        if (not table.keys and not path.exists()) or _same(path, raw):
            return False
        files.replace(path, raw)
    return True


def access(home: Home, hosts: tuple[str, ...] = ()) -> Access:
    """Where servers find out who may call them, and by which names; a table that was left behind is mended first."""
    refresh(home)
    settings = home.settings
    return Access(
        keys=str(settings.keys),
        peppers=str(settings.secrets),
        tokens=str(settings.tokens),
        certificates=str(settings.certificates),
        hosts=hosts,
    )


def described(grant: Grant) -> dict[str, str]:
    """What the audit log keeps of a grant."""
    return {
        "name": grant.name,
        "scopes": " ".join(sorted(map(str, grant.scopes))),
        "networks": " ".join(grant.networks),
        "rate": grant.rate,
        "life_s": f"{grant.life.total_seconds():.0f}",
    }


def pepper(settings: Settings) -> tuple[int, bytes]:
    """The pepper for a new secret, made when it is the first; called under the writers' lock."""
    return peppers.newest(settings.secrets) or peppers.add(settings.secrets)


def announced(home: Home, minted: Key, done: str) -> Minted:
    """What was made, once running servers can know it."""
    _announce(home, done)
    ring = read(home)
    key = ring.keys[minted.id]
    return Minted(str(minted), key, ring.power(key.id), ring.state(key, datetime.now(UTC)))


def _announce(home: Home, done: str) -> None:
    """`refresh` after an act that stands whatever happens now; an error says that it stands."""
    try:
        refresh(home)
    except (ModelyardError, OSError) as exc:
        cause = exc.detail if isinstance(exc, ModelyardError) else exc.strerror
        raise Unavailable(
            what=f"{done}, but running servers could not be told", cause=cause, hint="modelyard key list tells them"
        ) from exc


def _same(path: Path, raw: bytes) -> bool:
    return path.exists() and path.read_bytes() == raw
