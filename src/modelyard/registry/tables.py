"""The catalogue's tables; `store/migrations` makes them, a test keeps the two alike."""

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


METADATA = sa.MetaData()

#: A model that was removed keeps its row: `last_version` makes sure that no number is ever used twice.
MODELS = sa.Table(
    "models",
    METADATA,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("last_version", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)
VERSIONS = sa.Table(
    "versions",
    METADATA,
    sa.Column("name", sa.String(63), sa.ForeignKey("models.name"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("task", sa.String(32), nullable=False),
    sa.Column("source_format", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.CheckConstraint("version > 0", name="version_is_positive"),
)
ALIASES = sa.Table(
    "aliases",
    METADATA,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("alias", sa.String(63), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["name", "version"], ["versions.name", "versions.version"], name="alias_of_version"),
)
