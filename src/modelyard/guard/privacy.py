"""What is kept of questions and answers: the configuration, pseudonyms, and the key that opens captures."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from pathlib import Path

import msgspec

from modelyard.core.errors import StoreDamaged, Unavailable
from modelyard.core.privacy import Privacy
from modelyard.store import files
from modelyard.store.envelopes import MasterKeys

#: Files in the folder of secrets.
SECRET, CAPTURE_KEY = "pseudonyms.key", "capture.key"
_BYTES = 32
_CONTEXT = b"modelyard capture key 1\n"
_SHOWN = 32  # hex digits of a pseudonym


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The configuration.

    Parameters
    ----------
    turn : int
        See `core.privacy.Journaling`.
    models : dict of str to Privacy
        Of which models something is kept.
    former : dict of str to Privacy
        What was said last of those of which nothing of a kind is kept any more: what there is goes in its time.
    """

    turn: int = 0
    models: dict[str, Privacy] = {}
    former: dict[str, Privacy] = {}

    def to_bytes(self) -> bytes:
        """As a file."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"


def parse(raw: bytes) -> Kept:
    """The configuration in these bytes; nothing is kept when there are none. `StoreDamaged` when it cannot be read."""
    try:
        return msgspec.json.decode(raw, type=Kept) if raw else Kept()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise StoreDamaged(what=f"the configuration of privacy is not valid: {exc}") from exc


class Pseudonyms:
    """Names under which callers and subjects are known where their own are not kept: HMAC-SHA256 under one secret.

    Without the secret nobody can tell whose a pseudonym is, nor try names: to destroy it is to forget them all.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def read(cls, path: Path) -> Pseudonyms:
        """With the secret in this file."""
        return cls(_bytes(path.read_bytes(), path.name))

    def of(self, name: str) -> str:
        """The pseudonym of a name, whatever text that is: the same as long as the secret is."""
        return hmac.digest(self._secret, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()[:_SHOWN]


def secret(folder: Path) -> Path:
    """The file with the secret of pseudonyms, made when there is none."""
    path = files.make_folder(folder) / SECRET
    with files.locked(folder):
        if not path.exists():
            files.replace(path, base64.b64encode(os.urandom(_BYTES)) + b"\n")
    return path


class _Wrapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key under a master key."""

    master: str
    wrapped: bytes


class CaptureKey:
    """The private key that opens captures: a file among the secrets, under the master key while encryption is on.

    Parameters
    ----------
    folder : Path
        `Settings.secrets`.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / CAPTURE_KEY
        self._public = folder / f"{CAPTURE_KEY}.pub"

    def public(self, keys: MasterKeys | None) -> str:
        """The half that workers have; the key is made, and kept under the master key, if that is given."""
        with files.locked(files.make_folder(self._path.parent)):
            if not self._path.exists():
                from modelyard.guard import payloads  # noqa: PLC0415 - brings cryptography, for those who capture

                private = payloads.new_private()
                files.replace(self._public, payloads.public_of(private).encode() + b"\n")
                self._write(private, keys)
        return self._public.read_text("ascii").strip()

    def private(self, keys: MasterKeys) -> bytes:
        """The key; `Unavailable` when it is not here, or its master key is not at hand."""
        raw = self._raw()
        if raw is None:
            raise Unavailable(what="there is no key for captures", hint="restore the home's secrets from your backup")
        if not raw.startswith(b"{"):
            return _bytes(raw, CAPTURE_KEY)
        held = _wrapped(raw)
        return keys.unwrap(held.master, held.wrapped, _CONTEXT)

    @property
    def master(self) -> str:
        """Name of the master key that it is under; empty for none."""
        raw = self._raw()
        return _wrapped(raw).master if raw is not None and raw.startswith(b"{") else ""

    def keep(self, keys: MasterKeys, *, wrapped: bool) -> None:
        """Keep it under the current master key, or as it is; nothing when there is none, or it is kept so."""
        if self._raw() is None or self.master == (keys.current if wrapped else ""):
            return
        with files.locked(self._path.parent):
            self._write(self.private(keys), keys if wrapped else None)

    def _write(self, private: bytes, keys: MasterKeys | None) -> None:
        if keys is None:
            files.replace(self._path, base64.b64encode(private) + b"\n")
        else:
            files.replace(self._path, msgspec.json.encode(_Wrapped(*keys.wrap(private, _CONTEXT))) + b"\n")

    def _raw(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise Unavailable(what=f"cannot read {CAPTURE_KEY}", cause=exc.strerror, hint=files.HOME_HINT) from exc


def _wrapped(raw: bytes) -> _Wrapped:
    try:
        return msgspec.json.decode(raw, type=_Wrapped)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StoreDamaged(what=f"{CAPTURE_KEY} was changed") from exc


def _bytes(raw: bytes, name: str) -> bytes:
    try:
        key = base64.b64decode(raw.strip(), validate=True)
        if len(key) != _BYTES:
            raise ValueError
    except (binascii.Error, ValueError):
        raise StoreDamaged(what=f"{name} does not hold a key of {_BYTES} bytes") from None
    return key
