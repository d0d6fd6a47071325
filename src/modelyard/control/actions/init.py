"""Init: a home with its first secrets, and one key that may everything. No secret is there before, or by default."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.control.actions.keys import Minted
from modelyard.core.errors import Conflict
from modelyard.core.identity import Role, scopes
from modelyard.guard import keyring
from modelyard.guard.grant import Grant
from modelyard.store import files

ADMIN = "admin"


def init(home: Home) -> tuple[Minted, Path]:
    """Give a home its pepper and the admin's key, which is also written to a file for this user alone.

    The file is there before the key is worth anything: whatever stops this, an acknowledged key can be read, and the
    same command makes good what was not acknowledged.

    Returns
    -------
    Minted and Path
        The key, and the file that holds it.

    Raises
    ------
    Conflict
        The home has had a key.
    StoreFull, Unavailable
        The files cannot be written; nothing was made.
    """
    from modelyard.guard import rows  # noqa: PLC0415 - brings SQLAlchemy

    path = admin_file(home)
    with home.change("home.init", ADMIN) as (connection, record):
        _check_new(keyring.load(connection.exec_driver_sql), path)
        grant = Grant(name=ADMIN, scopes=scopes(Role.ADMIN))
        minted = rows.create(connection, home.actor, grant, keys.pepper(home.settings), datetime.now(UTC))
        _leave(path, str(minted))
        record(f"key:{minted.id}", keys.described(grant))
    return keys.announced(home, minted, "the admin's key is made"), path


def admin_file(home: Home) -> Path:
    """Where the first key is left for whoever may read it."""
    return home.settings.secrets / f"{ADMIN}.key"


def _leave(path: Path, key: str) -> None:
    try:
        files.replace(path, f"{key}\n".encode())
    except OSError as exc:
        raise files.refused(exc, path) from exc


def _check_new(ring: keyring.Keyring, path: Path) -> None:
    if ring.keys:
        names = [key.name for key in ring.keys.values() if key.revoked_at is None]
        where = f"; the first may be in {path.parent.name}/{path.name}" if path.exists() else ""
        raise Conflict(
            what="this home has been set up before",
            cause=f"it has {len(names)} {'key' if len(names) == 1 else 'keys'}{where}",
            hint="make another key that may everything: modelyard key create NAME --role admin",
        )
