"""Images of deployments: made of bundles without an engine, and brought to where a target takes them from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modelyard.control.actions.shipment import taken_out
from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.plan import Plan
from modelyard.core.release import Release, Shipped
from modelyard.registry import signatures
from modelyard.ship.packages import Packed, Recipe, pack
from modelyard.ship.shipment import Shipment
from modelyard.ship.targets import Delivery

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home
    from modelyard.ship.targets import Target, Told

#: Which package deployments are made as: the one that needs no engine, and is the same for the same bundles.
_KIND = "oci"


@dataclass(frozen=True, kw_only=True)
class Making:
    """How an image is to be made, as far as that can be chosen.

    Parameters
    ----------
    base : str
        The image below; see `ship.packages.Recipe`.
    wheels : Path or None
        Folder of wheels to use instead of fetching them.
    platform : str
        ``linux/amd64`` or ``linux/arm64``; empty for this machine's.
    """

    base: str = "python:3.11-slim"
    wheels: Path | None = None
    platform: str = ""


def make(home: Home, target: Target, shipment: Shipment, making: Making, told: Told) -> Packed:
    """The image of a shipment, in the cache; nothing is pushed or loaded.

    Whether it could be brought to its target is asked first: to make it takes longer.
    """
    if target.delivery is Delivery.ENGINE:
        from modelyard.ship.engine.engines import find_engine  # noqa: PLC0415 - with the first target that needs an engine

        find_engine(doing="this target")
    else:
        _repository(target)
    return pack(_KIND)(_carried(target, shipment), _recipe(home, making), told)


def name_of(target: Target, deployment: str, packed: Packed) -> str:
    """How the target will know the image.

    Raises
    ------
    InvalidRequest
        Images reach the target by a registry, and it does not say which.
    """
    if target.delivery is Delivery.ENGINE:
        return packed.image_id
    return f"{_repository(target)}/{deployment}@{packed.digest}"


def deliver(home: Home, target: Target, release: Release, making: Making, told: Told) -> None:
    """Bring the release's image to where its target takes it from; nothing happens when it is there.

    Raises
    ------
    Conflict
        It has to be made again, and becomes another one.
    NoEngine, RegistryRefused
        It cannot be brought there.
    """
    if target.delivery is Delivery.ENGINE:
        from modelyard.ship.engine.engines import find_engine  # noqa: PLC0415 - as above

        engine = find_engine(doing=f"target {release.target}")
        if not engine.has(release.image):
            packed = _made_again(home, target, release, making, told)
            if packed.path is not None:
                told(f"the image is loaded into {engine.name}")
                engine.load(packed.path)
        return
    if not _is_pushed(home, release.image):
        _made_again(home, target, release, making, told, push=f"{_repository(target)}/{release.deployment}")


def send(home: Home, target: Target, models: Iterable[Shipped], told: Told) -> tuple[Shipped, ...]:
    """Push the bundles of these models to where an init step fetches them, and say from where."""
    from modelyard.ship.carriers import open_carrier  # noqa: PLC0415 - with a target that fetches

    sent = []
    for model in models:
        bundle = replace(home.artifacts.read(model.digest), signature=signatures.read(home.database, model.digest))
        told(f"the bundle of {model} is pushed to {target.fetches}")
        source = open_carrier(address_of(target, model), home.settings.network).push(bundle)
        sent.append(msgspec.structs.replace(model, source=source))
    return tuple(sent)


def address_of(target: Target, model: Shipped) -> str:
    """Where the bundle of this version is pushed to."""
    return f"{target.fetches.rstrip('/')}/{model.name}-bundle:{model.version}"


def _shipment_of(home: Home, release: Release) -> Shipment:
    """The shipment that the release's image was made of, from the registry. Called while the artifacts are held."""
    kept: Mapping[str, bytes] = signatures.read_all(home.database)
    folders = {each.digest: home.artifacts.checkout(each.digest, kept.get(each.digest)) for each in release.models}
    return Shipment(name=release.deployment, models=release.models, bundles=folders, plan=release.plan)


def _is_pushed(home: Home, image: str) -> bool:
    from modelyard.core.imagename import parse_image  # noqa: PLC0415 - with the first target that takes from a registry
    from modelyard.store.distribution import Repository  # noqa: PLC0415 - as above

    name = parse_image(image)
    return bool(Repository(name, home.settings.network).head(name.digest))


def _made_again(home: Home, target: Target, release: Release, making: Making, told: Told, *, push: str = "") -> Packed:
    """The release's image, made, and then pushed; the same bundles, base and Modelyard make the same image."""
    make, recipe = pack(_KIND), _recipe(home, making)
    with taken_out(home, lambda: _carried(target, _shipment_of(home, release))) as shipment:
        packed = make(shipment, recipe, told)
        made = name_of(target, release.deployment, packed)
        if made != release.image:
            again = f"{' '.join(map(str, release.models))} --to {release.target} --name {release.deployment}"
            raise Conflict(
                what=f"the image of release {release.number} cannot be made again: it becomes {made}",
                cause=f"it was {release.image}; the base image, Modelyard or a signature has changed since",
                hint=f"make a new release of it: modelyard deploy {again}",
            )
        if push:
            told(f"the image is pushed to {push}")
            return make(shipment, replace(recipe, push=push), told)
    return packed


def _carried(target: Target, shipment: Shipment) -> Shipment:
    """The shipment that the image carries: without its models where an init step fetches them."""
    return replace(shipment, models=(), bundles={}, plan=Plan(models=())) if target.fetches else shipment


def _recipe(home: Home, making: Making) -> Recipe:
    return Recipe(
        base=making.base,
        cache=home.settings.cache,
        wheels=making.wheels,
        platform=making.platform,
        network=home.settings.network,
    )


def _repository(target: Target) -> str:
    if not target.repository:
        raise InvalidRequest(
            what="the target does not say where images are pushed to, and it takes them from a registry",
            hint="modelyard target add NAME KIND repository=registry.example/ml",
        )
    return target.repository.rstrip("/")
