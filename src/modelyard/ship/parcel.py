"""A parcel: a bundle that is somewhere else, its manifest verified, its files still there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import CorruptBundle, ModelyardError, StoreFull, Unavailable
from modelyard.core.manifest import MANIFEST, MODEL, SIGNATURE, FileEntry, Manifest, read_manifest
from modelyard.model.bundle import Bundle, sha256
from modelyard.store import files

#: No file of a bundle is larger: it could not be loaded. Nor is a manifest, or a signature.
FILE_BYTES, MANIFEST_BYTES, SIGNATURE_BYTES = 2 << 30, 16 << 20, 1 << 20


@dataclass(frozen=True)
class Parcel:
    """What was found at an address.

    Parameters
    ----------
    address : str
        That always means it: by digest.
    manifest : Manifest
        Whose bytes have the digest that the address promised.
    signature : bytes or None
        What lies beside it. Nobody has verified that.
    fetch : callable
        Gives the bytes of one file, in pieces. They are verified here, whatever it verifies.
    """

    address: str
    manifest: Manifest
    signature: bytes | None
    fetch: Callable[[FileEntry], Iterator[bytes]]

    @property
    def digest(self) -> str:
        """The bundle's."""
        return sha256(self.manifest.to_bytes())

    def bundle(self) -> Bundle:
        """All of it, in memory; `CorruptBundle` when a byte is not as its manifest says."""
        got = {name: b"".join(self._verified(name, entry)) for name, entry in self.manifest.files.items()}
        return Bundle(self.manifest, got, self.signature)

    def write(self, folder: Path) -> None:
        """Lay it out in the folder, synced, the manifest last; in little memory.

        Raises
        ------
        CorruptBundle
            A byte is not as its manifest says.
        StoreFull, Unavailable
            The folder cannot be written to.
        """
        try:
            for name, entry in self.manifest.files.items():
                _write(folder / name, self._verified(name, entry))
            if self.signature is not None:
                _write(folder / SIGNATURE, iter([self.signature]))
            _write(folder / MANIFEST, iter([self.manifest.to_bytes()]))
            files.sync_folder(folder)
        except OSError as exc:
            raise refused(exc, folder) from exc

    def _verified(self, name: str, entry: FileEntry) -> Iterator[bytes]:
        hashed, seen = hashlib.sha256(), 0
        for piece in self.fetch(entry):
            hashed.update(piece)
            seen += len(piece)
            if seen > entry.size_bytes:
                break
            yield piece
        if seen != entry.size_bytes or hashed.hexdigest() != entry.sha256:
            raise CorruptBundle(bundle=self.manifest.name, what=f"{name} is not as its manifest says", hint=_AGAIN)


def read(raw: bytes, digest: str) -> Manifest:
    """The manifest in these bytes, which have to have this digest, and may name nothing that is too large to be one."""
    if sha256(raw) != digest:
        raise CorruptBundle(bundle=digest[:12], what="its manifest.json was changed on its way here", hint=_AGAIN)
    manifest = read_manifest(raw, digest[:12])
    if MODEL not in manifest.files:
        raise CorruptBundle(bundle=manifest.name, what=f"its manifest names no {MODEL}", hint=_AGAIN)
    for name, entry in manifest.files.items():
        if not 0 <= entry.size_bytes <= FILE_BYTES:
            raise CorruptBundle(
                bundle=manifest.name, what=f"its {name} would have {entry.size_bytes} bytes", hint=_AGAIN
            )
    return manifest


def refused(exc: OSError, folder: Path) -> ModelyardError:
    """What to tell a person when a folder that they named cannot be written to."""
    if isinstance(files.full_or(exc, folder), StoreFull):
        return StoreFull(where=str(folder))
    hint = "name a folder that you may write to"
    return Unavailable(what=f"cannot write {folder.name!r}", cause=exc.strerror or "", hint=hint)


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


_AGAIN = "push it again from where it is whole: modelyard push MODEL URL"
