"""Fetch: a bundle that was pushed somewhere becomes a folder here. It needs no home: an init container runs it."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import Conflict, CorruptBundle, InvalidRequest, NotFound
from modelyard.core.imagename import is_digest
from modelyard.core.manifest import FILES, MANIFEST, SIGNATURE
from modelyard.core.network import Network
from modelyard.model.bundle import open_bundle, read_signature, sha256
from modelyard.ship.carriers import open_carrier
from modelyard.ship.parcel import Parcel, refused
from modelyard.store import files

_ASIDE = ".pulling-"
_OURS = FILES | {MANIFEST, SIGNATURE}
#: What file systems put into the root of a volume.
_NOBODYS = frozenset({"lost+found"})
_WAIT_S = 600.0


@dataclass(frozen=True)
class Fetched:
    """What lies in a folder now.

    Parameters
    ----------
    path : Path
        The bundle's folder.
    name, digest : str
        Of the bundle.
    address : str
        Where it came from, by digest.
    fresh : bool
        False when it was there already.
    """

    path: Path
    name: str
    digest: str
    address: str
    fresh: bool


def look(url: str, network: Network, digest: str = "") -> Parcel:
    """What is at this address; `CorruptBundle` when its digest is not the one that was asked for."""
    wanted = digest if digest.startswith("sha256:") or not digest else f"sha256:{digest}"
    if wanted and not is_digest(wanted):
        raise InvalidRequest(what=f"{digest[:80]!r} is no digest", cause="sha256: and 64 hexadecimal digits are one")
    found = open_carrier(url, network).find()
    if wanted and wanted != f"sha256:{found.digest}":
        what = f"its digest is sha256:{found.digest}, and {wanted} was asked for"
        raise CorruptBundle(bundle=found.manifest.name, what=what, hint="pull by the address that push printed")
    return found


def fetch(url: str, folder: Path, network: Network, *, digest: str = "", by_digest: bool = False) -> Fetched:
    """Lay the bundle out in the folder, or with `by_digest` in a folder of it that is named by the bundle's digest.

    Whoever looks meanwhile finds no ``manifest.json``, so no bundle. The same bundle twice is once; a killed fetch is
    finished by the next.

    Raises
    ------
    Conflict
        Something else lies there.
    NotFound, Denied, RegistryRefused, MissingExtra, InvalidRequest, CorruptBundle
        It cannot be had, or is not what it says it is.
    StoreFull, Unavailable
        The folder cannot be written to.
    """
    found = look(url, network, digest)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.locked(folder, wait_s=_WAIT_S):
            _tidy(folder)
            place = folder / found.digest if by_digest else folder
            fresh = not _is_there(place, found)
            if fresh:
                _lay_out(found, folder, place)
            elif found.signature not in {None, read_signature(place)}:
                (place / SIGNATURE).unlink(missing_ok=True)  # it may be a link; and it is another one now
                files.replace(place / SIGNATURE, found.signature or b"", mode=0o644)
    except OSError as exc:
        raise refused(exc, folder) from exc
    return Fetched(place, found.manifest.name, found.digest, found.address, fresh)


def _tidy(folder: Path) -> None:
    """Remove what killed fetches left; nobody else fetches into this folder now."""
    for path in folder.glob(f"{_ASIDE}*"):
        shutil.rmtree(path)


def _is_there(place: Path, found: Parcel) -> bool:
    """Whether this very bundle lies there, every byte of it; `Conflict` when another does, or something else."""
    if not place.exists():
        return False
    try:
        if open_bundle(place).digest == found.digest:
            return True
    except NotFound:
        strangers = sorted({path.name for path in place.iterdir()} - _OURS - _NOBODYS)
        if not strangers:
            return False
        what = f"{place.name!r} holds other things: {', '.join(strangers[:5])}"
        raise Conflict(what=what, hint="name another folder, or add --by-digest") from None
    except CorruptBundle:
        if _digest(place) == found.digest:  # damaged: it is laid out again
            return False
    raise Conflict(what=f"another bundle lies in {place.name!r}", hint="name another folder, or add --by-digest")


def _digest(place: Path) -> str:
    """What the manifest says that lies there; empty when it cannot be read."""
    try:
        return sha256((place / MANIFEST).read_bytes())
    except OSError:
        return ""


def _lay_out(found: Parcel, folder: Path, place: Path) -> None:
    """Aside, then renamed. A folder that is there may be a mount: then its files are renamed, the manifest last."""
    aside = folder / f"{_ASIDE}{secrets.token_hex(6)}"
    try:
        aside.mkdir()
        found.write(aside)
        if place.exists():
            (place / MANIFEST).unlink(missing_ok=True)
            for path in sorted(aside.iterdir(), key=lambda each: each.name == MANIFEST):
                path.replace(place / path.name)
            files.sync_folder(place)
        else:
            aside.rename(place)
        files.sync_folder(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
