"""Files that readers see whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from modelyard.core.errors import StoreFull


def replace(path: Path, raw: bytes, *, mode: int = 0o600) -> None:
    """Put `raw` at `path` atomically: write aside, fsync, rename, fsync the folder. `StoreFull` leaves no trace."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as exc:
        aside.unlink(missing_ok=True)
        raise full_or(exc, path.parent) from exc


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def full_or(exc: OSError, where: Path) -> Exception:
    """`StoreFull` when the disk or a quota is full, else the error as it was."""
    return StoreFull(where=where.name) if exc.errno in {errno.ENOSPC, errno.EDQUOT} else exc
