"""Changes of files that a record is kept of: finished where it was kept, undone where it was not.

A file and a row cannot be kept in one step. So what a file is to become is written beside it, under a name that the
record has too; when the record is kept, it takes the file's place. A process that is killed between the two leaves a
file whose record tells what has to be done with it, and whoever opens the home next does that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.store import files

if TYPE_CHECKING:
    import sqlalchemy as sa

    from modelyard.store.database import Database

_NEXT = ".next"


def aside(path: Path) -> tuple[Path, str]:
    """Where to write what this file is to become, and what its record has to say of it (``change``)."""
    number = os.urandom(8).hex()
    return path.with_name(f"{path.name}.{number}{_NEXT}"), number


def settle(folder: Path, database: Database) -> None:
    """Finish, or undo, changes of the home's files that were interrupted."""
    if any(folder.glob(f"*{_NEXT}")):
        with database.write() as connection:
            settled(connection, folder)


def settled(connection: sa.Connection, folder: Path) -> None:
    """The same as `settle`, by who has the writers' lock."""
    from modelyard.guard import audit  # noqa: PLC0415 - brings SQLAlchemy, which who writes has brought

    for path in folder.glob(f"*{_NEXT}"):
        if audit.has(connection, "change", path.suffixes[-2][1:]):
            put(path)
        else:
            path.unlink(missing_ok=True)


def put(path: Path) -> None:
    """Let what was written aside take its file's place; nothing where somebody who settles has done so."""
    try:
        path.replace(path.with_suffix("").with_suffix(""))
        files.sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise files.full_or(exc, path.parent) from exc
