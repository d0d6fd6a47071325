"""What tables of every room are made of: their common list, and times in one form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, kept as ISO text of one width, which sorts as time does on every database."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:
        """To ``2026-01-02T03:04:05.000000+00:00``."""
        del dialect
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Any) -> datetime | None:
        """Back to an aware time."""
        del dialect
        return None if value is None else datetime.fromisoformat(value)


#: All tables of the database; `migrations` makes them, a test keeps the two alike.
METADATA = sa.MetaData()
