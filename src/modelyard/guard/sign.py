"""Signatures of bundles: an in-toto statement about every file, in a DSSE envelope, signed with Ed25519.

A signature says: who holds this key has seen exactly these bytes under this name and number, made in this way. Nothing
in an envelope is believed before a key was found that has signed it. For which models a key's word counts is decided in
`guard.trust`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from modelyard.core.errors import InvalidModel
from modelyard.core.manifest import MANIFEST, Lineage, Manifest, Parity, Source
from modelyard.core.metric import Metric
from modelyard.core.trust import SHORT
from modelyard.guard import dsse
from modelyard.guard.signer import key_id
from modelyard.model.bundle import sha256

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:modelyard:bundle:1"
_LONGEST_NAME = 255


class Subject(msgspec.Struct, frozen=True):
    """One file, and its digests by algorithm."""

    name: str
    digest: dict[str, str]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What is claimed of a bundle: which version of which model it is, and how it came to be.

    Parameters
    ----------
    model, version : str, int
        Its name and its number where it was signed.
    signed_by, signed_at : str, datetime
        Who says all this, and when.
    git_ref : str
        The commit of the project that it was made from, when its signer says so.
    source, lineage, parity, metrics
        As the manifest has them: the file it was converted from, with the versions that did it and whether in the
        sandbox; the options it was trained with; how the translation and the model were evaluated.
    """

    model: str
    version: int
    signed_by: str
    signed_at: Annotated[datetime, msgspec.Meta(tz=True)]
    source: Source
    lineage: Lineage
    parity: Parity | None = None
    metrics: tuple[Metric, ...] = ()
    git_ref: str = ""

    def __post_init__(self) -> None:
        if self.version < 1 or not is_name(self.signed_by) or (self.git_ref and not is_name(self.git_ref)):
            raise ValueError("who signed it, or which version, cannot be")


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename={"type": "_type", "predicate_type": "predicateType"}):
    """An in-toto statement: of these files, this is claimed."""

    type: str = STATEMENT_TYPE
    subject: tuple[Subject, ...]
    predicate_type: str = PREDICATE_TYPE
    predicate: Provenance

    def is_about(self, manifest: Manifest) -> bool:
        """Whether its subject is this manifest and every file of it, and nothing else."""
        named = {each.name: each.digest.get("sha256") for each in self.subject}
        return named == _digests(manifest) and len(named) == len(self.subject)


@dataclass(frozen=True)
class Signed:
    """A statement, and the id of the key that was found to have signed it."""

    key_id: str
    statement: Statement

    @property
    def provenance(self) -> Provenance:
        """What the statement claims."""
        return self.statement.predicate


class Unverified(Exception):
    """A signature does not hold; the text goes on from the version's name. `guard.trust` words it for people."""


def is_name(text: str) -> bool:
    """Whether somebody can be called so: one line, not too long."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


def sign(manifest: Manifest, version: int, by: str, at: datetime, key: Ed25519PrivateKey, git_ref: str = "") -> bytes:
    """The signature of a bundle whose files were verified, as the bytes of ``signature.dsse``."""
    claim = Provenance(
        model=manifest.name,
        version=version,
        signed_by=by,
        signed_at=at,
        git_ref=git_ref,
        source=manifest.source,
        lineage=manifest.lineage,
        parity=manifest.parity,
        metrics=manifest.metrics,
    )
    subject = tuple(Subject(name, {"sha256": digest}) for name, digest in sorted(_digests(manifest).items()))
    body = msgspec.json.encode(Statement(subject=subject, predicate=claim))
    return dsse.seal(PAYLOAD_TYPE, body, key_id(key.public_key()), key)


def verify(signature: bytes, manifest: Manifest, keys: Mapping[str, Ed25519PublicKey]) -> Signed:
    """What one of these keys has signed about the bundle of this manifest.

    Parameters
    ----------
    signature : bytes
        Of ``signature.dsse``.
    manifest : Manifest
        Of a bundle whose files were verified against it.
    keys : mapping of str to Ed25519PublicKey
        By id, those whose word counts.

    Raises
    ------
    Unverified
        Nothing was signed by them, or it is about something else.
    """
    try:
        envelope = dsse.read(signature)
    except ValueError as exc:
        raise Unverified(f"has a signature that is no DSSE envelope: {exc}") from exc
    signer = dsse.signer(envelope, keys)
    if signer is None:
        raise Unverified(_why_not(envelope, keys))
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Unverified(f"has a signature of {envelope.payload_type[:80]!r}, not of {PAYLOAD_TYPE!r}")
    statement = read_statement(envelope.body)
    if not statement.is_about(manifest):
        raise Unverified("has a signature of other files")
    return Signed(signer, statement)


def read_statement(body: bytes) -> Statement:
    """The statement in an envelope's bytes; `Unverified` when it is not one about a bundle."""
    try:
        statement = msgspec.json.decode(body, type=Statement)
    except (msgspec.DecodeError, RecursionError, InvalidModel) as exc:
        raise Unverified(f"has a signature of no statement about a bundle: {exc}") from exc
    if (statement.type, statement.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise Unverified(f"has a signature of another kind of statement: {statement.predicate_type[:80]!r}")
    return statement


def _digests(manifest: Manifest) -> dict[str, str]:
    return {MANIFEST: sha256(manifest.to_bytes()), **{name: entry.sha256 for name, entry in manifest.files.items()}}


def _why_not(envelope: dsse.Envelope, keys: Mapping[str, Ed25519PublicKey]) -> str:
    named = [each.keyid or "" for each in envelope.signatures]
    known = next((name for name in named if name in keys), None)
    if known:
        return f"has a signature that key {known[:SHORT]} did not make: it was changed since, or is another's"
    whose = ", ".join(name[:SHORT] if name.isascii() and name.isalnum() else "unknown" for name in named)
    return f"was signed with a key that is not trusted for it: {whose}"
