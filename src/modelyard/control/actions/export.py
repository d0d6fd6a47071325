"""Export: a version's bundle as a folder, or as one .zip that is the same, byte for byte, whoever makes it."""

from __future__ import annotations

import secrets
import shlex
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, ModelyardError, NotFound, StoreFull, Unavailable
from modelyard.core.manifest import MANIFEST, SIGNATURE
from modelyard.core.reference import Reference
from modelyard.model.bundle import Bundle
from modelyard.registry import signatures
from modelyard.store.files import full_or

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a .zip can tell
_MODE = 0o100644 << 16
_UNIX = 3


def export(home: Home, reference: Reference, destination: Path) -> Path:
    """Write the bundle, with its signature if it has one, to `destination`, which must not exist; whole or not at all.

    Parameters
    ----------
    home : Home
        Where from.
    reference : Reference
        Which version.
    destination : Path
        A new folder; a .zip when it ends so.

    Returns
    -------
    Path
        The destination.

    Raises
    ------
    NotFound
        There is no such version, or no folder to write into.
    Conflict
        The destination is there already.
    CorruptBundle
        The bundle's bytes were changed.
    StoreFull, Unavailable
        The destination cannot be written.
    """
    digest = home.catalogue.resolve(reference).digest
    bundle = replace(home.artifacts.read(digest), signature=signatures.read(home.database, digest))
    if destination.exists():
        raise Conflict(what=f"{destination.name!r} is there already", hint="name another file or folder, or remove it")
    if not destination.absolute().parent.is_dir():
        hint = f"make the folder first: mkdir -p {shlex.quote(str(destination.parent))}"
        raise NotFound(what="folder", name=destination.parent.name, hint=hint)
    aside = destination.with_name(f".{destination.name}.{secrets.token_hex(6)}")
    try:
        _zip(bundle, aside) if destination.suffix == ".zip" else _folder(bundle, aside)
        aside.rename(destination)
    except OSError as exc:
        shutil.rmtree(aside, ignore_errors=True)
        aside.unlink(missing_ok=True)
        raise _translate(exc, destination) from exc
    return destination


def _folder(bundle: Bundle, path: Path) -> None:
    path.mkdir()
    bundle.write(path)


def _zip(bundle: Bundle, path: Path) -> None:
    """Stored, not compressed: compressed bytes depend on the version of zlib."""
    entries = {**bundle.files, MANIFEST: bundle.manifest.to_bytes()}
    if bundle.signature is not None:
        entries[SIGNATURE] = bundle.signature
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        for name, raw in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _MODE
            entry.create_system = _UNIX
            archive.writestr(entry, raw)


def _translate(exc: OSError, destination: Path) -> ModelyardError:
    full = full_or(exc, destination)
    if isinstance(full, StoreFull):
        return full
    return Unavailable(what=f"cannot write {destination.name!r}", cause=exc.strerror or "")
