"""A home whose deployments go to a twin: images are made in an instant, and an engine is a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions import deploy, keys, targets
from modelyard.control.actions.deploy import Draft, Order
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.rollouts import Site
from modelyard.core.identity import parse_scope
from modelyard.core.release import Release
from modelyard.core.settings import Settings
from modelyard.guard.grant import Grant
from modelyard.registry.releases import History
from modelyard.ship import packages
from modelyard.ship import targets as door
from modelyard.ship.deployment import Told
from modelyard.ship.engine import engines
from modelyard.ship.packages import Packed, Recipe
from modelyard.ship.shipment import Shipment
from tests.models import linear_bundle
from tests.targets.twin import BROKEN, Twin

#: Versions of models of these names make images that do not come up.
BAD = "bad"


def pack(shipment: Shipment, recipe: Recipe, told: Told) -> Packed:
    """An image that is named by what is in it."""
    told("an image is made")
    whole = hashlib.sha256(f"{shipment.name}{shipment.models}{recipe.base}".encode() + shipment.plan.to_bytes())
    broken = BROKEN if any(each.name == BAD for each in shipment.models) else "sha256"
    recipe.cache.mkdir(parents=True, exist_ok=True)
    path = recipe.cache / f"{whole.hexdigest()}.tar"
    path.write_text(f"{broken}:{whole.hexdigest()}")
    return Packed(path=path, digest=f"sha256:{whole.hexdigest()}", size_bytes=1, image_id=path.read_text())


class Engine:
    """An engine whose images are files of a folder."""

    name = "docker"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def has(self, image: str) -> bool:
        return (self.folder / image.replace(":", "-")).exists()

    def load(self, archive: Path) -> str:
        image = archive.read_text()
        (self.folder / image.replace(":", "-")).touch()
        return image


def furnish(patch: pytest.MonkeyPatch, folder: Path) -> Home:
    """A home with a twin called ``prod``, three versions of ``churn``, and a key that may ask."""
    patch.setitem(door.TARGETS, "twin", "tests.targets.twin")
    patch.setitem(packages.PACKAGES, "oci", "tests.targets._workshop")
    patch.setattr(engines, "find_engine", lambda doing="": Engine(folder / "engine"))
    home = open_home(Settings(home=folder / "home", cache=folder / "cache"))
    for slope in (1.0, 2.0, 3.0):
        publish(home, linear_bundle("churn", slope=slope))
    keys.create(home, Grant(name="shop", scopes=frozenset({parse_scope("model:*:predict")})))
    targets.add(home, "prod", "twin", {})
    return home


@contextmanager
def workshop(folder: Path) -> Iterator[Home]:
    """`furnish`, undone at the end."""
    with pytest.MonkeyPatch.context() as patch:
        yield furnish(patch, folder)


class Shell:
    """The command line in a home that `furnish` made: ``shell("status", code=7)``."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        patch.setenv("MODELYARD_HOME", str(folder / "home"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self.home = furnish(patch, folder)

    def __call__(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, words)
        assert result.exit_code == code, result.output
        return result

    def document(self, *words: str, code: int = 0) -> Any:
        """What it prints as JSON."""
        return json.loads(self(*words, "--json", code=code).stdout)


def quiet(line: str) -> None:
    """Somebody who does not want to know."""


def draft(home: Home, *models: str, **order: Any) -> Draft:
    return deploy.draft(
        home, Order(references=models or ("churn",), target=order.pop("target", "prod"), **order), quiet
    )


def put(home: Home, *models: str, **order: Any) -> Release:
    """Deploy it."""
    return deploy.deploy(draft(home, *models, **order), quiet)


def site(home: Home, deployment: str = "churn", target: str = "prod") -> Site:
    return Site(home, targets.known(home, target), deployment)


def twin(home: Home, target: str = "prod") -> Twin:
    found = site(home, target=target).target
    assert isinstance(found, Twin)
    return found


def stages(history: History) -> dict[int, str]:
    return {one.number: str(one.stage) for one in history.records}
