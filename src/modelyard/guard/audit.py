"""Writing the audit log: a record joins the transaction of what it records, so that neither is kept without the other.

Whoever changes something calls `record` once, on the connection of that change; `records` says what a record is.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import sqlalchemy as sa

from modelyard.core.act import Act
from modelyard.guard import records
from modelyard.guard.tables import AUDIT

_NEWEST = 1000


def record(connection: sa.Connection, act: Act) -> None:
    """Append the act to the log, inside the transaction of `connection`, which holds the writers' lock.

    Texts are kept on one line and cut to their columns' width; see `records.plain`.
    """
    sequence, before = records.head(connection.exec_driver_sql)
    at = datetime.now(UTC)
    sealed = records.seal(act, sequence + 1, at, before)
    connection.execute(sa.insert(AUDIT).values(msgspec.structs.asdict(sealed) | {"at": at}))


def has(connection: sa.Connection, word: str, value: str) -> bool:
    """Whether one of the newest thousand records says this of its act."""
    newest = sa.select(AUDIT.c.detail).order_by(AUDIT.c.sequence.desc()).limit(_NEWEST)
    return any(detail.get(word) == value for (detail,) in connection.execute(newest))
