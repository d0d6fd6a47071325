"""Compare: what changed between two versions, and whether callers of the first one break."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.control.actions.home import Home
from modelyard.core.changes import Breaks, Change, signature_changes
from modelyard.core.reference import Reference
from modelyard.model.bundle import Bundle
from modelyard.registry.versions import Version


class MetricChange(msgspec.Struct, frozen=True):
    """One metric of either version; `better` is None when it is equal or cannot be said."""

    name: str
    before: float | None
    after: float | None
    better: bool | None


class ValueChange(msgspec.Struct, frozen=True):
    """A parameter or fact that differs; None where a version does not have it."""

    name: str
    before: Any
    after: Any


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """From `before` to `after`; only what differs, but every metric."""

    before: Version
    after: Version
    signature: tuple[Change, ...]
    metrics: tuple[MetricChange, ...]
    parameters: tuple[ValueChange, ...]
    facts: tuple[ValueChange, ...]

    @property
    def breaks(self) -> bool:
        """Whether a caller of `before` can stop working with `after`."""
        return any(change.breaks is not Breaks.NOBODY for change in self.signature)


def compare(home: Home, before: Reference, after: Reference) -> Comparison:
    """What changed from one version to the other; `NotFound` or `CorruptBundle` when one cannot be read."""
    old, new = home.catalogue.resolve(before), home.catalogue.resolve(after)
    one, two = home.artifacts.read(old.digest), home.artifacts.read(new.digest)
    return Comparison(
        before=old,
        after=new,
        signature=tuple(signature_changes(one.manifest.signature, two.manifest.signature)),
        metrics=_metrics(old, new),
        parameters=_values(one.manifest.lineage.parameters, two.manifest.lineage.parameters),
        facts=_values(_facts(old, one), _facts(new, two)),
    )


def _metrics(old: Version, new: Version) -> tuple[MetricChange, ...]:
    before, after = ({metric.name: metric for metric in version.metrics} for version in (old, new))
    changes: list[MetricChange] = []
    for name in dict.fromkeys([*before, *after]):
        one, two = before.get(name), after.get(name)
        better = None
        if one and two and one.value != two.value and one.higher_is_better == two.higher_is_better:
            better = (two.value > one.value) == two.higher_is_better
        changes.append(MetricChange(name, one.value if one else None, two.value if two else None, better))
    return tuple(changes)


def _facts(version: Version, bundle: Bundle) -> dict[str, Any]:
    source, lineage = bundle.manifest.source, bundle.manifest.lineage
    return {
        "digest": version.digest,
        "task": version.task,
        "size_bytes": version.size_bytes,
        "source": source.format,
        "estimator": source.estimator or None,
        "data": lineage.data_sha256 or None,
        "rows": lineage.data_rows or None,
        "seed": lineage.seed,
        **{f"library {name}": number for name, number in sorted(source.libraries.items())},
    }


def _values(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    names = dict.fromkeys([*before, *after])
    return tuple(
        ValueChange(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )
