"""Folders in memory: what lies there never reaches a disk that outlives the machine's power (swap is its owner's)."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from modelyard.core.errors import Denied, Unavailable
from modelyard.store import files

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_MOUNTS = Path("/proc/self/mountinfo")
_SWAPS = Path("/proc/swaps")


def folder_for(home: Path, candidates: Sequence[Path]) -> Path:
    """The folder in memory that belongs to this home, for this user alone, made when there is none.

    Parameters
    ----------
    home : Path
        Of whom; another home has another folder.
    candidates : sequence of Path
        Folders of which the first that lies in memory is used.

    Raises
    ------
    Unavailable
        None of them lies in memory.
    Denied
        Somebody else's folder is there.
    """
    base = next((path for path in candidates if lies_in_memory(path)), None)
    if base is None:
        raise Unavailable(
            what="there is no folder in memory, where decrypted bundles could be laid out",
            cause=f"not in memory: {', '.join(map(str, candidates))}" if candidates else "none is named",
            hint="mount one and name it: mount -t tmpfs tmpfs FOLDER; export MODELYARD_MEMORY=FOLDER",
        )
    mark = hashlib.sha256(os.fsencode(home.absolute())).hexdigest()[:16]
    return _own(base / f"modelyard-{os.geteuid()}-{mark}")


def lies_in_memory(folder: Path) -> bool:
    """Whether it is a folder on a file system without a disk."""
    try:
        device = folder.stat().st_dev
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:  # it is not there; or this is no Linux
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    kinds = {line.split()[2]: line.rpartition(" - ")[2].split()[0] for line in mounts}
    return kinds.get(wanted) in _IN_MEMORY


def can_be_swapped() -> bool:
    """Whether this machine swaps memory to a disk; compressed memory (zram) is none."""
    try:
        devices = _SWAPS.read_text("utf-8", "surrogateescape").splitlines()[1:]
    except OSError:
        return False
    return any("/zram" not in line.split()[0] for line in devices)


def _own(folder: Path) -> Path:
    """Everybody may make folders in /dev/shm: one that is not ours may not be trusted with anything."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        raise files.refused(exc, folder) from exc
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Denied(what=f"{folder.name} belongs to somebody else", hint=f"see who made it: ls -ld {folder}")
    folder.chmod(0o700)
    return folder
