"""What changed between two signatures, and who breaks by it: the question before any version replaces another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec

from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec


class Breaks(StrEnum):
    """Which callers, that worked with the old signature, can stop working with the new one."""

    NOBODY = "nobody"
    TENSORS = "tensors"  # those who send or read tensors: the Open Inference Protocol
    EVERYONE = "everyone"  # those who send rows too


class Change(msgspec.Struct, frozen=True):
    """One difference, in words, and whom it breaks."""

    what: str
    breaks: Breaks


_Named = TypeVar("_Named", Feature, TensorSpec)
_WIDER = {(FeatureKind.INTEGER, FeatureKind.NUMBER), (FeatureKind.CATEGORY, FeatureKind.TEXT)}


def signature_changes(old: Signature, new: Signature) -> list[Change]:
    """Every difference that a caller could notice, inputs first.

    Parameters
    ----------
    old, new : Signature
        The one that callers know, and the one that would take its place.

    Returns
    -------
    list of Change
        Empty when nothing changed. A row breaks when a field disappears, becomes required or accepts less; tensors
        break also when a name, datatype, shape or the order of columns changes.
    """
    changes = [*_features(old, new), *_inputs(old.inputs, new.inputs), *_outputs(old.outputs, new.outputs)]
    for role, was, now in (
        ("the prediction", old.prediction, new.prediction),
        ("the probabilities", old.probabilities, new.probabilities),
    ):
        if was != now:
            text = f"{role}: output {was or 'none'!r} became {now or 'none'!r}"
            changes.append(Change(text, Breaks.EVERYONE if was else Breaks.NOBODY))
    return changes


def _features(old: Signature, new: Signature) -> Iterator[Change]:
    before, after = _by_name(old.features), _by_name(new.features)
    for name in _only(before, after):
        yield Change(f"input {name!r} is gone", Breaks.EVERYONE)
    for name in _only(after, before):
        breaks = Breaks.NOBODY if after[name].nullable else Breaks.EVERYONE
        yield Change(f"input {name!r} ({after[name].kind}) is new", breaks)
    for name in _both(before, after):
        yield from _feature(before[name], after[name])


def _feature(old: Feature, new: Feature) -> Iterator[Change]:
    label = f"input {old.name!r}"
    if old.kind != new.kind:
        breaks = Breaks.NOBODY if (old.kind, new.kind) in _WIDER else Breaks.EVERYONE
        yield Change(f"{label}: {old.kind} became {new.kind}", breaks)
    if old.nullable != new.nullable:
        breaks = Breaks.EVERYONE if old.nullable else Breaks.NOBODY
        yield Change(f"{label}: may {'no longer' if old.nullable else 'now'} be missing", breaks)
    if new.kind is FeatureKind.CATEGORY:
        yield from _categories(label, old, new)
    if (old.minimum, old.maximum) != (new.minimum, new.maximum):
        yield Change(f"{label}: range in training {_range(old)} became {_range(new)}", Breaks.NOBODY)


def _categories(label: str, old: Feature, new: Feature) -> Iterator[Change]:
    gone = [item for item in old.categories if item not in new.categories]
    added = [item for item in new.categories if item not in old.categories]
    closed = not _open(new)
    if _open(old) and closed:
        yield Change(f"{label}: categories that are not listed are now refused", Breaks.EVERYONE)
    if gone:
        breaks = Breaks.EVERYONE if closed else Breaks.NOBODY
        yield Change(f"{label}: no longer knows {_some(gone)}", breaks)
    if added:
        yield Change(f"{label}: now knows {_some(added)}", Breaks.NOBODY)


def _inputs(old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[Change]:
    before, after = _by_name(old), _by_name(new)
    for name in _only(before, after):
        yield Change(f"input tensor {name!r} is gone", Breaks.TENSORS if before[name].features else Breaks.EVERYONE)
    for name in _only(after, before):
        yield Change(f"input tensor {name!r} is new", Breaks.TENSORS if after[name].features else Breaks.EVERYONE)
    for name in _both(before, after):
        one, two = before[name], after[name]
        yield from _form("input", one, two, Breaks.TENSORS if one.features and two.features else Breaks.EVERYONE)
        columns, wanted = [item.name for item in one.features], [item.name for item in two.features]
        if columns != wanted and sorted(columns) == sorted(wanted):
            yield Change(f"input tensor {name!r}: its columns changed order", Breaks.TENSORS)


def _outputs(old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[Change]:
    before, after = _by_name(old), _by_name(new)
    for name in _only(before, after):
        yield Change(f"output {name!r} is gone", Breaks.EVERYONE)
    for name in _only(after, before):
        yield Change(f"output {name!r} is new", Breaks.NOBODY)
    for name in _both(before, after):
        one, two = before[name], after[name]
        yield from _form("output", one, two, Breaks.EVERYONE)
        if one.labels != two.labels:
            text = f"output {name!r}: labels {_some(one.labels)} became {_some(two.labels)}"
            yield Change(text, Breaks.EVERYONE)


def _form(what: str, old: TensorSpec, new: TensorSpec, breaks: Breaks) -> Iterator[Change]:
    if old.datatype is not new.datatype:
        yield Change(f"{what} tensor {old.name!r}: {old.datatype} became {new.datatype}", breaks)
    if old.shape != new.shape:
        yield Change(f"{what} tensor {old.name!r}: shape {list(old.shape)} became {list(new.shape)}", breaks)


def _by_name(items: Sequence[_Named]) -> dict[str, _Named]:
    return {item.name: item for item in items}


def _only(here: Mapping[str, _Named], there: Mapping[str, _Named]) -> list[str]:
    return [name for name in here if name not in there]


def _both(here: Mapping[str, _Named], there: Mapping[str, _Named]) -> list[str]:
    return [name for name in here if name in there]


def _open(feature: Feature) -> bool:
    return feature.accepts_unknown or not feature.categories or feature.kind is FeatureKind.TEXT


def _range(feature: Feature) -> str:
    low, high = ("?" if end is None else f"{end:g}" for end in (feature.minimum, feature.maximum))
    return f"{low}…{high}"


def _some(items: Sequence[object]) -> str:
    shown = ", ".join(str(item) for item in items[:8]) or "none"
    return f"{shown}, … ({len(items)} in all)" if len(items) > 8 else shown
