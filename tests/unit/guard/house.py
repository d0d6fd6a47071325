"""A house of keys: the real tables in memory, a clock that is moved by hand, and who knows which secret."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from modelyard.core.identity import LOCAL, Permission, Principal, parse_scope
from modelyard.guard import keyring, keys, rows
from modelyard.guard.grant import Grant
from modelyard.guard.keyring import GrantedKey, Keyring
from modelyard.guard.keys import Key
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable
from modelyard.guard.tables import KEYS, SECRETS

PEPPER = (1, b"p" * 32)
DAY = timedelta(days=1)


def scopes(*texts: str) -> frozenset[Any]:
    """Scopes by their texts."""
    return frozenset(map(parse_scope, texts))


class House:
    """Keys are made and ended as servers would have it done. Empty when it is made; there is one at a time."""

    def __init__(self) -> None:
        self._engine = _engine()  # what it has compiled serves the next house too
        with self.writing() as connection:
            for table in (SECRETS, KEYS):
                connection.execute(sa.delete(table))
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def writing(self) -> AbstractContextManager[sa.Connection]:
        return self._engine.begin()

    def create(self, name: str, *texts: str, actor: Principal = LOCAL, **facts: Any) -> Key:
        grant = Grant(name=name, scopes=scopes(*(texts or ("model:*:predict",))), **facts)
        with self.writing() as connection:
            return rows.create(connection, actor, grant, PEPPER, self.now)

    def rotate(self, which: str, *, actor: Principal = LOCAL, overlap: timedelta = DAY) -> Key:
        with self.writing() as connection:
            return rows.rotate(connection, actor, which, overlap, PEPPER, self.now)

    def finish(self, which: str, *, actor: Principal = LOCAL) -> bool:
        with self.writing() as connection:
            return rows.finish(connection, actor, which, self.now)

    def revoke(self, which: str, *, actor: Principal = LOCAL) -> bool:
        with self.writing() as connection:
            return rows.revoke(connection, actor, which, self.now)

    def ring(self) -> Keyring:
        with self.writing() as connection:
            return keyring.load(connection.exec_driver_sql)

    def key(self, which: str) -> GrantedKey:
        return self.ring().find(which)

    def actor(self, which: str) -> Principal:
        """Who has this key, as a server saw it that knows nothing newer than its grant."""
        key = self.key(which)
        return Principal(str(key), key.grant.scopes, "key")

    def table(self) -> KeyTable:
        return self.ring().table()


@cache
def _engine() -> sa.Engine:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    for table in (KEYS, SECRETS):
        table.create(engine)
    return engine


def kept(table: KeyTable, key_id: str) -> KeptKey | None:
    return next((key for key in table.keys if key.id == key_id), None)


def opens(
    table: KeyTable, key: Key, permission: Permission, address: ipaddress.IPv4Address | None, at: datetime
) -> bool:
    """What a replica with this table would say, in the plainest way to say it."""
    found, seconds = kept(table, key.id), at.timestamp()
    if found is None or not _knows(found.secrets, key.secret, seconds):
        return False
    if not found.not_before_s <= seconds < found.expires_s:
        return False
    near = not found.networks or any(address in ipaddress.ip_network(net) for net in found.networks if address)
    return near and any(parse_scope(text).covers(permission) for text in found.scopes)


def _knows(secrets: Iterable[KeptSecret], secret: str, seconds: float) -> bool:
    digest = keys.digest(PEPPER[1], secret)
    return any(one.digest == digest and (one.expires_s is None or seconds < one.expires_s) for one in secrets)
