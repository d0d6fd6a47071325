"""An image with no engine at all: its layers are made here, each one once, and the same every time.

Bottom up: the base, the packages, Modelyard, and one small layer with models, plan and bill of materials. The first
three are on the shelf when they were made before, so another model costs only the last.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from time import monotonic

from modelyard.core.errors import InvalidRequest, MissingExtra, RegistryRefused
from modelyard.core.imagename import parse_image
from modelyard.core.manifest import MANIFEST, SIGNATURE
from modelyard.model.bundle import open_bundle
from modelyard.ship import layout
from modelyard.ship.deployment import Told
from modelyard.ship.image import bytecode, compiler, ownwheel, slim, wheels
from modelyard.ship.image.bases import open_base
from modelyard.ship.image.foundation import Ground, broken
from modelyard.ship.image.images import (
    MANIFEST_TYPE,
    Image,
    Start,
    Stored,
    assemble,
    is_layout,
    write_archive,
    write_layout,
)
from modelyard.ship.image.labels import labels_of, version_of
from modelyard.ship.image.layers import Entry, file, folder, key_of, layer, made_by
from modelyard.ship.image.layers import pack as make
from modelyard.ship.image.locks import EXTRAS, SERVING, this_platform
from modelyard.ship.image.sbom import Contents, bill
from modelyard.ship.image.shelf import Shelf, digest_of, refused
from modelyard.ship.packages import Packed, Recipe
from modelyard.ship.shipment import Shipment
from modelyard.store.files import make_folder

_MB = 1_000_000
_S = 1_000_000_000  # nanoseconds, in which Docker counts
_LIBRARY = str(layout.LIBRARY)[1:]
#: C libraries of the base that nothing is linked with, and that are found by name: by extra.
_SONAMES = {"convert": ("libseccomp.so.2",)}
#: Where programs are when a base does not say.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def pack(shipment: Shipment, recipe: Recipe, told: Told) -> Packed:
    """Make the image and write it to where the recipe says: an archive, or a folder that is an OCI layout.

    Without an output and without a repository to push to, the archive is put into the cache.

    Raises
    ------
    BuildFailed
        The base or a package is damaged, or not for this platform. What was made before is left as it was.
    StoreFull, Unavailable
        There is no room for it, or it may not be written. Nothing of it is left.
    RegistryRefused, Denied, NotFound
        The base cannot be had, or the image cannot be pushed.
    """
    began = monotonic()
    try:
        image, ground = _image(shipment, recipe, told)
    except OSError as exc:
        raise refused(exc, recipe.cache) from exc
    base, name = ground.base, recipe.tag or f"{shipment.name}:{version_of(shipment)}"
    path = _written(image, name, shipment, recipe)
    pushed = _push(image, name, recipe, told) if recipe.push else ""
    size, pulled = image.unpacked_bytes / _MB, image.packed_bytes / _MB
    return Packed(
        path=path,
        tag=name,
        digest=image.digest,
        size_bytes=image.unpacked_bytes,
        image_id=image.id,
        pushed=pushed,
        facts={
            "Base": f"{base.name} ({base.digest[:19]}…), Python {ground.python}"
            + (f"; {base.note}" if base.note else ""),
            "Image": f"{name}  {size:.0f} MB, {pulled:.0f} MB to pull  {monotonic() - began:.1f} s (no engine)",
            "Digest": image.digest,
            **({"Archive": str(path)} if path else {}),
        },
    )


def _image(shipment: Shipment, recipe: Recipe, told: Told) -> tuple[Image, Ground]:
    """The image, its layers on the shelf, and what it stands on."""
    platform = recipe.platform or this_platform()
    shelf = Shelf(recipe.cache / "layers")
    with open_base(recipe.base, platform, shelf, recipe.network) as base, broken(base, shelf) as ground:
        if base.note:
            told(base.note)
        layers = _layers(shipment, recipe, ground, shelf, told)
        return assemble(layers, _start(shipment, recipe, ground), platform), ground


def _layers(shipment: Shipment, recipe: Recipe, ground: Ground, shelf: Shelf, told: Told) -> list[Stored]:
    base = ground.base
    told(f"base {base.name}")
    python = ground.python
    told(f"packages for Python {python} on {base.platform}")
    found = wheels.fetch(recipe.cache, recipe.wheels, python, base.platform, shipment.extras)
    packages = key_of(*(path.name for path in found), sha256(_locks(shipment.extras)).hexdigest())
    sonames = [name for extra in shipment.extras for name in _SONAMES.get(extra, ())]
    told("layers")
    kept = ground.whole() if recipe.whole_base else ground.pruned(packages, lambda: _libraries(found), sonames)
    key = made_by(slim, wheels, compiler), bytecode.COMPILER if ground.compiled else ""
    with tempfile.TemporaryDirectory(dir=shelf.aside) as aside:
        own = ownwheel.build(Path(aside), shipment.extras)
        contents = Contents(
            shipment=shipment,
            version=version_of(shipment),
            wheels=(*found, own),
            base=base.title,
            base_digest=base.digest,
            debian=kept.debian,
        )
        layers = [
            *((each, base.title) for each in kept.layers),
            (layer(shelf, key_of("packages", packages, *key), lambda: _packages(found, ground)), "packages"),
            (layer(shelf, key_of("modelyard", digest_of(own), *key), lambda: _packages([own], ground)), "modelyard"),
            (make(shelf, _models(shipment, bill(contents))), shipment.label),
        ]
    return [Stored(each, what, shelf.path(each.digest)) for each, what in layers]


def _packages(found: Iterable[Path], ground: Ground) -> Iterator[Entry]:
    """The packages below the library, their modules compiled where this interpreter is the image's."""
    modules: dict[str, bytes] = {}
    for entry in wheels.unpack(found):
        path = f"{_LIBRARY}/{entry.path}"
        yield Entry(path, entry.mode, entry.raw)
        if path.endswith(".py"):
            modules[f"/{path}"] = entry.raw
    if ground.compiled:
        yield from (file(path[1:], raw) for path, raw in bytecode.compiled(modules).items())


def _libraries(found: Iterable[Path]) -> Iterator[bytes]:
    """What of the packages is linked with libraries of the base."""
    return (entry.raw for entry in wheels.unpack(found) if ".so" in entry.path)


def _models(shipment: Shipment, sbom: bytes) -> Iterator[Entry]:
    """Bundles, plan, bill of materials, and folders for what is mounted."""
    yield from (folder(str(each)[1:]) for each in (layout.BUNDLES, layout.ACCESS, layout.MOUNTED))
    yield file(str(layout.PLAN)[1:], shipment.plan.to_bytes())
    yield file(str(layout.SBOM)[1:], sbom)
    for digest, where in shipment.bundles.items():
        bundle = open_bundle(where, digest=digest)
        names = [MANIFEST, *bundle.files, *([SIGNATURE] if bundle.signature is not None else [])]
        yield from (file(f"{layout.BUNDLES}/{digest}/{name}"[1:], where / name) for name in names)


def _locks(extras: Iterable[str]) -> bytes:
    """What decides on the bytes of every package."""
    names = (SERVING, *(EXTRAS[each] for each in extras))
    return b"".join(files("modelyard.ship.image").joinpath(name).read_bytes() for name in names)


def _start(shipment: Shipment, recipe: Recipe, ground: Ground) -> Start:
    """How its containers begin. What the base sets stays, but for what Modelyard needs to be otherwise."""
    return Start(
        entrypoint=("python3", *layout.command(models=bool(shipment.models), extras=shipment.extras)),
        user=f"{layout.USER}:{layout.USER}",
        environment={"PATH": _PATH, "LANG": "C.UTF-8", **ground.base.environment, **layout.ENVIRONMENT},
        ports=(layout.HTTP_PORT, layout.GRPC_PORT),
        labels=labels_of(shipment, recipe.labels, base=ground.base.title, base_digest=ground.base.digest),
        health={
            "Test": ["CMD", *layout.HEALTH],
            "Interval": layout.HEALTH_INTERVAL_S * _S,
            "Timeout": layout.HEALTH_TIMEOUT_S * _S,
            "StartPeriod": layout.HEALTH_START_S * _S,
            "Retries": layout.HEALTH_RETRIES,
        },
    )


def _written(image: Image, name: str, shipment: Shipment, recipe: Recipe) -> Path | None:
    """Where the image was written, if it was."""
    output = recipe.output
    if output is None:
        if recipe.push:
            return None
        output = recipe.cache / "images" / f"{shipment.name}.tar"
        make_folder(output.parent)
    if output.is_dir() and (is_layout(output) or not any(output.iterdir())):
        write_layout(image, name, output)
    elif output.is_dir():
        hint = "name an archive to be written, an empty folder, or one that is an OCI layout: -o PATH"
        raise InvalidRequest(what=f"{output.name!r} is a folder of other things", hint=hint)
    else:
        write_archive(image, name, output)
    return output


def _push(image: Image, name: str, recipe: Recipe, told: Told) -> str:
    """Send what the repository has not; where the image is now."""
    try:
        from modelyard.store.distribution import Repository  # noqa: PLC0415 - of the extra `ship`
    except ModuleNotFoundError as exc:
        raise MissingExtra(what="pushing an image", library=exc.name, extra="ship") from exc
    place = parse_image(recipe.push)
    tag = place.tag or parse_image(name).reference
    told(f"push {place.place}:{tag}")
    repository = Repository(place, recipe.network)
    for stored in image.layers:
        repository.put(stored.path, stored.layer.digest)
    repository.put(image.config, image.id)
    repository.put_manifest(image.manifest, MANIFEST_TYPE, tag)
    found = repository.head(tag)
    if found != image.digest:
        what = f"{place.place}:{tag} is {found or 'nothing'} after {image.digest} was pushed"
        raise RegistryRefused(registry=place.host, what=what, cause="somebody else pushed it at the same time")
    return f"{place.place}@{image.digest}"
