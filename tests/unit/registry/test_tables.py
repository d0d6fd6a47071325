"""The tables that the catalogue speaks of are the ones that the migrations make."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from modelyard.guard import tables as _guard  # noqa: F401 - its tables join the list
from modelyard.registry.tables import VERSIONS
from modelyard.store.columns import METADATA, Moment
from modelyard.store.database import Database


def test_the_migrated_schema_is_the_metadata(tmp_path: Path) -> None:
    with Database.open(tmp_path / "modelyard.db").write() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, METADATA) == []
        inspector = sa.inspect(connection)
        for table in METADATA.tables.values():
            columns = {
                one["name"]: (bool(one["nullable"]), str(one["type"])) for one in inspector.get_columns(table.name)
            }
            wanted = {one.name: (one.nullable, str(one.type.compile(connection.dialect))) for one in table.columns}
            assert columns == wanted
            assert inspector.get_pk_constraint(table.name)["constrained_columns"] == [
                column.name for column in table.primary_key
            ]
        checks = {one["name"] for one in inspector.get_check_constraints(VERSIONS.name)}
        assert checks == {"version_is_positive"}


def test_metadata_comparison_can_fail(tmp_path: Path) -> None:
    wider = sa.MetaData()
    for table in METADATA.tables.values():
        table.to_metadata(wider)
    wider.tables["models"].append_column(sa.Column("owner", sa.String(10)))
    with Database.open(tmp_path / "modelyard.db").write() as connection:
        assert compare_metadata(MigrationContext.configure(connection), wider) != []


def test_moments_are_utc_and_sort_as_text() -> None:
    moment = Moment()
    east = timezone(timedelta(hours=9))
    times = [datetime(2026, 1, 1, 8, 0, tzinfo=east), datetime(2026, 1, 1, 0, 0, tzinfo=UTC)]
    texts = [moment.process_bind_param(time, None) for time in times]
    assert texts == ["2025-12-31T23:00:00.000000+00:00", "2026-01-01T00:00:00.000000+00:00"]
    assert [moment.process_result_value(text, None) for text in texts] == times
