"""Mounted: exported bundles that lie in a folder become a serving plan, with no registry at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import structs

from modelyard.core.errors import Conflict, NotFound
from modelyard.core.manifest import MANIFEST
from modelyard.core.plan import Plan, PlannedModel, PlannedVersion, Tuning
from modelyard.core.reference import check_name
from modelyard.model.bundle import open_bundle

_DEEPEST = 3  # FOLDER/NAME/VERSION/manifest.json
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def plan_of(folder: Path, name: str = "", tunings: Mapping[str, Tuning] | None = None) -> Plan:
    """The plan that serves every bundle of the folder: itself one, or holding them in folders, at most three deep.

    A bundle does not know its version's number: it is that of its folder where that is named by one, else 1. Of
    several versions the highest is asked when none is named.

    Parameters
    ----------
    folder : Path
        Where they lie.
    name : str
        What to call the model, where there is one; empty for the bundles' own names.
    tunings : mapping of str to Tuning, optional
        How models are to be run, by name; under the empty name, all others.

    Raises
    ------
    NotFound
        There is no such folder, or no bundle in it.
    Conflict
        Two bundles would be the same version of one name.
    CorruptBundle, InvalidName
        A bundle was changed, or the name cannot be one.
    """
    if not folder.is_dir():
        raise NotFound(what="folder", name=str(folder))
    found: dict[str, dict[int, PlannedVersion]] = {}
    for path in sorted(_bundles(folder.absolute(), _DEEPEST)):
        bundle = open_bundle(path)
        called = check_name(name or bundle.manifest.name)
        version = int(path.name) if _VERSION.fullmatch(path.name) else 1
        versions = found.setdefault(called, {})
        if version in versions:
            raise Conflict(
                what=f"two bundles of {folder} would be {called}@{version}",
                hint="put each into a folder that is named by its version's number",
            )
        versions[version] = PlannedVersion(version, bundle.digest, str(path))
    if not found:
        raise NotFound(what="bundle in folder", name=str(folder), hint="modelyard model export MODEL FOLDER")
    asked = Plan(models=(), tunings=dict(tunings or {}))
    if strangers := sorted(set(asked.tunings) - {"", *found}):
        raise NotFound(what="served model to be tuned", name=strangers[0][:80], known=sorted(found))
    models = (_planned(called, versions, asked.tuning(called)) for called, versions in sorted(found.items()))
    return structs.replace(asked, models=tuple(models))


def _planned(name: str, versions: dict[int, PlannedVersion], tuning: Tuning) -> PlannedModel:
    ordered = tuple(versions[number] for number in sorted(versions))
    return PlannedModel(name, ordered[-1].version, ordered, {"latest": ordered[-1].version}, tuning)


def _bundles(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / MANIFEST).is_file():
        yield folder
    elif depth:
        for path in folder.iterdir():
            if path.is_dir() and not path.name.startswith("."):
                yield from _bundles(path, depth - 1)
