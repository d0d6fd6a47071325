"""Layers of an image: files -> tar -> gzip, the same files always the same bytes; a layer is made once and kept.

What is promised: the tar, and so a layer's diff id, is a function of the entries alone. The order in which they are
given, this machine's users, umask, clock, locale and folders do not show, and its headers are written by the rules of
POSIX (ustar, and pax where a name or size needs it), not by what this machine's file system says. The packed bytes, and
so the digest, are the same wherever the same zlib packs them; another zlib (zlib-ng, another version) may find another
packing of the same tar. An image's id is made of diff ids and holds everywhere; its digest holds for one zlib.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import msgspec

from modelyard.core.errors import BuildFailed
from modelyard.ship.image.shelf import CHUNK_BYTES, Aside, Shelf, chunks_of

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
#: The level: 9 saves one percent and takes twice as long.
LEVEL = 6
#: Part of every key: raise it when the same entries make another tar.
FORMAT = "1"
_BLOCK = tarfile.BLOCKSIZE
#: What is packed by itself, and what of the block before it may be referred to.
_BLOCK_BYTES, _WINDOW_BYTES = 1 << 20, 32 << 10
#: An empty block that says that it is the last.
_LAST_BLOCK = b"\x03\x00"
_THREADS = min(8, os.cpu_count() or 1)
#: No name, no time, no level, no system: nothing that another machine would write otherwise.
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@dataclass(frozen=True)
class Entry:
    """One file, link or folder of a layer.

    Parameters
    ----------
    path : str
        Below the root, with slashes: ``opt/modelyard/plan.json``.
    mode : int
        Rights, as the image shall have them.
    content : bytes or Path or None
        Of a file: its bytes, or the file of this machine that has them.
    link : str
        Of a symbolic link: where it leads.
    """

    path: str
    mode: int = 0o755
    content: bytes | Path | None = None
    link: str = ""

    def __post_init__(self) -> None:
        if any(part in {"", ".", ".."} for part in self.path.split("/")) or "\0" in self.path + self.link:
            raise BuildFailed(what=f"{self.path[:200]!r} cannot be a path in an image")


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that was made.

    Parameters
    ----------
    digest, size_bytes : str, int
        Of the packed bytes, which the shelf has under this digest.
    diff_id, unpacked_bytes : str, int
        Of the tar.
    content_bytes : int
        All its files together.
    media_type : str
        How it is packed.
    """

    digest: str
    size_bytes: int
    diff_id: str
    unpacked_bytes: int
    content_bytes: int = 0
    media_type: str = GZIP


def folder(path: str) -> Entry:
    """A folder that everybody may enter and only root may write to."""
    return Entry(path)


def file(path: str, content: bytes | Path, *, executable: bool = False) -> Entry:
    """A file that everybody may read and only root may write to."""
    return Entry(path, 0o755 if executable else 0o644, content)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, 0o777, link=target)


def layer(shelf: Shelf, key: str, entries: Callable[[], Iterable[Entry]]) -> Layer:
    """The layer that was made under this key, its bytes verified; else it is made of `entries()`, and kept.

    Parameters
    ----------
    shelf : Shelf
        Where layers are kept.
    key : str
        Names all that the entries are made of: the same key, the same entries. See `key_of`.
    entries : callable
        Gives them; not called when the layer is there.
    """
    made = shelf.note(key, Layer)
    if made is not None and shelf.find(made.digest) is not None:
        return made
    made = pack(shelf, entries())
    shelf.write_note(key, made)
    return made


def key_of(*parts: str) -> str:
    """One key of several parts, none of which can be mistaken for two."""
    return msgspec.json.encode([FORMAT, zlib.ZLIB_RUNTIME_VERSION, *parts]).decode()


def made_by(*modules: ModuleType) -> str:
    """A part of keys: another one when one of these modules, which decide on what is in a layer, is another one."""
    sources = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)
    return hashlib.sha256(sources).hexdigest()


def pack(shelf: Shelf, entries: Iterable[Entry]) -> Layer:
    """A layer of these entries, on the shelf."""
    with shelf.writing() as aside:
        with _Packing(aside) as packing:
            content_bytes = sum(_add(packing, entry) for entry in _complete(entries))
            packing.write(bytes(2 * _BLOCK))
        shelf.put(aside)
        return Layer(
            digest=aside.digest,
            size_bytes=aside.size_bytes,
            diff_id=f"sha256:{packing.tar_hash.hexdigest()}",
            unpacked_bytes=packing.tar_bytes,
            content_bytes=content_bytes,
        )


def pack_tar(shelf: Shelf, tar: Path) -> Layer:
    """A layer of a tar that somebody else made, its bytes as they are."""
    with shelf.writing() as aside:
        with _Packing(aside) as packing:
            for chunk in chunks_of(tar):
                packing.write(chunk)
        shelf.put(aside)
        return Layer(
            digest=aside.digest,
            size_bytes=aside.size_bytes,
            diff_id=f"sha256:{packing.tar_hash.hexdigest()}",
            unpacked_bytes=packing.tar_bytes,
            content_bytes=packing.tar_bytes,
        )


class _Packing:
    """Gzip by our own hand, on all cores: blocks of a fixed size, each packed by itself with what came before in mind.

    So how many threads there are does not show. Python's own puts the level and, on some versions, the system into the
    head.
    """

    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self._threads = ThreadPoolExecutor(_THREADS)
        self._packed: deque[Future[bytes]] = deque()
        self._block = bytearray()
        self._before = b""
        self._crc = 0
        self.tar_hash = hashlib.sha256()
        self.tar_bytes = 0
        aside.write(_GZIP_HEAD)

    def __enter__(self) -> _Packing:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._end()
        self._threads.shutdown(cancel_futures=True)

    def write(self, raw: bytes) -> None:
        """More of the tar."""
        self._block += raw
        while len(self._block) >= _BLOCK_BYTES:
            self._give(bytes(self._block[:_BLOCK_BYTES]))
            del self._block[:_BLOCK_BYTES]

    def _give(self, block: bytes) -> None:
        self._crc = zlib.crc32(block, self._crc)
        self.tar_bytes += len(block)
        self._packed.append(self._threads.submit(_packed, block, self._before))
        self._before = block[-_WINDOW_BYTES:]
        self.tar_hash.update(block)
        while len(self._packed) > 2 * _THREADS:
            self._aside.write(self._packed.popleft().result())

    def _end(self) -> None:
        """That was all."""
        self._give(bytes(self._block))
        for packed in self._packed:
            self._aside.write(packed.result())
        tail = self._crc.to_bytes(4, "little") + (self.tar_bytes & 0xFFFFFFFF).to_bytes(4, "little")
        self._aside.write(_LAST_BLOCK + tail)


def _packed(block: bytes, before: bytes) -> bytes:
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before)
    return deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)


def _complete(entries: Iterable[Entry]) -> list[Entry]:
    """In order, every folder before what is in it; folders that nobody named are made."""
    by_path: dict[str, Entry] = {}
    for entry in entries:
        if by_path.setdefault(entry.path, entry) != entry:
            raise BuildFailed(what=f"two files of the image have the path {entry.path[:200]!r}")
    for path in list(by_path):
        while path := path.rpartition("/")[0]:
            above = by_path.setdefault(path, folder(path))
            if above.content is not None or above.link:
                raise BuildFailed(what=f"{path[:200]!r} of the image is a file and a folder")
    return [by_path[path] for path in sorted(by_path, key=lambda path: path.split("/"))]


def _add(packing: _Packing, entry: Entry) -> int:
    """Write one entry; how many bytes its content has."""
    info = tarfile.TarInfo(entry.path)
    info.mode = entry.mode
    if entry.link:
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
    elif entry.content is None:
        info.type = tarfile.DIRTYPE
    if not isinstance(entry.content, Path):
        raw = entry.content or b""
        info.size = len(raw)
        _put(packing, info, iter((raw,)))
        return info.size
    try:
        with entry.content.open("rb", buffering=0) as source:
            info.size = source.seek(0, 2)
            source.seek(0)
            _put(packing, info, iter(lambda: source.read(CHUNK_BYTES), b""))
    except OSError as exc:
        raise BuildFailed(what=f"cannot read {entry.content.name!r}", cause=exc.strerror or "") from exc
    return info.size


def _put(packing: _Packing, info: tarfile.TarInfo, chunks: Iterator[bytes]) -> None:
    packing.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
    left = info.size
    for chunk in chunks:
        left -= len(chunk)
        if left >= 0:
            packing.write(chunk)
    if left:
        raise BuildFailed(what=f"{info.name[:200]!r} was changed while it was read", hint="run the same command again")
    packing.write(bytes(-info.size % _BLOCK))
