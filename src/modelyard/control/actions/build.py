"""Build: versions become an image, an archive of one, or a folder that an image is made of."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import modelyard
from modelyard.control.actions.home import Home
from modelyard.control.actions.shipment import prepare, taken_out
from modelyard.core.errors import Conflict, InvalidRequest, NotFound
from modelyard.core.imagename import parse_image
from modelyard.core.trust import Policy
from modelyard.guard import encrypt
from modelyard.ship.images import is_layout
from modelyard.ship.packages import Packed, Recipe, Told, pack
from modelyard.ship.shipment import Shipment

_BUILD = "model.build"
#: Where things are written when nobody says where, and how they are called: by format.
_DIST = Path("dist")
_ENDINGS = {"context": "", "oci": ".tar"}
_SHORT = 12
_LOOKED_AT = 8  # files at the beginning of an archive
_WHEELHOUSE = "wheelhouse"  # of a context


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be built.

    Parameters
    ----------
    references : sequence of str
        As for `plans.render`; none for an image that serves what is mounted into it.
    format : str
        See `ship.packages.PACKAGES`.
    name : str
        Of the image; empty for the model's own.
    extras : sequence of str
        See `Shipment`.
    signatures : Policy
        What becomes of versions without a signature that counts.
    """

    references: Sequence[str]
    format: str = "image"
    name: str = ""
    extras: Sequence[str] = ()
    signatures: Policy = Policy.OFF


@dataclass(frozen=True)
class Built:
    """What was built, of what; and whether its models lie in it in clear while they are encrypted here."""

    shipment: Shipment
    packed: Packed
    uncovered: bool


def build(home: Home, wanted: Wanted, recipe: Recipe, told: Told) -> Built:
    """Build it, whole or not at all, and record who did.

    Parameters
    ----------
    home : Home
        Where the versions are.
    wanted : Wanted
        What.
    recipe : Recipe
        How; where it leaves open what is written and how the image is called, the usual.
    told : callable
        Told what is being done.

    Raises
    ------
    InvalidName, InvalidRequest, NotFound, CorruptBundle, Untrusted
        What is asked for cannot be; see `shipment.prepare`.
    NoEngine, BuildFailed, RegistryRefused, StoreFull, Conflict
        It cannot be made; nothing is left of it.
    """
    about = ", ".join(wanted.references) or wanted.name or "no model"
    with home.attempt(_BUILD, about):
        make = pack(wanted.format)
        with taken_out(home, lambda: _prepared(home, wanted)) as shipment:
            packed = make(shipment, _usual(recipe, wanted.format, shipment), told)
    with home.change(_BUILD, about) as (_, record):
        record(about, _detail(wanted, shipment, packed))
    return Built(shipment, packed, bool(shipment.models) and encrypt.read(home.settings.encryption).on)


def version_of(shipment: Shipment) -> str:
    """What tells this shipment from others of its name: the version's number, where there is one version."""
    if not shipment.models:
        return modelyard.__version__
    if len(shipment.models) == 1:
        return str(shipment.models[0].version)
    return hashlib.sha256("".join(f"{each} {each.digest}\n" for each in shipment.models).encode()).hexdigest()[:_SHORT]


def _prepared(home: Home, wanted: Wanted) -> Shipment:
    return prepare(home, wanted.references, wanted.name, wanted.extras, wanted.signatures)


def _usual(recipe: Recipe, form: str, shipment: Shipment) -> Recipe:
    """The recipe with what it leaves open."""
    version = version_of(shipment)
    tag = recipe.tag or f"{shipment.name}:{version}"
    tag = tag if parse_image(tag).tag else f"{tag}:{version}"
    if form not in _ENDINGS:
        if recipe.output is not None:
            raise InvalidRequest(
                what=f"an image for an engine is not written to {recipe.output.name!r}", hint="add --format oci"
            )
        return replace(recipe, tag=tag)
    if recipe.output is None:
        _DIST.mkdir(exist_ok=True)
    output = recipe.output or _DIST / f"{shipment.name}-{version}{_ENDINGS[form]}"
    if not output.absolute().parent.is_dir():
        raise NotFound(what="folder", name=output.parent.name, hint="make the folder first: mkdir -p")
    if output.exists() and not _is_ours(output, form):
        hint = "name another place, -o PATH, or remove it"
        raise Conflict(what=f"{output.name!r} is there already, and is nothing that a build has made", hint=hint)
    return replace(recipe, tag=tag, output=output)


def _is_ours(path: Path, form: str) -> bool:
    """Whether an earlier build made what is there, which may be made anew; anybody's files may lie under that name."""
    if path.is_dir():
        made = (path / "Dockerfile").is_file() and (path / _WHEELHOUSE).is_dir()
        return made if form == "context" else is_layout(path)
    return form == "oci" and _is_archive(path)


def _is_archive(path: Path) -> bool:
    """Whether the file is an OCI archive; ours have the mark of one before their layers."""
    try:
        with tarfile.open(path, "r:") as archive:
            return any(member.name == "oci-layout" for member in islice(archive, _LOOKED_AT))
    except (tarfile.TarError, OSError):
        return False


def _detail(wanted: Wanted, shipment: Shipment, packed: Packed) -> dict[str, str]:
    told = {
        "format": wanted.format,
        "models": shipment.label,
        "tag": packed.tag,
        "digest": packed.digest,
        "pushed": packed.pushed,
    }
    return {key: value for key, value in told.items() if value}
