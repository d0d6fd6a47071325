"""What a foreign folder declares of a model, checked against what conversion found and then taken over.

Names, kinds, class labels and nullability go into the signature; a contradiction is a refusal, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from modelyard.core.errors import InvalidModel
from modelyard.core.signature import ANY, Feature, FeatureKind, Signature, TensorSpec
from modelyard.model.converted import Converted

_WHOLE = frozenset({FeatureKind.INTEGER, FeatureKind.BOOLEAN})
_WORDS = frozenset({FeatureKind.CATEGORY, FeatureKind.TEXT})


@dataclass(frozen=True)
class Column:
    """One column of the input as the folder declares it.

    Parameters
    ----------
    name : str
        Its name.
    kind : FeatureKind
        Number, integer, boolean or text.
    required : bool
        Whether training saw it in every row.
    """

    name: str
    kind: FeatureKind = FeatureKind.NUMBER
    required: bool = True


@dataclass(frozen=True)
class Port:
    """One tensor as the folder declares it.

    Parameters
    ----------
    name : str
        Its name; empty where the folder gives none, for the only one.
    datatype : str
        By the Open Inference Protocol's names; empty where the folder gives none.
    shape : tuple of int or None
        Axes with the rows first, ``-1`` where variable; None where the folder gives none.
    labels : tuple of str
        Outputs only: class names along the last axis.
    """

    name: str
    datatype: str = ""
    shape: tuple[int, ...] | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """All that a folder declares of one model.

    Parameters
    ----------
    columns : tuple of Column
        Of the input, in the model's order; empty when unknown.
    inputs, outputs : tuple of Port
        Tensors; each must be there, and be like that.
    input_name : str
        The name that clients use for the only input tensor; empty to leave it.
    output_names : mapping of str to str
        Our name of an output to the name that clients use.
    answer : str
        Our name of the output that is the answer; empty to leave it.
    """

    columns: tuple[Column, ...] = ()
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    input_name: str = ""
    output_names: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""


def take_over(converted: Converted, declared: Declared, *, ranged: bool = True) -> Converted:
    """The conversion with what the folder declares in its signature and golden rows.

    Parameters
    ----------
    converted : Converted
        From `convert.from_file`.
    declared : Declared
        From the folder's settings.
    ranged : bool
        Whether the ranges that conversion saw are those of real data; False for a handful of example rows.

    Raises
    ------
    InvalidModel
        The model is not what the folder says it is.
    """
    signature = converted.signature
    _check("input", signature.inputs, declared.inputs)
    _check("output", signature.outputs, declared.outputs)
    features = _features(signature, declared.columns)
    if not ranged:
        features = [msgspec.structs.replace(each, minimum=None, maximum=None) for each in features]
    rows = [row for row in (_row(signature.features, features, given) for given in converted.rows) if row is not None]
    return replace(converted, signature=_rebuilt(signature, features, declared), rows=rows)


def _check(what: str, specs: Sequence[TensorSpec], ports: Sequence[Port]) -> None:
    known = {spec.name: spec for spec in specs}
    for port in ports:
        spec = known.get(port.name) if port.name else specs[0] if len(specs) == 1 else None
        if spec is None:
            named = f"the {what} {port.name!r}" if port.name else f"a single {what}"
            raise InvalidModel(what=f"its settings declare {named}; the model has: {', '.join(known)}")
        if port.datatype and port.datatype != str(spec.datatype):
            raise InvalidModel(
                what=f"its settings declare the {what} {spec.name!r} as {port.datatype}; the model has {spec.datatype}"
            )
        if port.shape is not None and not _fits(port.shape, spec.shape):
            raise InvalidModel(
                what=f"its settings declare the {what} {spec.name!r} with the shape {list(port.shape)}; "
                f"the model has {list(spec.shape)}"
            )


def _fits(declared: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether what is declared is the model's shape or a narrower one; ``[-1]`` and ``[-1, 1]`` are the same."""
    if {declared[1:], shape[1:]} <= {(), (1,)}:
        return True
    return len(declared) == len(shape) and all(
        have in (ANY, want) for want, have in zip(declared[1:], shape[1:], strict=True)
    )


def _features(signature: Signature, columns: Sequence[Column]) -> list[Feature]:
    features = list(signature.features)
    if not columns or not features:
        return features
    names, wanted = [feature.name for feature in features], [column.name for column in columns]
    if sorted(names) == sorted(wanted):
        by_name = {column.name: column for column in columns}
        return [_as(feature, by_name[feature.name]) for feature in features]
    if len(names) != len(wanted) or not _nameless(signature):
        raise InvalidModel(
            what=f"its settings declare the columns {_listed(wanted)}; the model takes {_listed(names)}",
            cause="a model that remembers the columns it was trained on takes no others",
        )
    return [_as(msgspec.structs.replace(f, name=c.name), c) for f, c in zip(features, columns, strict=True)]


def _nameless(signature: Signature) -> bool:
    """Whether the features' names are ours, not the model's: one packed tensor, ``f0, f1, ...`` or its own name."""
    names = [feature.name for feature in signature.features]
    return len(signature.inputs) == 1 and (
        names == [f"f{at}" for at in range(len(names))] or names in (["text"], [signature.inputs[0].name])
    )


def _as(feature: Feature, column: Column) -> Feature:
    if (feature.kind in _WORDS) != (column.kind in _WORDS):
        raise InvalidModel(
            what=f"its settings declare the column {column.name!r} as {column.kind}; the model takes {feature.kind}"
        )
    if column.kind not in _WHOLE:
        return feature
    # A column of whole numbers cannot hold a gap where it was made, so a null in it is news unless training saw some.
    kind = feature.kind if feature.kind is FeatureKind.BOOLEAN else column.kind
    return msgspec.structs.replace(feature, kind=kind, nullable=feature.nullable and not column.required)


def _row(before: Sequence[Feature], after: Sequence[Feature], given: dict[str, Any]) -> dict[str, Any] | None:
    """A golden row in the new names and kinds; None where it has a gap that is no longer allowed."""
    row = dict(given)
    for old, new in zip(before, after, strict=True):
        value = row.pop(old.name, None)
        if value is None and not new.nullable:
            return None
        whole = new.kind in _WHOLE and new.kind is not old.kind and value is not None
        row[new.name] = _WHOLE_OF[new.kind](value) if whole else value
    return row


_WHOLE_OF: dict[FeatureKind, Callable[[Any], Any]] = {
    FeatureKind.INTEGER: lambda value: round(float(value)),
    FeatureKind.BOOLEAN: lambda value: float(value) > 0.5,
}


def _rebuilt(signature: Signature, features: Sequence[Feature], declared: Declared) -> Signature:
    rest = list(features)
    inputs = []
    for spec in signature.inputs:
        mine, rest = tuple(rest[: len(spec.features)]), rest[len(spec.features) :]
        inputs.append(msgspec.structs.replace(spec, features=mine))
    if declared.input_name and len(inputs) == 1:
        inputs = [_renamed(inputs[0], declared.input_name)]
    labels = {port.name or signature.outputs[0].name: port.labels for port in declared.outputs if port.labels}
    outputs = []
    for spec in signature.outputs:
        if spec.name in labels:
            spec = msgspec.structs.replace(spec, labels=labels[spec.name])
        outputs.append(_renamed(spec, declared.output_names.get(spec.name, "")))
    here = {spec.name for spec in signature.outputs}
    prediction = declared.answer if declared.answer in here else signature.prediction
    probabilities = signature.probabilities or (next(iter(labels)) if len(labels) == 1 else "")
    names = declared.output_names
    return Signature(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        prediction=names.get(prediction, prediction),
        probabilities=names.get(probabilities, probabilities),
    )


def _renamed(spec: TensorSpec, name: str) -> TensorSpec:
    if not name or name == spec.name:
        return spec
    return msgspec.structs.replace(spec, name=name, graph_name=spec.graph_name or spec.name)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", … ({len(names)} in all)" if len(names) > 8 else "")
