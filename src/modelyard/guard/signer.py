"""Keys that sign and keys that verify, as PEM files: Ed25519, unless a format of signatures asks for others."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from modelyard.core.errors import Denied, InvalidRequest, NotFound, Unavailable
from modelyard.store import files

#: The installation's own signing key, in its folder of secrets.
OWN = "signing.pem"
_LARGEST = 16 * 1024
_MAKE = "make one with: openssl genpkey -algorithm ed25519 -out FILE"


def own(folder: Path) -> Ed25519PrivateKey:
    """The installation's own signing key, made when it is first asked for.

    Parameters
    ----------
    folder : Path
        `Settings.secrets`; made for this user alone when it is not there.
    """
    path = files.make_folder(folder) / OWN
    with files.locked(folder):
        if not path.exists():
            key = Ed25519PrivateKey.generate()
            files.replace(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return load_private(path)


def load_private(path: Path) -> Ed25519PrivateKey:
    """The signing key in this file.

    Raises
    ------
    NotFound, Unavailable
        There is no such file, or it cannot be read.
    Denied
        Others on this machine may read it.
    InvalidRequest
        It holds no such key, or one that a passphrase protects.
    """
    key = private_in(path, _MAKE)
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidRequest(what=f"{path.name!r} holds a key that is not Ed25519", hint=_MAKE)
    return key


def private_in(path: Path, make: str) -> PrivateKeyTypes:
    """The private key of whatever kind in this file; `make` is how to come by a right one. Errors as `load_private`."""
    raw = _read(path, make)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Denied(what=f"others can read the signing key {path.name!r}", hint=f"chmod 600 {path.name}")
    try:
        return load_pem_private_key(raw, password=None)
    except TypeError as exc:  # the library's word for it
        raise InvalidRequest(
            what=f"a passphrase protects {path.name!r}",
            hint=f"openssl pkey -in {path.name} -out UNPROTECTED, and remove that file after signing",
        ) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise InvalidRequest(what=f"{path.name!r} holds no private key in PEM", hint=make) from exc


def load_public(path: Path) -> Ed25519PublicKey:
    """The verifying key in this file; errors as of `load_private`."""
    return read_public(_read(path, _MAKE).decode("ascii", "replace"), path.name)


def read_public(pem: str, what: str = "the key") -> Ed25519PublicKey:
    """The verifying key in this text."""
    key = _public(pem, what)
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidRequest(what=f"{what!r} holds a key that is not Ed25519", hint=_MAKE)
    return key


def public_in(path: Path, make: str) -> PublicKeyTypes:
    """The public key of whatever kind in this file; as `private_in`."""
    return _public(_read(path, make).decode("ascii", "replace"), path.name)


def pem_of(key: Ed25519PublicKey) -> str:
    """The key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def key_id(key: Ed25519PublicKey) -> str:
    """sha256 of the raw public key, in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def _public(pem: str, what: str) -> PublicKeyTypes:
    try:
        return load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        hint = f"openssl pkey -in {what} -pubout" if "PRIVATE KEY" in pem else "give the public half of a signing key"
        raise InvalidRequest(what=f"{what!r} holds no public key in PEM", hint=hint) from exc


def _read(path: Path, make: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except FileNotFoundError as exc:
        raise NotFound(what="key file", name=path.name, hint=make) from exc
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name!r}", cause=exc.strerror or "") from exc
