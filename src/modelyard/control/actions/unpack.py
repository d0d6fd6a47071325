"""Unpack: a bundle out of a .zip that may come from anybody. Nothing is written, no name in it becomes a path."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib

from modelyard.core.errors import CorruptBundle, TooLarge
from modelyard.core.manifest import FILES, MANIFEST, MODEL, SIGNATURE, read_manifest
from modelyard.model.bundle import SIGNATURE_BYTES, Bundle, sha256
from modelyard.model.inspect import MAX_BYTES

_NAMES = FILES | {MANIFEST, SIGNATURE}
_MANIFEST_BYTES = 16 << 20
# Others are not what `export` makes, and one of them takes as much memory as an archive says.
_PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, ValueError)


def unpack(raw: bytes, label: str) -> Bundle:
    """The bundle in this .zip: only files that a bundle has, each once, as its manifest says, no larger than it says.

    Raises
    ------
    CorruptBundle, TooLarge
        It is no such archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = _names(archive, label)
            manifest = read_manifest(_member(archive, MANIFEST, _MANIFEST_BYTES, label), label)
            if sum(entry.size_bytes for entry in manifest.files.values()) > MAX_BYTES:
                raise TooLarge(what="bundle", limit=f"{MAX_BYTES >> 20} MiB")
            files = {name: _member(archive, name, entry.size_bytes, label) for name, entry in manifest.files.items()}
            signature = _member(archive, SIGNATURE, SIGNATURE_BYTES, label) if SIGNATURE in names else None
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
    ) as exc:
        raise CorruptBundle(bundle=label, what="the archive is damaged") from exc
    for name, entry in manifest.files.items():
        if sha256(files[name]) != entry.sha256:
            raise CorruptBundle(bundle=label, what=f"{name} was changed")
    if MODEL not in files:
        raise CorruptBundle(bundle=label, what=f"{MODEL} is missing")
    return Bundle(manifest, files, signature)


def _names(archive: zipfile.ZipFile, label: str) -> set[str]:
    """What is in it, each looked at: no strangers, no links or devices, nothing twice."""
    names: set[str] = set()
    for item in archive.infolist():
        name, kind = item.orig_filename, stat.S_IFMT(item.external_attr >> 16)
        if name not in _NAMES:
            raise CorruptBundle(bundle=label, what=f"the archive holds a stranger: {name[:80]!r}")
        if name in names:
            raise CorruptBundle(bundle=label, what=f"the archive holds {name} twice")
        if kind not in {0, stat.S_IFREG} or item.compress_type not in _PACKED:
            raise CorruptBundle(bundle=label, what=f"{name} in the archive is no usual file")
        names.add(name)
    return names


def _member(archive: zipfile.ZipFile, name: str, limit: int, label: str) -> bytes:
    try:
        size = archive.getinfo(name).file_size  # and no more than that is read, whatever follows
    except KeyError as exc:
        raise CorruptBundle(bundle=label, what=f"{name} is missing") from exc
    if size > limit:
        raise CorruptBundle(bundle=label, what=f"{name} is larger than its manifest says")
    return archive.read(name)
