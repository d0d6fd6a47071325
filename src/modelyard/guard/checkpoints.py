r"""Checkpoints as signed text: what leaves the machine, so that nobody on it can write the audit log anew unnoticed.

The form is that of C2SP's signed notes, which other tools read too::

    modelyard/audit/0f1e2d3c4b5a6978
    123
    (hash of record 123, base64)
    time 2026-01-02T03:04:05.000000+00:00

    — modelyard/audit/0f1e2d3c4b5a6978 (id of the key and Ed25519 signature of all before the empty line, base64)

The origin is made from the key, so that every installation has its own. Where a line is all there is room for, ``\n``
stands for the ends of lines.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from modelyard.core.errors import AuditBroken, InvalidRequest, NotFound, StoreDamaged, Unavailable
from modelyard.guard.chain import Checkpoint
from modelyard.store import files

KEY_FILE = "audit.key"
_ED25519 = b"\x01"  # C2SP's number for the kind of a key
_ID_BYTES = 4
_B64 = r"[A-Za-z0-9+/]+=*"
_SHOWN = 40  # characters of what is none
_END = r"(?:\n|\\n)"
_TEXT = re.compile(
    rf"(modelyard/audit/[0-9a-f]{{16}}){_END}(0|[1-9][0-9]{{0,17}}){_END}({_B64}){_END}time ([0-9T:.+-]{{32}}){_END}"
    rf"{_END}— (\S{{1,80}}) ({_B64})"
)
_KEY = re.compile(rf"(modelyard/audit/[0-9a-f]{{16}})\+([0-9a-f]{{8}})\+({_B64})")


class Verifier:
    """The public half of an installation's audit key.

    Parameters
    ----------
    public : Ed25519PublicKey
        The key.
    """

    def __init__(self, public: Ed25519PublicKey) -> None:
        self._public = public
        raw = public.public_bytes_raw()
        self.origin = f"modelyard/audit/{hashlib.sha256(raw).hexdigest()[:16]}"
        self.key_id = hashlib.sha256(self.origin.encode() + b"\n" + _ED25519 + raw).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        """The key as a text that `parse` reads; it is no secret."""
        key = base64.b64encode(_ED25519 + self._public.public_bytes_raw()).decode()
        return f"{self.origin}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """The key in this text; `InvalidRequest` when it is none."""
        found = _KEY.fullmatch(text.strip())
        try:
            raw = base64.b64decode(found[3], validate=True) if found else b""
            verifier = cls(Ed25519PublicKey.from_public_bytes(raw[1:]))
        except (ValueError, binascii.Error):
            verifier = None
        if verifier is None or str(verifier) != text.strip():
            raise InvalidRequest(
                what="that is not the key of an audit log", hint="modelyard audit checkpoint prints the key of its log"
            )
        return verifier

    def read(self, text: str) -> list[Checkpoint]:
        """Every checkpoint in this text, whatever else is in it.

        Raises
        ------
        NotFound
            There is none.
        AuditBroken
            One was not signed with this key, or was changed.
        """
        found = [self._read(*match.groups()) for match in _TEXT.finditer(text)]
        if not found:
            raise NotFound(
                what="checkpoint in",
                name=text.strip()[:_SHOWN],
                cause="none is whole",
                hint="modelyard audit checkpoint --to file:/path writes one",
            )
        return found

    def _read(self, *parts: str) -> Checkpoint:
        origin, size, encoded, at, name, signature = parts
        checkpoint = Checkpoint(origin, int(size), _decoded(encoded).hex(), at)
        signed = _decoded(signature)
        try:
            if (origin, name, signed[:_ID_BYTES]) != (self.origin, self.origin, self.key_id):
                raise InvalidSignature
            self._public.verify(signed[_ID_BYTES:], _body(checkpoint).encode())
        except InvalidSignature:
            raise AuditBroken(
                what=f"a checkpoint of {size} record(s) is not signed with the key of {self.origin}",
                cause=f"it says that it is of {name}",
                hint="when it is of another installation, check it with that one's key: --key KEY",
            ) from None
        return checkpoint


class Signer(Verifier):
    """The audit key of this installation.

    Parameters
    ----------
    private : Ed25519PrivateKey
        The key.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        super().__init__(private.public_key())
        self._private = private

    def sign(self, size: int, last: str) -> str:
        """The checkpoint of a log of this size, whose last record has this hash: its text."""
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        body = _body(Checkpoint(self.origin, size, last, at))
        signature = base64.b64encode(self.key_id + self._private.sign(body.encode())).decode()
        return f"{body}\n— {self.origin} {signature}\n"


def signer(folder: Path) -> Signer:
    """The audit key in this folder of secrets, made when there is none.

    Raises
    ------
    StoreDamaged, Unavailable, StoreFull
        The key cannot be read, or written.
    """
    path = files.make_folder(folder) / KEY_FILE
    with files.locked(folder):
        if not path.exists():
            private = Ed25519PrivateKey.generate()
            files.replace(
                path,
                private.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            )
    return _load(path)


def verifier(folder: Path) -> Verifier:
    """The public half of the audit key in this folder; `NotFound` when nothing was ever signed here."""
    path = folder / KEY_FILE
    if not path.exists():
        raise NotFound(
            what="key of the audit log",
            name="",
            cause="this home has not signed a checkpoint",
            hint="name the key that signed it: modelyard audit verify --checkpoint FILE --key KEY",
        )
    return _load(path)


def _load(path: Path) -> Signer:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name}", cause=exc.strerror, hint=files.HOME_HINT) from exc
    except (ValueError, TypeError) as exc:
        raise StoreDamaged(what=f"{path.name} is not a private key") from exc
    if not isinstance(private, Ed25519PrivateKey):
        raise StoreDamaged(what=f"{path.name} is not an Ed25519 key")
    return Signer(private)


def _body(checkpoint: Checkpoint) -> str:
    """What is signed: everything before the empty line."""
    encoded = base64.b64encode(bytes.fromhex(checkpoint.hash)).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{encoded}\ntime {checkpoint.at}\n"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""  # which nobody signed
