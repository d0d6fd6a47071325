"""A bundle: a folder of plain data, immutable, named by its manifest's digest; sealed once, verified at every open."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from modelyard.core.errors import CorruptBundle, NotFound
from modelyard.core.manifest import (
    FILES,
    MANIFEST,
    MODEL,
    PROFILE,
    SAMPLES,
    SIGNATURE,
    FileEntry,
    Manifest,
    Samples,
    read_manifest,
)
from modelyard.core.profile import Profile

_Document = TypeVar("_Document", Samples, Profile)
#: A file of more bytes is not kept: it is verified at the open, and read and verified again by whoever asks for it.
KEPT_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
#: No signature is larger.
SIGNATURE_BYTES = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """One sealed bundle: its manifest and the bytes of every file, all verified.

    Parameters
    ----------
    manifest : Manifest
        What it says of itself.
    files : Mapping of str to bytes
        Every file by name, the manifest not included. A large file of an opened bundle is read anew each time, so that
        a replica does not hold its model twice; `CorruptBundle` when it has changed since the bundle was opened.
    signature : bytes, optional
        What came along as ``signature.dsse``. Nobody has verified that: see `guard.trust`.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    signature: bytes | None = None

    @property
    def digest(self) -> str:
        """sha256 of the manifest's bytes, in hex; it names every other file by its own sha256."""
        return sha256(self.manifest.to_bytes())

    @property
    def size_bytes(self) -> int:
        """All files together, the manifest not included."""
        return sum(entry.size_bytes for entry in self.manifest.files.values())

    @property
    def samples(self) -> Samples:
        """The golden rows; none when the bundle carries none."""
        raw = self.files.get(SAMPLES)
        return self._decode(raw, Samples, SAMPLES) if raw else Samples(rows=[], outputs={})

    @property
    def profile(self) -> Profile | None:
        """The profile of the training data, when the bundle carries one."""
        raw = self.files.get(PROFILE)
        return self._decode(raw, Profile, PROFILE) if raw else None

    def _decode(self, raw: bytes, kind: type[_Document], name: str) -> _Document:
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise CorruptBundle(bundle=self.manifest.name, what=f"its {name} is not valid: {exc}") from exc

    def write(self, folder: Path) -> None:
        """Lay the bundle out as files in `folder`, which must exist."""
        (folder / MANIFEST).write_bytes(self.manifest.to_bytes())
        for name, raw in self.files.items():
            (folder / name).write_bytes(raw)
        if self.signature is not None:
            (folder / SIGNATURE).write_bytes(self.signature)


def seal(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """A bundle of these files; the manifest's own `files` table is made here.

    Parameters
    ----------
    manifest : Manifest
        With any `files` table; it is replaced.
    files : Mapping of str to bytes
        At least ``model.onnx``; only names that a bundle may have.

    Returns
    -------
    Bundle
    """
    strangers = set(files) - FILES
    if strangers or MODEL not in files:
        raise ValueError(f"a bundle has {sorted(FILES)}, not {sorted(files)}")
    table = {name: FileEntry(sha256=sha256(raw), size_bytes=len(raw)) for name, raw in sorted(files.items())}
    return Bundle(manifest=msgspec.structs.replace(manifest, files=table), files=dict(files))


def open_bundle(folder: Path, *, digest: str | None = None) -> Bundle:
    """The bundle in `folder`, every byte verified against its manifest, and the manifest against `digest` when given.

    Raises
    ------
    NotFound
        There is no manifest.json.
    CorruptBundle
        A file is missing, was changed, or is a link; or the digest differs.
    """
    label = folder.name
    try:
        raw = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(what="bundle", name=label, hint="a bundle is a folder with a manifest.json") from exc
    except OSError as exc:
        raise _unreadable(label, MANIFEST, exc) from exc
    if digest is not None and sha256(raw) != digest:
        raise CorruptBundle(bundle=label, what="its manifest.json was changed")
    manifest = read_manifest(raw, label)
    if MODEL not in manifest.files:
        raise CorruptBundle(bundle=label, what=f"its manifest names no {MODEL}")
    return Bundle(manifest, _Verified(folder, manifest.files), read_signature(folder))


def read_signature(folder: Path) -> bytes | None:
    """What lies in the bundle's folder as its signature, whatever it is worth; None when nothing does."""
    path = folder / SIGNATURE
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # no link, and no waiting for a pipe's writer
        with os.fdopen(fd, "rb") as file:
            raw = file.read(SIGNATURE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise _unreadable(folder.name, SIGNATURE, exc) from exc
    if len(raw or b"") > SIGNATURE_BYTES:
        raise CorruptBundle(bundle=folder.name, what=f"{SIGNATURE} is too large to be one")
    return raw


class _Verified(Mapping[str, bytes]):
    """The files of a folder, all looked at once; small ones stay in memory."""

    def __init__(self, folder: Path, entries: Mapping[str, FileEntry]) -> None:
        self._folder = folder
        self._entries = entries
        self._kept: dict[str, bytes] = {}
        for name, entry in entries.items():
            if entry.size_bytes <= KEPT_BYTES:
                self._kept[name] = _read(folder, name, entry)
            else:
                _verify(folder, name, entry)

    def __getitem__(self, name: str) -> bytes:
        return self._kept[name] if name in self._kept else _read(self._folder, name, self._entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _read(folder: Path, name: str, entry: FileEntry) -> bytes:
    path = _checked(folder, name, entry)
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise _unreadable(folder.name, name, exc) from exc
    if sha256(raw) != entry.sha256:
        raise CorruptBundle(bundle=folder.name, what=f"{name} was changed")
    return raw


def _verify(folder: Path, name: str, entry: FileEntry) -> None:
    """As `_read`, in little memory."""
    path = _checked(folder, name, entry)
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as exc:
        raise _unreadable(folder.name, name, exc) from exc
    if digest.hexdigest() != entry.sha256:
        raise CorruptBundle(bundle=folder.name, what=f"{name} was changed")


def _checked(folder: Path, name: str, entry: FileEntry) -> Path:
    """Where the file lies; `CorruptBundle` when it may not be there, or is not as long as it should be."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise CorruptBundle(bundle=folder.name, what=f"{name} is missing")
    try:
        size = path.stat().st_size
    except OSError as exc:  # it may go away right now, when a damaged folder is being replaced
        raise _unreadable(folder.name, name, exc) from exc
    if size != entry.size_bytes:
        raise CorruptBundle(bundle=folder.name, what=f"{name} has {size} bytes, not {entry.size_bytes}")
    return path


def _unreadable(bundle: str, name: str, exc: OSError) -> CorruptBundle:
    return CorruptBundle(bundle=bundle, what=f"{name} cannot be read: {exc.strerror}")


def sha256(raw: bytes) -> str:
    """The sha256 of these bytes, in hex."""
    return hashlib.sha256(raw).hexdigest()
