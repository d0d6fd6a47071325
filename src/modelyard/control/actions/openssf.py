"""OpenSSF: a version signed for, and a folder verified with, the tools that know the OpenSSF's format for models."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, InvalidModel, NotFound, StoreFull, Unavailable, Untrusted
from modelyard.core.reference import Reference
from modelyard.guard import openssf
from modelyard.guard.sign import Unverified
from modelyard.model.bundle import open_bundle
from modelyard.registry import signatures
from modelyard.registry.versions import Version
from modelyard.store import files


@dataclass(frozen=True)
class Verified:
    """A folder whose every file was signed by this key, and is a bundle; its name, and the bundle's digest."""

    what: str
    digest: str
    key_id: str


def sign(home: Home, reference: Reference, key: Path, output: Path) -> tuple[Version, str]:
    """Sign a version's folder as it is exported now; the signature is a file of its own, which servers do not look at.

    Parameters
    ----------
    home : Home
        Where it is.
    reference : Reference
        Which version.
    key : Path
        File of a private elliptic key.
    output : Path
        Where to write the signature; must not exist.

    Returns
    -------
    Version, str
        What was signed, and the key's id.

    Raises
    ------
    MissingExtra
        The library for it is not installed.
    NotFound, InvalidRequest, Denied, Unavailable
        There is no such version, or no folder to write into; the key cannot be used.
    Conflict
        The file is there already.
    CorruptBundle
        The bundle's bytes were changed.
    """
    with home.attempt("model.sign", str(reference)):
        version = home.catalogue.resolve(reference)
        if os.path.lexists(output):  # also where a name is too long to be one
            raise Conflict(what=f"{output.name!r} is there already", hint="name another file, or remove it")
        if not output.absolute().parent.is_dir():
            hint = f"make the folder first: mkdir -p {shlex.quote(str(output.parent))}"
            raise NotFound(what="folder", name=output.parent.name, hint=hint)
        with home.artifacts.held():
            folder = home.artifacts.checkout(version.digest, signatures.read(home.database, version.digest))
            try:
                raw, key_id = openssf.sign(folder, key)
            except Unverified as exc:
                raise InvalidModel(what=f"{version} {exc}") from exc
    with home.change("model.sign", str(version)) as (_, record):
        record(str(version), {"digest": version.digest, "key": key_id, "format": "openssf"})
        _write(output, raw)
    return version, key_id


def verify(folder: Path, signature: Path, key: Path) -> Verified:
    """Verify every file of an exported folder, and that this key has signed them all.

    Parameters
    ----------
    folder : Path
        Of an exported bundle.
    signature : Path
        Its signature; it may lie in the folder.
    key : Path
        File of a public elliptic key.

    Raises
    ------
    MissingExtra
        The library for it is not installed.
    Untrusted
        The signature does not hold, or leaves a file out.
    NotFound, CorruptBundle
        The folder is no bundle, or not as its manifest says.
    """
    public = openssf.load_public(key)
    raw = openssf.load_signature(signature)
    try:
        key_id = openssf.verify(folder, raw, public, but=signature)
    except Unverified as exc:
        hint = f"export the version again, or ask who holds the private half of {key.name}"
        raise Untrusted(what=folder.name or str(folder), why=str(exc), hint=hint) from exc
    return Verified(folder.name, open_bundle(folder).digest, key_id)


def _write(path: Path, raw: bytes) -> None:
    """At once; everybody may read it, as the umask allows."""
    try:
        files.replace(path, raw, mode=0o666)
    except StoreFull:
        raise
    except OSError as exc:
        raise Unavailable(what=f"cannot write {path.name!r}", cause=exc.strerror or "") from exc
