"""Envelopes: for each encrypted blob a small file with its data key, wrapped by a master key.

The blob's bytes never change; a new master key means new envelopes, each replaced at once. An envelope is also what
makes an encrypted blob exist: it is written last and removed first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from modelyard.core.errors import StoreDamaged
from modelyard.store import files
from modelyard.store.blobs import check_digest

ENVELOPE_VERSION = 1


class MasterKeys(Protocol):
    """Who wraps data keys; `guard.masterkeys` has them."""

    def wrap(self, key: bytes, context: bytes) -> tuple[str, bytes]:
        """The key under the current master key, and that key's name."""
        ...

    def unwrap(self, name: str, wrapped: bytes, context: bytes) -> bytes:
        """The key that the master key of this name wrapped.

        Raises
        ------
        StoreDamaged
            It was not wrapped so.
        Unavailable
            There is no master key of that name at hand.
        """
        ...

    @property
    def current(self) -> str:
        """Name of the master key that wraps now."""
        ...


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is needed, beside a master key, to open one blob.

    Parameters
    ----------
    sealed : str
        sha256 of the encrypted bytes, by which they are stored.
    size_bytes : int
        Of the content.
    master : str
        Name of the master key.
    wrapped : bytes
        The data key, encrypted by the master key.
    """

    envelope_version: int = ENVELOPE_VERSION
    sealed: str
    size_bytes: int
    master: str
    wrapped: bytes

    def __post_init__(self) -> None:
        if self.envelope_version != ENVELOPE_VERSION:
            raise ValueError(f"envelope version {self.envelope_version}, this Modelyard reads {ENVELOPE_VERSION}")
        check_digest(self.sealed)

    def open(self, digest: str, keys: MasterKeys) -> bytes:
        """The data key of the blob of this name; under another name it cannot be had."""
        return keys.unwrap(self.master, self.wrapped, context(digest, self.sealed, self.size_bytes))


def wrapped(digest: str, sealed: str, size_bytes: int, key: bytes, keys: MasterKeys) -> Envelope:
    """An envelope for the blob `digest`, under the current master key."""
    master, raw = keys.wrap(key, context(digest, sealed, size_bytes))
    return Envelope(sealed=sealed, size_bytes=size_bytes, master=master, wrapped=raw)


def context(digest: str, sealed: str, size_bytes: int) -> bytes:
    """What a wrapped key is bound to: the content's name, the encrypted bytes, the size."""
    return f"modelyard envelope {ENVELOPE_VERSION}\n{digest}\n{sealed}\n{size_bytes}\n".encode()


class Envelopes:
    """The envelopes in one folder, a file each, by the blob's sha256."""

    def __init__(self, folder: Path) -> None:
        self._folder = files.make_folder(folder)

    def locked(self) -> AbstractContextManager[None]:
        """Hold all envelopes against others who change one; for the milliseconds that this takes."""
        return files.locked(self._folder)

    def read(self, digest: str) -> Envelope | None:
        """The envelope of this blob; None when there is none."""
        try:
            raw = (self._folder / digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise files.refused(exc, self._folder) from exc
        try:
            return msgspec.json.decode(raw, type=Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise StoreDamaged(what=f"the envelope of blob {digest[:12]} was changed") from exc

    def write(self, digest: str, envelope: Envelope) -> None:
        """Put it there, or in the old one's place, at once."""
        try:
            files.replace(self._folder / digest, msgspec.json.encode(envelope) + b"\n")
        except OSError as exc:
            raise files.refused(exc, self._folder) from exc

    def remove(self, digest: str) -> None:
        """Forget it; nothing happens when there is none."""
        (self._folder / digest).unlink(missing_ok=True)
        files.sync_folder(self._folder)

    def has(self, digest: str) -> bool:
        """Whether there is one."""
        return (self._folder / digest).is_file()

    def list(self) -> Iterator[tuple[str, Envelope, datetime]]:
        """All of them: the blob's name, the envelope, when it was written. One that goes away is left out."""
        for path in self._folder.iterdir():
            if path.name.startswith("."):  # being written
                continue
            try:
                when = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:
                continue
            if envelope := self.read(path.name):
                yield path.name, envelope, when

    def sweep(self, older_s: float) -> int:
        """Remove what writers that died left behind; how many."""
        limit = datetime.now(UTC).timestamp() - older_s
        swept = 0
        for path in self._folder.glob(".*"):
            with suppress(FileNotFoundError):  # its writer finished just now
                if path.stat().st_mtime < limit:
                    path.unlink()
                    swept += 1
        return swept
