"""A root file system out of an image's layers, in a folder of this machine.

What lies in a layer is somebody else's word. Nothing outside of the folder is written, read or linked to: paths are
walked by us, link by link, as they would be inside a container whose root the folder is. Devices, sockets and owners
are left out, so that no rights are needed; nobody else's rights to a file are more than reading.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import shutil
import stat
import struct
import sys
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from modelyard.core.errors import BuildFailed, TooLarge
from modelyard.ship.image import shelf

#: What an unpacked base may have at most: 50 times what one has.
MOST_BYTES, MOST_FILES = 8 << 30, 500_000
_MOST_HOPS = 40  # links followed in one path, as Linux does
_DEEPEST = 100
_HOSTILE = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
#: Heads of one file, with what is read ahead, and the end of a tar.
_HEAD_BYTES = 4 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass
class _Room:
    """What may still be unpacked."""

    left_bytes: int = MOST_BYTES
    left_files: int = MOST_FILES

    def take(self, size: int) -> None:
        """A file of this size, while there is room."""
        self.left_bytes -= size
        self.left_files -= 1
        if self.left_bytes < 0 or self.left_files < 0:
            limit = f"{MOST_BYTES >> 30} GiB in {MOST_FILES} files"
            raise TooLarge(what="base image, unpacked,", limit=limit, hint="name a smaller image: --base IMAGE")


class Rootfs:
    """The folder, and the layers that were applied to it so far.

    Parameters
    ----------
    root : Path
        Empty, and nobody else's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._room = _Room()
        #: Where folders lead that were asked for already, until something takes a link's or a folder's place.
        self._folders: dict[str, Path] = {}

    def apply(self, layer: Path, diff_id: str) -> int:
        """Put a layer on top of what is there; how many bytes it has, unpacked.

        Raises
        ------
        BuildFailed
            It is damaged, is not the tar of this diff id, or holds what no layer may hold.
        TooLarge
            It is larger than anything that is an image.
        StoreFull
            There is no room for it.
        """
        written: set[Path] = set()
        try:
            with layer.open("rb") as packed:
                tar = _Tar(unpacked(packed))
                with tarfile.open(fileobj=tar, mode="r|", encoding="utf-8") as members:  # type: ignore[call-overload]
                    for member in members:
                        tar.expect(member.size)
                        self._add(members, member, written)
                tar.drain()
        except damages() as exc:
            raise BuildFailed(what=f"layer {diff_id[:19]}… of the base image is damaged", cause=str(exc)[:200]) from exc
        except OSError as exc:
            if exc.errno in _HOSTILE:
                raise BuildFailed(what="the base image holds a path that cannot be", cause=exc.strerror) from exc
            raise shelf.refused(exc, self.root) from exc
        if tar.digest != diff_id:
            raise shelf.changed(diff_id)
        return tar.size_bytes

    def inside(self, path: str) -> Path:
        """Where this path of the container leads, on this machine; the last part is not followed."""
        parts = [part for part in path.split("/") if part not in {"", "."}]
        here: list[str] = []
        hops = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                here = here[:-1]
                continue
            where = self.root.joinpath(*here, part)
            if parts and where.is_symlink():
                hops += 1
                if hops > _MOST_HOPS:
                    raise BuildFailed(what=f"{path[:200]!r} of the base image leads in a circle")
                target = str(where.readlink())
                here = [] if target.startswith("/") else here
                parts = [each for each in target.split("/") if each not in {"", "."}] + parts
            else:
                here.append(part)
        if len(here) > _DEEPEST:
            raise BuildFailed(what=f"{path[:200]!r} of the base image is deeper than {_DEEPEST} folders")
        return self.root.joinpath(*here)

    def follow(self, path: str) -> Path | None:
        """As `inside`, the last part followed too; None where that leads nowhere."""
        for _ in range(_MOST_HOPS):
            where = self.inside(path)
            if not where.is_symlink():
                return where if where.exists() else None
            target = str(where.readlink())
            path = target if target.startswith("/") else f"{where.parent.relative_to(self.root).as_posix()}/{target}"
        return None

    def _add(self, members: tarfile.TarFile, member: tarfile.TarInfo, written: set[Path]) -> None:
        parts = [part for part in member.name.split("/") if part not in {"", "."}]
        if ".." in parts or "\0" in member.name + member.linkname:
            raise BuildFailed(what=f"the base image holds the path {member.name[:200]!r}", cause="it leads out of it")
        self._room.take(max(0, member.size) if member.isreg() else 0)
        if not parts:
            return
        *above, name = parts
        where = self._folder(above) / name
        if name.startswith(_WHITEOUT):
            self._white_out(where, written)
            return
        self._make(members, member, where)
        while where not in written:
            written.add(where)
            where = where.parent

    def _folder(self, parts: list[str]) -> Path:
        """The folder that these lead to, made where it is not there; what is in its place and is none, goes."""
        whole = "/".join(parts)
        if whole in self._folders:
            return self._folders[whole]
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            where = self.follow(path) or self.inside(path)
            if stat.S_ISDIR(_mode(where)):
                continue
            self._folders.clear()
            _remove(where)
            where.mkdir(0o755)
        self._folders[whole] = self.follow(whole) or self.root
        return self._folders[whole]

    def _white_out(self, where: Path, written: set[Path]) -> None:
        """Remove what lower layers put there; what this one did stays, whatever came first."""
        self._folders.clear()
        hidden = where.name.removeprefix(_WHITEOUT)
        if where.name == _OPAQUE:
            for child in where.parent.iterdir():
                _clear(child, written)
        elif hidden in {"", ".", ".."}:
            raise BuildFailed(what=f"the base image removes {where.name!r}", cause="no file can be called so")
        else:
            _clear(where.parent / hidden, written)

    def _make(self, members: tarfile.TarFile, member: tarfile.TarInfo, where: Path) -> None:
        mode, there = stat.S_IMODE(member.mode) & 0o755, _mode(where)
        if there and not stat.S_ISREG(there) and not (stat.S_ISDIR(there) and member.isdir()):
            self._folders.clear()
        if member.isdir():
            if not stat.S_ISDIR(there):
                where.unlink(missing_ok=True)
                where.mkdir()
            where.chmod(mode | 0o700)
            return
        _remove(where)
        if member.issym():
            where.symlink_to(member.linkname)
        elif member.islnk():
            self._link(member, where)
        elif member.isreg():
            source = members.extractfile(member)
            assert source is not None
            fd = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                shutil.copyfileobj(source, file, shelf.CHUNK_BYTES)
            where.chmod(mode | 0o600)

    def _link(self, member: tarfile.TarInfo, where: Path) -> None:
        target = self.inside(member.linkname)
        if not stat.S_ISREG(_mode(target)):
            raise BuildFailed(
                what=f"the base image links {member.name[:200]!r} to {member.linkname[:200]!r}", cause="that is no file"
            )
        os.link(target, where, follow_symlinks=False)


class _Tar:
    """A stream that is hashed as it is read. Between two files no more is read than their heads can need.

    `tarfile` reads a head of any size into memory when the tar says that it has one.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._left = _HEAD_BYTES
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        """Of all that was read."""
        return f"sha256:{self._hash.hexdigest()}"

    def expect(self, size: int) -> None:
        """A file of this size comes, then the next head."""
        self._left = max(0, size) + _HEAD_BYTES

    def read(self, size: int) -> bytes:
        """More of it."""
        raw = self._stream.read(size)
        self._hash.update(raw)
        self.size_bytes += len(raw)
        self._left -= len(raw)
        if self._left < 0:
            raise BuildFailed(what="a layer of the base image has a head that is too large to be one")
        return raw

    def drain(self) -> None:
        """The rest: what follows the end of the tar belongs to its hash."""
        while self.read(shelf.CHUNK_BYTES):
            pass


def unpacked(packed: IO[bytes]) -> IO[bytes]:
    """The tar in it, by its first bytes: media types are not always right."""
    head = packed.read(4)
    packed.seek(0)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    if kind == "gzip":
        return gzip.GzipFile(fileobj=packed)  # type: ignore[return-value]
    if kind == "zstd":
        stream: IO[bytes] = _zstd().ZstdFile(packed)
        return stream
    return packed


def damages() -> tuple[type[Exception], ...]:
    """All that the readers of damaged or hostile bytes raise; looked at only when something is raised."""
    return (
        *(tarfile.TarError, zlib.error, gzip.BadGzipFile, _zstd().ZstdError),
        *(EOFError, ValueError, OverflowError, IndexError, KeyError, RecursionError, struct.error),
    )


def _zstd() -> Any:
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _remove(path: Path) -> None:
    """Whatever is there; links are not followed."""
    if stat.S_ISDIR(_mode(path)):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _clear(path: Path, kept: set[Path]) -> None:
    """Remove what is there, but for what is to be kept."""
    if path not in kept:
        _remove(path)
    elif stat.S_ISDIR(_mode(path)):
        for child in path.iterdir():
            _clear(child, kept)


def walk(root: Path) -> Iterator[Path]:
    """Everything below a folder, in order; links are not followed."""
    for where, folders, names in os.walk(root):
        folders.sort()
        yield from (Path(where, name) for name in sorted([*folders, *names]))
