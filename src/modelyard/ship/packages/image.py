"""An image made by Docker or Podman, tried before it gets its name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from modelyard.core.errors import ModelyardError
from modelyard.core.imagename import parse_image
from modelyard.ship import packages
from modelyard.ship.deployment import Told
from modelyard.ship.engine.engines import Engine, find_engine
from modelyard.ship.engine.trial import Tried, try_image
from modelyard.ship.packages import Packed, Recipe
from modelyard.ship.shipment import Shipment

_MB = 1_000_000


def pack(shipment: Shipment, recipe: Recipe, told: Told) -> Packed:
    """Let an engine make the image out of a context, try it, give it its name, push it where that is wanted.

    Raises
    ------
    NoEngine
        Neither Docker nor Podman answers.
    BuildFailed
        It could not be made, or does not answer like its models. Nothing of it is left, and whatever had its name
        still has it.
    """
    engine = find_engine(doing="--format image")
    with TemporaryDirectory(prefix="modelyard-context-") as folder:
        context = packages.pack("context")(shipment, replace(recipe, output=Path(folder) / "context", push=""), told)
        began = monotonic()
        image = _build(engine, context, recipe, told)
    made_s = monotonic() - began
    tried = _try(engine, image, shipment, told)
    engine.tag(image, recipe.tag)
    pushed = _push(engine, image, recipe, told) if recipe.push else ""
    size = engine.inspect(image).size_bytes
    facts = context.facts | {
        "Context": context.facts["Context"].removeprefix(f"{context.path}/ "),  # a folder that is gone
        "Image": f"{recipe.tag}  {size / _MB:.0f} MB  {made_s:.0f} s ({engine.name} {engine.version})",
        "Check": str(tried),
    }
    return Packed(tag=recipe.tag, digest=image, image_id=image, size_bytes=size, pushed=pushed, facts=facts)


def _build(engine: Engine, context: Packed, recipe: Recipe, told: Told) -> str:
    assert context.path is not None  # it was given one
    told(f"{engine.name} builds {recipe.tag}")
    return engine.build(context.path, "", told, ["--platform", recipe.platform] if recipe.platform else [])


def _try(engine: Engine, image: str, shipment: Shipment, told: Told) -> Tried:
    """It has no name yet: one that fails leaves those alone that have one, of an earlier build."""
    try:
        return try_image(engine, image, shipment, told)
    except BaseException:
        with suppress(ModelyardError):
            if not engine.inspect(image).tags:
                engine.remove_image(image)
        raise


def _push(engine: Engine, image: str, recipe: Recipe, told: Told) -> str:
    tag = parse_image(recipe.tag).reference
    name = f"{recipe.push}:{tag}"
    told(f"push {name}")
    engine.tag(image, name)
    try:
        return engine.push(name)
    except ModelyardError:
        if name != recipe.tag:  # the image stays, under the name that it was to have here
            with suppress(ModelyardError):
                engine.remove_image(name)
        raise
