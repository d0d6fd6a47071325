"""Envelopes: for each encrypted blob a small file with its data key, wrapped by a master key.

The blob's bytes never change; a new master key means new envelopes, each replaced at once. An envelope is also what
makes an encrypted blob exist: it is written last and removed first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
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


def parse(raw: bytes, digest: str) -> Envelope:
    """The envelope in these bytes; `StoreDamaged` when they are none."""
    try:
        return msgspec.json.decode(raw, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise StoreDamaged(what=f"the envelope of blob {digest[:12]} was changed") from exc


class Envelopes:
    """The envelopes in one folder, a file each, by the blob's sha256."""

    def __init__(self, folder: Path) -> None:
        self._folder = files.make_folder(folder)

    def locked(self) -> AbstractContextManager[None]:
        """Hold all envelopes against others who change one; for as short a time as can be."""
        return files.locked(self._folder)

    def read(self, digest: str) -> Envelope | None:
        """The envelope of this blob; None when there is none."""
        raw = self.raw(digest)
        return None if raw is None else parse(raw, digest)

    def raw(self, digest: str) -> bytes | None:
        """Its bytes, whatever they are."""
        try:
            return (self._folder / digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise files.refused(exc, self._folder) from exc

    def replace(self, digest: str, before: bytes | None, after: Envelope, holds: Callable[[], bool]) -> bool:
        """Put `after` in the place of `before`, at once and durably; whether that could be done.

        Not when something else is there by now, or `holds`, asked when nobody else changes an envelope, says no.
        What takes long is done before, so that nobody waits for it.
        """
        aside = self._folder / f".{digest}.{os.urandom(6).hex()}"
        try:
            files.replace(aside, msgspec.json.encode(after) + b"\n")
            with self.locked():
                if self.raw(digest) != before or not holds():
                    return False
                aside.replace(self._folder / digest)
            files.sync_folder(self._folder)
        except OSError as exc:
            raise files.refused(exc, self._folder) from exc
        finally:
            aside.unlink(missing_ok=True)
        return True

    def remove(self, digest: str, holds: Callable[[], bool] = lambda: True) -> bytes | None:
        """Forget it; what was there, if anything. Not when `holds`, asked as for `replace`, says no."""
        with self.locked():
            if not holds():
                return None
            before = self.raw(digest)
            (self._folder / digest).unlink(missing_ok=True)
        files.sync_folder(self._folder)
        return before

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
