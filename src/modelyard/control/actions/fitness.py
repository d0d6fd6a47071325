"""Fitness: what is looked at before a release is put anywhere, so that it fails here and not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.core.changes import Breaks, signature_changes
from modelyard.core.errors import BreakingChange, CorruptBundle, InvalidRequest
from modelyard.core.manifest import MODEL
from modelyard.core.release import Release, Shipped
from modelyard.guard.keytable import KeyTable
from modelyard.ship import layout
from modelyard.ship.targets import Check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelyard.control.actions.home import Home
    from modelyard.core.changes import Change

_MIB = 1 << 20
#: Memory of a container in MiB: of the supervisor with what all share, and of each worker. Measured at rest with the
#: article's model: 47 MiB with one worker, 80 with two; here with room for requests.
BASE_MIB, WORKER_MIB = 20, 45
#: How many times its file a model takes while it is loaded, as measured: 100 MB of weights 3.1, 30 MB of trees 13.
WEIGHTS, TREES = 3.1, 13.0
_TREES = b"TreeEnsemble"


def check(home: Home, release: Release, access: Mapping[str, bytes]) -> list[Check]:
    """What can be said of a release before anybody has it; what is not ok would not come up, or answer nobody."""
    return [_memory(home, release), _replicas(release), _callers(release, access)]


def check_compatible(home: Home, before: Release | None, after: Release, *, breaking: bool) -> list[Check]:
    """Compare what callers know with what they would get.

    Parameters
    ----------
    home : Home
        Where the versions are.
    before, after : Release
        What is live, if anything is, and what would take its place.
    breaking : bool
        Whether callers may break.

    Raises
    ------
    BreakingChange
        They would, and may not; says which fields.
    """
    if before is None:
        return []
    broken, harmless = [], 0
    for old, new in _pairs(before, after):
        if new is None:
            broken.append(f"model {old.name!r} is gone")
            continue
        changes = _changes(home, old, new)
        prefix = f"{new.name}: " if len(before.models) > 1 else ""
        broken += [f"{prefix}{each}" for each in changes if each]
        harmless += sum(not each for each in changes)
    label, known = _label(after), _label(before)
    if broken and not breaking:
        raise BreakingChange(after=label, before=known, changes=broken)
    if broken:
        return [Check(ok=True, what=f"callers of {known} break, as you said they may: {'; '.join(broken)}")]
    noted = f" ({harmless} differences that break nobody)" if harmless else ""
    return [Check(ok=True, what=f"the signature is compatible with {known}{noted}")]


def refuse(checks: list[Check]) -> None:
    """`InvalidRequest` when one of them is not ok."""
    for one in checks:
        if not one.ok:
            raise InvalidRequest(what=one.what, hint=one.fix)


def estimate_mib(home: Home, release: Release) -> int:
    """Memory that a container of the release takes, in MiB, when its models are loaded."""
    needs = sum(_loaded_bytes(home, model) for model in release.models)
    return round(BASE_MIB + release.capacity.workers * (WORKER_MIB + needs / _MIB))


def _loaded_bytes(home: Home, model: Shipped) -> float:
    raw = home.artifacts.read(model.digest).files[MODEL]
    return len(raw) * (TREES if _TREES in raw else WEIGHTS)


def _memory(home: Home, release: Release) -> Check:
    need, has = estimate_mib(home, release), release.capacity.memory_mib
    said = f"{has} MiB, of {release.capacity.workers} worker(s) with {_label(release)} about {need} MiB"
    if need <= has:
        return Check(ok=True, what=f"the models fit: {said}")
    return Check(ok=False, what=f"the models do not fit: {said}", fix=f"--set memory_mib={-(-need * 5 // 4)}")


def _replicas(release: Release) -> Check:
    capacity = release.capacity
    if max(capacity.replicas, capacity.max_replicas) == 1:
        return Check(ok=True, what="1 replica: while its machine is away nobody answers")
    most = f" to {capacity.max_replicas}" if capacity.max_replicas > capacity.replicas else ""
    return Check(ok=True, what=f"{capacity.replicas}{most} replicas")


def _callers(release: Release, access: Mapping[str, bytes]) -> Check:
    """Whether anybody could ask: a container that needs keys and has none answers nobody."""
    names = [model.name for model in release.models]
    table = KeyTable.from_bytes(access[layout.KEYS])
    able = [key.name for key in table.keys if any(text.endswith(":predict") for text in key.scopes)]
    other = [name for name in (layout.TOKENS, layout.CERTIFICATES) if name in access]
    if able or other or not names:
        shown = ", ".join(sorted(able)[:5]) + (f", … ({len(able)} in all)" if len(able) > 5 else "")
        return Check(ok=True, what=f"who may ask: {shown or 'whoever has a token or certificate'}")
    fix = f"modelyard key create NAME --models {names[0]}"
    return Check(ok=False, what=f"nobody could ask {_label(release)}: there is no key that may", fix=fix)


def _pairs(before: Release, after: Release) -> Iterator[tuple[Shipped, Shipped | None]]:
    """What answered for each model's name, and what would."""
    new = {each.name: each for each in _answering(after)}
    for old in _answering(before):
        yield old, new.get(old.name)


def _answering(release: Release) -> list[Shipped]:
    default = {(model.name, model.default) for model in release.plan.models}
    return [each for each in release.models if (each.name, each.version) in default]


def _changes(home: Home, old: Shipped, new: Shipped) -> list[str]:
    """What breaks callers, in words; empty words for each difference that does not."""
    if old.digest == new.digest:
        return []
    try:
        one, two = (home.artifacts.manifest(each.digest).signature for each in (old, new))
    except CorruptBundle:
        return [f"{old} cannot be compared, it is no longer in the registry"]
    return [_words(change) for change in signature_changes(one, two)]


def _words(change: Change) -> str:
    return "" if change.breaks is Breaks.NOBODY else change.what


def _label(release: Release) -> str:
    return ", ".join(map(str, release.models)) or "no model"
