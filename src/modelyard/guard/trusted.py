"""The rows of trust: whose signatures count for which models, and the least version of a model that does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelyard.core.trust import Policy, Trust, TrustedKey

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Runs one statement and gives the rows; a connection's own, of the driver or of a writer.
Execute = Callable[[str], Iterable[Any]]

_KEYS = "SELECT key_id, models, public FROM trusted ORDER BY key_id, models"
_MINIMUMS = "SELECT name, version FROM minimums ORDER BY name"


def read(execute: Execute, policy: Policy) -> Trust:
    """What a version has to show under this policy; nothing is looked up when it is off."""
    if policy is Policy.OFF:
        return Trust()
    keys = tuple(TrustedKey(*row) for row in execute(_KEYS))
    minimums = dict(tuple(row) for row in execute(_MINIMUMS))
    return Trust(policy, keys, minimums)


def add(connection: sa.Connection, key: TrustedKey, by: str) -> bool:
    """Trust the key for its models; whether it was not trusted for exactly these already."""
    from modelyard.guard.tables import TRUSTED  # noqa: PLC0415 - brings SQLAlchemy, for those who write

    if key in read(connection.exec_driver_sql, Policy.WARN).keys:
        return False
    row = {"key_id": key.id, "models": key.models, "public": key.public}
    connection.execute(TRUSTED.insert().values(**row, created_by=by, created_at=datetime.now(UTC)))
    return True


def remove(connection: sa.Connection, key: TrustedKey) -> None:
    """Trust the key for these models no longer."""
    from modelyard.guard.tables import TRUSTED  # noqa: PLC0415 - as above

    mine = (TRUSTED.c.key_id == key.id) & (TRUSTED.c.models == key.models)
    connection.execute(TRUSTED.delete().where(mine))


def set_minimum(connection: sa.Connection, name: str, version: int) -> int:
    """Make this the least version of the model whose signature counts; the one before, 0 for none."""
    from modelyard.guard.tables import MINIMUMS  # noqa: PLC0415 - as above

    before = read(connection.exec_driver_sql, Policy.WARN).minimums.get(name, 0)
    if version != before:
        connection.execute(MINIMUMS.delete().where(MINIMUMS.c.name == name))
        if version:
            row = {"name": name, "version": version, "updated_at": datetime.now(UTC)}
            connection.execute(MINIMUMS.insert().values(row))
    return before
