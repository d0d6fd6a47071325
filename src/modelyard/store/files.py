"""Files that readers see whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelyard.core.errors import Busy, StoreFull, Unavailable

HOME_HINT = "set MODELYARD_HOME to a folder that you may write to"


def replace(path: Path, raw: bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Put `raw` at `path` atomically: write aside, fsync, rename, fsync the folder. `StoreFull` leaves no trace.

    Where `owner` (user and group) is given, it is theirs from the moment on when it can be seen.
    """
    aside = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "wb") as file:
            if owner is not None:
                os.fchown(fd, *owner)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as exc:
        aside.unlink(missing_ok=True)
        raise full_or(exc, path.parent) from exc


def hand_out(path: Path, raw: bytes) -> None:
    """`replace` a file that somebody named outside of the home; `Unavailable` when it cannot be there."""
    try:
        replace(path.absolute(), raw)
    except OSError as exc:
        hint = "name a file in a folder that is there and that you may write to"
        raise Unavailable(what=f"cannot write {path.name!r}", cause=exc.strerror or "", hint=hint) from exc


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> Path:
    """The folder, made with mode 0700 whatever the umask; parents too, those with the umask's rights."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)
        with suppress(PermissionError):  # /home may be entered but not read
            sync_folder(folder.parent)
    except FileExistsError as exc:
        if not folder.is_dir():
            raise Unavailable(what=f"{folder.name!r} is a file, not a folder", hint=HOME_HINT) from exc
    except OSError as exc:
        raise refused(exc, folder) from exc
    return folder


@contextmanager
def locked(folder: Path, *, shared: bool = False, wait_s: float = 60.0) -> Iterator[None]:
    """Hold the folder against other holders, threads and processes; the kernel lets go when a process dies.

    `Busy` when it is still held by others after `wait_s`: they work for milliseconds, so one of them must be stuck.
    """
    fd = os.open(folder, os.O_RDONLY)
    try:
        _lock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait_s)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, kind: int, wait_s: float) -> None:
    """Asked again after short random pauses, which is fairer to many who wait than pauses that grow."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() > deadline:
                raise Busy(
                    what="another modelyard has been changing the home folder for too long",
                    hint="see whether one is stopped or stuck, end it, and run the same command again",
                ) from exc
        time.sleep(random.uniform(0.001, 0.015))  # noqa: S311 - a pause, not a secret


def refused(exc: OSError, where: Path) -> Exception:
    """What to tell a person when the system refuses a folder or file of the store."""
    if isinstance(full_or(exc, where), StoreFull):
        return StoreFull(where=where.name)
    return Unavailable(what=f"cannot use {where.name!r} in the home folder", cause=exc.strerror, hint=HOME_HINT)


def full_or(exc: OSError, where: Path) -> Exception:
    """`StoreFull` when the disk or a quota is full, else the error as it was."""
    return StoreFull(where=where.name) if exc.errno in {errno.ENOSPC, errno.EDQUOT} else exc
