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


def record(connection: sa.Connection, act: Act) -> None:
    """Append the act to the log, inside the transaction of `connection`, which holds the writers' lock.

    Texts are kept on one line and cut to their columns' width; see `records.plain`.
    """
    sequence, before = records.head(connection.exec_driver_sql)
    at = datetime.now(UTC)
    sealed = records.seal(act, sequence + 1, at, before)
    connection.execute(sa.insert(AUDIT).values(msgspec.structs.asdict(sealed) | {"at": at}))
