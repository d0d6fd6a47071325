"""Plans: what a server should serve, rendered from the catalogue into the one file that it obeys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from modelyard.control.actions.home import Home
from modelyard.core.errors import CorruptBundle, InvalidRequest, ModelyardError, NotFound, Unavailable
from modelyard.core.plan import Limits, Plan, PlannedModel, PlannedVersion
from modelyard.core.reference import Reference, parse_reference
from modelyard.registry.versions import LATEST, Model, Version
from modelyard.store import files


def render(home: Home, requested: Sequence[str] = (), limits: Limits | None = None) -> Plan:
    """The plan for these references, every bundle laid out and verified.

    Parameters
    ----------
    home : Home
        Where from.
    requested : sequence of str
        ``name``: the version that the bare name means, and every version that an alias names. ``name@2`` or
        ``name@alias``: that version, which also answers for the bare name when the bare name was not requested (the
        first such request does). Empty: every model.
    limits : Limits, optional
        Of the data plane.

    Returns
    -------
    Plan
        Models by name, versions by number; `path` is absolute.

    Raises
    ------
    InvalidName, NotFound
        A reference cannot be read, or means nothing here.
    CorruptBundle
        A bundle's bytes were changed.
    """
    for text in requested:
        home.catalogue.resolve(parse_reference(text))
    return _plan(home, tuple(requested), limits or Limits(), serving=None)


def save(home: Home, name: str, plan: Plan) -> Path:
    """Put the plan where `refresh` keeps it current, ``<home>/plans/<name>.json``; a server watches that file."""
    path = home.settings.plans / f"{name}.json"
    files.replace(path, plan.to_bytes())
    return path


def refresh(home: Home) -> list[Path]:
    """Render every saved plan again from what its operator asked for; the files that changed, each replaced at once.

    One process at a time, each from the catalogue as it is then, so that the last to finish has seen every change. What
    was asked for and is gone leaves the plan; what is damaged keeps serving as it was.
    """
    with files.locked(home.settings.plans):
        return [path for path in sorted(home.settings.plans.glob("*.json")) if _renew(home, path)]


def announce(home: Home, done: str) -> list[Path]:
    """`refresh` after an act that stands whatever happens now; an error says that it stands."""
    try:
        return refresh(home)
    except (ModelyardError, OSError) as exc:
        cause = exc.detail if isinstance(exc, ModelyardError) else exc.strerror
        raise Unavailable(
            what=f"{done}, but running servers could not be told", cause=cause, hint="run the same command again"
        ) from exc


def _renew(home: Home, path: Path) -> bool:
    try:
        before = path.read_bytes()
        old = Plan.from_bytes(before)
    except (FileNotFoundError, InvalidRequest):  # its server stopped just now; or it is not a plan of ours
        return False
    after = _plan(home, old.requested, old.limits, serving={model.name: model for model in old.models}).to_bytes()
    if after == before:
        return False
    files.replace(path, after)
    return True


def _plan(
    home: Home, requested: tuple[str, ...], limits: Limits, *, serving: Mapping[str, PlannedModel] | None
) -> Plan:
    """From one look at the catalogue. A damaged bundle is an error; in a plan that is `serving`, it changes nothing."""
    references = [parse_reference(text) for text in requested]
    asked = {reference.name for reference in references}
    models: list[PlannedModel] = []
    with home.artifacts.held():
        for model in home.catalogue.models():
            if asked and model.name not in asked:
                continue
            mine = [reference for reference in references if reference.name == model.name] or [Reference(model.name)]
            try:
                models += _planned(home, model, mine)
            except CorruptBundle:
                if serving is None:
                    raise
                models += [serving[model.name]] if model.name in serving else []
    return Plan(models=tuple(models), requested=requested, limits=limits)


def _planned(home: Home, model: Model, references: Sequence[Reference]) -> list[PlannedModel]:
    """The model's part of the plan; none when nothing that was asked of it is there any more."""
    resolved = {reference: version for reference in references if (version := _resolved(model, reference))}
    if not resolved:
        return []
    bare = Reference(model.name)
    default = resolved.get(bare) or next(iter(resolved.values()))
    numbers = {version.version for version in resolved.values()}
    if bare in resolved:
        numbers |= set(model.aliases.values())
    versions = tuple(
        PlannedVersion(version.version, version.digest, str(home.artifacts.checkout(version.digest)))
        for version in model.versions
        if version.version in numbers
    )
    aliases = {**model.aliases, LATEST: model.latest.version}
    answered = {alias: number for alias, number in sorted(aliases.items()) if number in numbers}
    return [PlannedModel(name=model.name, default=default.version, versions=versions, aliases=answered)]


def _resolved(model: Model, reference: Reference) -> Version | None:
    try:
        return model.resolve(reference)
    except NotFound:
        return None
