"""Signatures in the OpenSSF's format for models, as its own tool makes and verifies them: of a folder's files.

The tool's library does the signing and the verifying. It leaves files out: four names that git gives, always, and
whatever else the signer told it to. Here nothing is left out: every file of the folder is among those that were signed,
or the signature does not hold. It says nothing but bytes: no name, no version, no provenance.
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from modelyard.core.errors import InvalidRequest, MissingExtra, NotFound, Unavailable
from modelyard.guard import dsse, signer
from modelyard.guard.sign import Unverified

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_MAKE = "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE"
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})  # those that the tool knows
_LARGEST = 1 << 20  # bytes of a signature
_SHOWN = 300  # characters of what the library says
#: What the library raises at signatures that somebody has made up.
_REFUSALS = (InvalidSignature, ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError)


class _Resource(msgspec.Struct, frozen=True):
    name: str


class _Serialization(msgspec.Struct, frozen=True):
    method: str
    hash_type: str


class _Predicate(msgspec.Struct, frozen=True):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    predicate_type: str
    predicate: _Predicate


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    """A Sigstore bundle around an envelope; what tells where to find the key is the library's to understand."""

    media_type: str
    verification_material: dict[str, Any]
    dsse_envelope: dsse.Envelope


def sign(folder: Path, key: Path) -> tuple[bytes, str]:
    """The signature of all files in a folder, as the bytes of a file, and the id of the key that made it.

    Parameters
    ----------
    folder : Path
        Of a bundle.
    key : Path
        File of a private key in PEM: of one of the elliptic curves P-256, P-384 and P-521.

    Raises
    ------
    MissingExtra
        The tool's library is not installed.
    NotFound, Unavailable, Denied, InvalidRequest
        The key cannot be used.
    Unverified
        The folder holds something that a signature of this kind would leave out.
    """
    signing, hashing = _library("signing"), _library("hashing")
    private = signer.private_in(key, _MAKE)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise _other_kind(key)
    public = _fitting(private.public_key(), key)
    config = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(hashing.Config())
    with TemporaryDirectory() as aside:
        path = Path(aside) / "signature"
        config.sign(folder, path)
        raw = path.read_bytes()
    return raw, verify(folder, raw, public)


def verify(folder: Path, signature: bytes, public: ec.EllipticCurvePublicKey, *, but: Path | None = None) -> str:
    """That this key has signed every file in the folder as it is, and no other; the key's id.

    Parameters
    ----------
    folder : Path
        Of a bundle.
    signature : bytes
        As the tool writes it.
    public : EllipticCurvePublicKey
        Whose signature it should be.
    but : Path, optional
        The file of the signature itself: it may lie in the folder.

    Raises
    ------
    MissingExtra
        The tool's library is not installed.
    Unverified
        It has not.
    """
    verifying, hashing = _library("verifying"), _library("hashing")
    found = _files(folder)
    beside = {name for name in found if but is not None and but.exists() and but.samefile(folder / name)}
    bundle = _read(signature)
    with TemporaryDirectory() as aside, redirect_stdout(io.StringIO()):  # it prints remarks about older signatures
        key, path = Path(aside) / "key.pub", Path(aside) / "signature"
        key.write_bytes(_pem(public))
        path.write_bytes(msgspec.json.encode(bundle))  # what was read here and nothing else, whoever parses it
        ignoring = hashing.Config().set_ignored_paths(paths=sorted(beside), ignore_git_paths=False)
        config = verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(ignoring)
        try:
            config.verify(folder, path)
        except InvalidSignature as exc:
            raise Unverified("has a signature that this key did not make, or that was changed since") from exc
        except _REFUSALS as exc:
            raise Unverified(f"has a signature that does not hold: {str(exc)[:_SHOWN]}") from exc
    _check_all(bundle, found - beside)
    return key_id(public)


def load_public(path: Path) -> ec.EllipticCurvePublicKey:
    """The verifying key in this file; errors as of `sign`."""
    public = signer.public_in(path, _MAKE)
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise _other_kind(path)
    return _fitting(public, path)


def load_signature(path: Path) -> bytes:
    """The bytes of a signature's file; `NotFound` or `Unavailable` when there are none."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST + 1)
    except FileNotFoundError as exc:
        raise NotFound(what="signature", name=path.name) from exc
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name!r}", cause=exc.strerror or "") from exc


def key_id(public: ec.EllipticCurvePublicKey) -> str:
    """sha256 of the public key in PEM, in hex: what the tool calls a key by."""
    return hashlib.sha256(_pem(public)).hexdigest()


def _library(part: str) -> Any:
    """A module of the tool's library; two seconds, for those who sign or verify so."""
    try:
        return import_module(f"model_signing.{part}")
    except ImportError as exc:
        raise MissingExtra(what="a signature in the OpenSSF's format", library=exc.name, extra="openssf") from exc


def _files(folder: Path) -> set[str]:
    """Names of what lies in the folder: nothing but files."""
    with os.scandir(folder) as entries:
        found = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    odd = sorted(name for name, plain in found.items() if not plain)
    if odd:
        raise Unverified(f"holds something that is no plain file, which no signature is of: {odd[0][:80]!r}")
    return set(found)


def _read(signature: bytes) -> _Bundle:
    try:
        if len(signature) > _LARGEST:
            raise ValueError("it is too large to be one")
        bundle = msgspec.json.decode(signature, type=_Bundle)
        dsse.read(msgspec.json.encode(bundle.dsse_envelope))
    except (ValueError, RecursionError) as exc:  # of msgspec too
        raise Unverified(f"has a signature that is no Sigstore bundle: {str(exc)[:_SHOWN]}") from exc
    if bundle.media_type != MEDIA_TYPE:
        raise Unverified(f"has a signature of another kind: {bundle.media_type[:80]!r}")
    return bundle


def _check_all(bundle: _Bundle, found: set[str]) -> None:
    """That the signed names, which the key's holder wrote, are those of all files."""
    try:
        statement = msgspec.json.decode(bundle.dsse_envelope.body, type=_Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Unverified(f"has a signature that does not name its files: {str(exc)[:_SHOWN]}") from exc
    how = statement.predicate.serialization
    if (statement.predicate_type, how.method, how.hash_type) != (PREDICATE_TYPE, "files", "sha256"):
        raise Unverified("has a signature of another kind than sha256 of whole files")
    signed = [each.name for each in statement.predicate.resources]
    unsigned = sorted(found - set(signed))
    if unsigned:
        raise Unverified(f"holds a file that nobody has signed: {unsigned[0][:80]!r}")
    if len(signed) != len(found):
        raise Unverified("has a signature of files that are not there")


def _fitting(public: ec.EllipticCurvePublicKey, path: Path) -> ec.EllipticCurvePublicKey:
    if public.curve.name not in _CURVES:
        raise _other_kind(path)
    return public


def _other_kind(path: Path) -> InvalidRequest:
    return InvalidRequest(what=f"{path.name!r} holds a key that is not of the curves P-256, P-384 or P-521", hint=_MAKE)


def _pem(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
