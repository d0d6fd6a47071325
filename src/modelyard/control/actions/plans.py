"""Plans: what a server should serve, rendered from the catalogue into the one file that it obeys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from modelyard.control.actions import configure
from modelyard.control.actions.home import Home
from modelyard.control.actions.journals import journaling
from modelyard.control.actions.notary import Notary
from modelyard.core import rates
from modelyard.core.errors import CorruptBundle, InvalidRequest, ModelyardError, NotFound, Unavailable, Untrusted
from modelyard.core.plan import Limits, Plan, PlannedModel, Tuning
from modelyard.core.reference import Reference, parse_reference
from modelyard.core.trust import Policy, Trust
from modelyard.registry.versions import LATEST, Model, Version
from modelyard.store import files


def render(
    home: Home,
    requested: Sequence[str] = (),
    limits: Limits | None = None,
    *,
    explicit: bool = False,
    tunings: Mapping[str, Tuning] | None = None,
    signatures: Policy = Policy.OFF,
) -> Plan:
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
    explicit : bool
        Whether models are loaded and unloaded while the server runs; then empty means none.
    tunings : mapping of str to Tuning, optional
        How models are to be run, by name; under the empty name, all others.
    signatures : Policy
        What becomes of versions without a signature that counts.

    Returns
    -------
    Plan
        Models by name, versions by number; `path` is absolute.

    Raises
    ------
    InvalidName, NotFound
        A reference cannot be read, or means nothing here; or a model is to be tuned that is not to be served.
    CorruptBundle
        A bundle's bytes were changed.
    Untrusted
        A version has no signature that counts, and signatures are enforced.
    """
    for text in requested:
        home.catalogue.resolve(parse_reference(text))
    asked = Plan(models=(), requested=tuple(requested), limits=limits or Limits(), explicit=explicit)
    asked = msgspec.structs.replace(asked, tunings=dict(tunings or {}), signatures=Trust(signatures))
    plan = _plan(home, asked, strict=True)
    _check_tuned(plan)
    return plan


def save(home: Home, name: str, plan: Plan) -> Path:
    """Put the plan where `refresh` keeps it current, ``<home>/plans/<name>.json``; a server watches that file."""
    path = home.settings.plans / f"{name}.json"
    try:
        files.replace(path, plan.to_bytes())
    except OSError as exc:
        raise files.refused(exc, path.parent) from exc
    return path


def refresh(home: Home) -> list[Path]:
    """Render every saved plan again from what its operator asked for; the files that changed, each replaced at once.

    One process at a time, each from the catalogue as it is then, so that the last to finish has seen every change. What
    was asked for and is gone leaves the plan; what is damaged keeps serving as it was.
    """
    with files.locked(home.settings.plans), home.artifacts.held():
        return [path for path in sorted(home.settings.plans.glob("*.json")) if _renew(home, path)]


def amend(home: Home, name: str, change: Callable[[Plan], Plan]) -> Plan:
    """Change what a saved plan asks for, and render it again with the next serial, whether anything came of it or not.

    Parameters
    ----------
    home : Home
        Where from.
    name : str
        Of the saved plan.
    change : callable
        From the plan as it is to one that asks for something else: `requested`, `folders`, and of `models` those that
        come from folders.

    Returns
    -------
    Plan
        As saved.
    """
    path = home.settings.plans / f"{name}.json"
    with files.locked(home.settings.plans), home.artifacts.held():
        plan = _next(_plan(home, change(Plan.from_bytes(path.read_bytes())), strict=False))
        files.replace(path, plan.to_bytes())
    return plan


def tidy(home: Home) -> None:
    """Put away what is laid out for servers that have ended, where it may not lie about; see `Artifacts.put_away`."""
    home.artifacts.put_away(lambda: {path for plan in _saved(home) for path in _folders(plan)})


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
        old = Plan.from_bytes(path.read_bytes())
    except (FileNotFoundError, InvalidRequest):  # its server stopped just now; or it is not a plan of ours
        return False
    plan = _plan(home, old, strict=False)
    if plan == old:
        return False
    files.replace(path, _next(plan).to_bytes())
    return True


def _saved(home: Home) -> Iterator[Plan]:
    for path in home.settings.plans.glob("*.json"):
        with suppress(FileNotFoundError, InvalidRequest):  # as above
            yield Plan.from_bytes(path.read_bytes())


def _folders(plan: Plan) -> Iterator[Path]:
    return (Path(version.path) for model in plan.models for version in model.versions)


def _check_tuned(plan: Plan) -> None:
    """A name that is tuned is one that is served, or could be."""
    known = sorted({*(model.name for model in plan.models), *plan.known})
    for name in plan.tunings:
        if name and known and name not in known:  # that nothing is served is another error
            what = "model to be tuned" if plan.explicit else "served model to be tuned"
            raise NotFound(what=what, name=name[:80], known=known, hint="name one that is served, or none for all")


def _next(plan: Plan) -> Plan:
    return msgspec.structs.replace(plan, serial=plan.serial + 1)


def _plan(home: Home, asked: Plan, *, strict: bool) -> Plan:
    """What is asked for, from one look at the catalogue.

    What is damaged or may not be served is an error, or else the model stays as it was, while that may be served.
    """
    references = [parse_reference(text) for text in asked.requested]
    names = {reference.name for reference in references}
    serving = {model.name: model for model in asked.models}
    notary = Notary(home, asked.signatures.policy)
    refused = {name: why for name in asked.folders if name in serving and (why := notary.objection(serving[name]))}
    models = [serving[name] for name in asked.folders if name in serving and name not in refused]
    with home.artifacts.held():
        catalogue = home.catalogue.models()
        for model in catalogue:
            if model.name in asked.folders or ((names or asked.explicit) and model.name not in names):
                continue
            mine = [reference for reference in references if reference.name == model.name] or [Reference(model.name)]
            try:
                models += _planned(notary, model, mine, asked.tuning(model.name))
            except (CorruptBundle, Untrusted) as exc:
                if strict:
                    raise
                if isinstance(exc, Untrusted):
                    refused[model.name] = exc.detail
                before = serving.get(model.name)
                models += [before] if before is not None and not notary.objection(before) else []
    known = {model.name: tuple(item.version for item in model.versions) for model in catalogue}
    ordered = tuple(sorted(models, key=lambda model: model.name))
    known = known if asked.explicit else {}
    journal = journaling(home, {model.name for model in ordered})
    allowed = rates.read(configure.read(home.settings.rates))
    fresh = msgspec.structs.replace(asked, models=ordered, known=known, refused=refused, journal=journal)
    return msgspec.structs.replace(fresh, signatures=notary.trust, rates=allowed)


def _planned(notary: Notary, model: Model, references: Sequence[Reference], tuning: Tuning) -> list[PlannedModel]:
    """The model's part of the plan; none when nothing that was asked of it is there any more."""
    resolved = {reference: version for reference in references if (version := _resolved(model, reference))}
    if not resolved:
        return []
    bare = Reference(model.name)
    default = resolved.get(bare) or next(iter(resolved.values()))
    numbers = {version.version for version in resolved.values()}
    if bare in resolved:
        numbers |= set(model.aliases.values())
    versions = tuple(notary.lay_out(version) for version in model.versions if version.version in numbers)
    aliases = {**model.aliases, LATEST: model.latest.version}
    answered = {alias: number for alias, number in sorted(aliases.items()) if number in numbers}
    return [PlannedModel(model.name, default.version, versions, answered, tuning)]


def _resolved(model: Model, reference: Reference) -> Version | None:
    try:
        return model.resolve(reference)
    except NotFound:
        return None
