"""Peppers: the secrets of this installation under which keys are digested. Files, so that no database holds them."""

from __future__ import annotations

import re
from pathlib import Path

from modelyard.core.errors import Conflict, StoreDamaged, Unavailable
from modelyard.store import files

_NAME = re.compile(r"pepper-([1-9][0-9]{0,8})")
_SIZE = 32  # bytes
_TEXT = re.compile(rb"[0-9a-f]{64}\n?")


def peppers(folder: Path) -> dict[int, bytes]:
    """Every pepper by its number; none when there is no such folder.

    Raises
    ------
    StoreDamaged
        A file is not what `add` wrote.
    Unavailable
        A file cannot be read.
    """
    return {number: _read(_path(folder, number)) for number in _numbers(folder)}


def newest(folder: Path) -> tuple[int, bytes] | None:
    """The pepper for new secrets and its number; None when there is no pepper yet."""
    numbers = _numbers(folder)
    return (numbers[-1], _read(_path(folder, numbers[-1]))) if numbers else None


def add(folder: Path) -> tuple[int, bytes]:
    """Make the next pepper, for new secrets; the ones before stay, for the secrets that use them.

    Parameters
    ----------
    folder : Path
        `Settings.secrets`; made for this user alone when it is not there. One process at a time calls this.

    Returns
    -------
    int, bytes
        Its number and itself, on disk for good.

    Raises
    ------
    StoreFull, Unavailable
        There is no room, or the folder may not be written.
    """
    import secrets  # noqa: PLC0415 - workers read peppers and make none

    files.make_folder(folder)
    pepper = secrets.token_bytes(_SIZE)
    number = (_numbers(folder) or [0])[-1] + 1
    try:
        files.replace(_path(folder, number), pepper.hex().encode() + b"\n")
    except OSError as exc:
        raise files.refused(exc, folder) from exc
    return number, pepper


def remove(folder: Path, number: int) -> None:
    """Forget a pepper: no secret that was digested under it can be checked any more. Not the newest."""
    if _numbers(folder)[-1:] == [number]:
        raise Conflict(what=f"pepper-{number} is the one for new secrets")
    _path(folder, number).unlink(missing_ok=True)
    files.sync_folder(folder)


def _path(folder: Path, number: int) -> Path:
    return folder / f"pepper-{number}"


def _numbers(folder: Path) -> list[int]:
    """Their numbers, ascending."""
    found = map(_NAME.fullmatch, (path.name for path in folder.iterdir())) if folder.is_dir() else ()
    return sorted(int(match[1]) for match in found if match)


def _read(path: Path) -> bytes:
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name}", cause=exc.strerror, hint=files.HOME_HINT) from exc
    if not _TEXT.fullmatch(text):
        raise StoreDamaged(what=f"{path.name} is not a pepper of {_SIZE} bytes")
    return bytes.fromhex(text.decode())
