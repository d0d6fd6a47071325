"""The schema's history, one file a step in `versions/`; Alembic is imported only when there is a step to take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The newest step. A database that says the same is opened without Alembic, which costs 0.15 s to import.
HEAD = "0003"
#: Every step this version knows; a database that names another one was made by a newer Modelyard.
KNOWN = frozenset({"0001", "0002", HEAD})
#: Where a database says which step it has reached.
TABLE = "alembic_version"


def upgrade(connection: Connection) -> None:
    """Take all steps that the database lacks, inside the transaction of `connection`: all of them or none."""
    from alembic import command  # noqa: PLC0415 - only when there is a step to take
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "modelyard.store:migrations")
    command.upgrade(config, "head")
