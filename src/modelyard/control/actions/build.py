"""Build: versions become an image, an archive of one, or a folder that an image is made of."""

from __future__ import annotations

import shlex
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from modelyard.control.actions.home import Home
from modelyard.control.actions.shipment import prepare, taken_out
from modelyard.core.errors import Conflict, InvalidRequest, NotFound
from modelyard.core.imagename import parse_image
from modelyard.core.trust import Policy
from modelyard.guard import encrypt
from modelyard.ship.deployment import Told
from modelyard.ship.image.images import refused
from modelyard.ship.image.labels import version_of
from modelyard.ship.packages import Packed, Recipe, pack
from modelyard.ship.shipment import Shipment

_BUILD = "model.build"
#: Where things are written when nobody says where, and how they are called: by format.
_DIST = Path("dist")
_ENDINGS = {"context": "", "oci": ".tar"}
_LOOKED_AT = 8  # files at the beginning of an archive


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
            recipe = _usual(recipe, wanted.format, shipment)
            with _housed(recipe.output):
                packed = make(shipment, recipe, told)
    with home.change(_BUILD, about) as (_, record):
        record(about, _detail(wanted, shipment, packed))
    return Built(shipment, packed, bool(shipment.models) and encrypt.read(home.settings.encryption).on)


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
    output = recipe.output or _DIST / f"{shipment.name}-{version}{_ENDINGS[form]}"
    if recipe.output is not None and not output.absolute().parent.is_dir():
        hint = f"make the folder first: mkdir -p {shlex.quote(str(output.parent))}"
        raise NotFound(what="folder", name=output.parent.name, hint=hint)
    if form == "oci" and output.is_file() and not _is_archive(output):
        hint = "name another place, -o PATH, or remove it"
        raise Conflict(what=f"{output.name!r} is there already, and is no archive of an image", hint=hint)
    return replace(recipe, tag=tag, output=output)


@contextmanager
def _housed(output: Path | None) -> Iterator[None]:
    """The usual folder is there; when nothing came to lie in it, it goes again."""
    if output is None or output.parent != _DIST or _DIST.exists():
        yield
        return
    try:
        _DIST.mkdir()
    except OSError as exc:
        raise refused(exc, _DIST) from exc
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty
            _DIST.rmdir()


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
