"""The signature: what a model takes and gives. It is the contract behind every protocol, form, document and client.

A model takes *tensors*; a person speaks of *features*. A tensor that is a table column has one feature; a tensor that
packs several numeric columns side by side (shape ``[-1, n]``) has n; an image has none and is opaque. The first axis is
always the rows.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from math import isfinite

import msgspec
import numpy as np

from modelyard.core.errors import (
    InvalidModel,
    MissingField,
    NoRows,
    NotANumber,
    UnknownCategory,
    UnknownField,
    WrongShape,
    WrongType,
)
from modelyard.core.tensor import Array, Datatype, narrowed

_FEW = 64
ANY = -1  # a variable axis, as the protocol writes it
_BF16 = Datatype.BF16


class FeatureKind(StrEnum):
    """What a feature means to a person; decides validation, form widgets and drift histograms."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    TEXT = "text"


class Feature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One named column of the input.

    Parameters
    ----------
    name : str
        As in the training data.
    kind : FeatureKind
        Number, integer, boolean, category or text.
    nullable : bool
        Whether a missing value (null, NaN, empty cell) is accepted; the model knows what to do with it.
    minimum, maximum : float or None
        Range seen in training, in the feature's own unit. Outside it is a warning for people, never an error.
    categories : tuple of str
        Known categories; empty when unknown or not a category.
    accepts_unknown : bool
        Whether categories that are not listed are accepted (the model treats them as "other").
    unit, description : str
        For people.
    """

    name: str
    kind: FeatureKind = FeatureKind.NUMBER
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    accepts_unknown: bool = False
    unit: str = ""
    description: str = ""


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, dict=True):
    """One tensor of the model, in or out.

    Parameters
    ----------
    name : str
        As clients of the Open Inference Protocol name it.
    datatype : Datatype
        Element type.
    shape : tuple of int
        Axes; ``-1`` where variable. The first axis is the rows and always variable.
    features : tuple of Feature
        Inputs only. Column names along the last axis: one for shape ``[-1]`` or ``[-1, 1]``, n for ``[-1, n]``, none
        for an opaque tensor.
    labels : tuple of str or int or bool
        Outputs only. Class names along the last axis, for probabilities and scores.
    graph_name : str
        Name inside model.onnx where it differs from `name`.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    features: tuple[Feature, ...] = ()
    labels: tuple[str | int, ...] = ()
    graph_name: str = ""

    def __post_init__(self) -> None:
        if not self.shape or self.shape[0] != ANY:
            raise InvalidModel(what=f"tensor {self.name!r} must have rows as its first, variable axis")
        if self.features and len(self.features) != self.width:
            raise InvalidModel(what=f"tensor {self.name!r} has {self.width} columns and {len(self.features)} features")
        if self.labels and self.shape[-1] not in (ANY, len(self.labels)):
            raise InvalidModel(what=f"tensor {self.name!r} has {self.shape[-1]} columns and {len(self.labels)} labels")
        for feature in self.features:
            self._check_feature(feature)

    def _check_feature(self, feature: Feature) -> None:
        if feature.kind not in _kinds(self.datatype):
            raise InvalidModel(what=f"feature {feature.name!r} is {feature.kind}, its tensor {self.datatype}")
        if feature.nullable and not (self.datatype.is_float or self.datatype is Datatype.BYTES):
            raise InvalidModel(
                what=f"feature {feature.name!r} may be missing, and {self.datatype} has no missing value"
            )

    @cached_property
    def width(self) -> int:
        """Number of columns of a table-like tensor: 1 for ``[-1]``, n for ``[-1, n]``; 0 for an opaque tensor."""
        if len(self.shape) == 1:
            return 1
        return self.shape[1] if len(self.shape) == 2 and self.shape[1] > 0 else 0

    @cached_property
    def nullable(self) -> bool:
        """Whether every element may be NaN: an opaque float tensor, or one whose features are all nullable."""
        return not self.features or all(feature.nullable for feature in self.features)

    def check(self, array: Array) -> Array:
        """The array, shaped for the model, when it fits this tensor.

        Parameters
        ----------
        array : array
            Of this datatype. ``[n]`` is accepted for ``[-1, 1]`` and the reverse, as every v2 client sends either.

        Returns
        -------
        array of the model's rank

        Raises
        ------
        WrongShape
            Another rank, or a fixed axis of another length.
        NotANumber
            NaN or infinity in a feature that is not nullable (infinity never is).
        WrongType
            A fraction in a feature that is an integer, or anything but 0 and 1 in one that is a boolean.
        UnknownCategory
            A category that is not listed, for a feature that does not accept unknown ones.
        """
        array = self._fit(array)
        if self.features:
            self._check_values(array)
        return array

    def _fit(self, array: Array) -> Array:
        shape = array.shape
        if shape and shape[1:] == self.shape[1:]:
            return array
        if self.width == 1 and len(shape) in {1, 2} and (len(shape) == 1 or shape[1] == 1):
            return array if len(shape) == len(self.shape) else array.reshape((-1,) + (1,) * (len(self.shape) - 1))
        if len(shape) != len(self.shape) or any(
            want not in (ANY, got) for want, got in zip(self.shape, shape, strict=True)
        ):
            raise WrongShape(field=self.name, problem=f"shape {list(shape)} does not match {list(self.shape)}")
        return array

    def _check_values(self, array: Array) -> None:
        if self.datatype.is_float:
            if self.datatype is _BF16:  # a float32 may be too large for it
                array = narrowed(array, _BF16)
            # A few numbers are added up faster than numpy is called twice; a sum too large is no harm.
            finite = array.size <= _FEW and isfinite(sum(array.ravel().tolist()))
            if not finite and not np.isfinite(array).all():
                self._refuse_non_finite(array)
            if self._whole:
                self._refuse_fractions(array)
        elif self.datatype is Datatype.BYTES:
            table = array.reshape(-1, len(self.features))
            for column, known in self._closed:
                self._check_categories(table[:, column].tolist(), column, known)

    def _check_categories(self, items: list[str], column: int, known: frozenset[str]) -> None:
        feature = self.features[column]
        for row, item in enumerate(items):
            if item not in known:
                if item == "" and not feature.nullable:
                    raise NotANumber(field=feature.name, where=_where(row, len(items)))
                raise UnknownCategory(
                    field=feature.name, got=str(item), known=feature.categories, where=_where(row, len(items))
                )

    @cached_property
    def _closed(self) -> tuple[tuple[int, frozenset[str]], ...]:
        """Columns in which only these strings may be sent; none for a column that takes any."""
        return tuple(
            (column, frozenset((*feature.categories, "") if feature.nullable else feature.categories))
            for column, feature in enumerate(self.features)
            if feature.categories and not feature.accepts_unknown
        )

    @cached_property
    def _whole(self) -> tuple[tuple[int, FeatureKind], ...]:
        """Columns of floats in which only whole numbers, or only 0 and 1, mean anything."""
        kinds = (FeatureKind.INTEGER, FeatureKind.BOOLEAN)
        return tuple((column, feature.kind) for column, feature in enumerate(self.features) if feature.kind in kinds)

    def _refuse_fractions(self, array: Array) -> None:
        table = array.reshape(-1, len(self.features))
        for column, kind in self._whole:
            values = table[:, column]
            right = values == np.floor(values) if kind is FeatureKind.INTEGER else (values == 0) | (values == 1)
            whole = right | np.isnan(values)
            if not whole.all():
                row = int(whole.argmin())
                raise WrongType(
                    field=self.features[column].name,
                    expected="a whole number" if kind is FeatureKind.INTEGER else "true or false",
                    got=f"the number {float(values[row])!r}",
                    where=_where(row, len(values)),
                )

    def _refuse_non_finite(self, array: Array) -> None:
        table = array.reshape(-1, len(self.features))
        for column, feature in enumerate(self.features):
            bad = np.isinf(table[:, column]) if feature.nullable else ~np.isfinite(table[:, column])
            if bad.any():
                raise NotANumber(field=feature.name, where=_where(int(bad.argmax()), array.shape[0]))


def _kinds(datatype: Datatype) -> set[FeatureKind]:
    """What columns of this type can mean; a fraction in a tensor of integers would be cut off without a word."""
    if datatype is Datatype.BYTES:
        return {FeatureKind.CATEGORY, FeatureKind.TEXT}
    if datatype is Datatype.BOOL:
        return {FeatureKind.BOOLEAN}
    whole = {FeatureKind.INTEGER, FeatureKind.BOOLEAN}
    return whole | {FeatureKind.NUMBER} if datatype.is_float else whole


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, dict=True):
    """What a model takes and gives.

    Parameters
    ----------
    inputs, outputs : tuple of TensorSpec
        In the order of the graph; at least one each.
    prediction : str
        Name of the output that is the friendly answer (a label, a number); empty when all outputs are the answer.
    probabilities : str
        Name of the output that holds class probabilities or scores, with `labels`; empty when there is none.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    prediction: str = ""
    probabilities: str = ""

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise InvalidModel(what="a model needs at least one input and one output")
        outputs = [spec.name for spec in self.outputs]
        tensors = [spec.name for spec in self.inputs]
        for what, names in (("inputs", self.field_names), ("input tensors", tensors), ("outputs", outputs)):
            if len(set(names)) != len(names):
                raise InvalidModel(what=f"two {what} have the same name")
        for what, name in (("prediction", self.prediction), ("probabilities", self.probabilities)):
            if name and name not in outputs:
                raise InvalidModel(what=f"the {what} {name!r} is none of the outputs {', '.join(outputs)}")
        if self.probabilities and not self.outputs[outputs.index(self.probabilities)].labels:
            raise InvalidModel(what=f"the probabilities {self.probabilities!r} name no labels")

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """All features in the order of the tensors and their columns."""
        return tuple(feature for spec in self.inputs for feature in spec.features)

    @cached_property
    def field_names(self) -> tuple[str, ...]:
        """Names of the fields of one row object: every feature, and every opaque tensor by its own name."""
        return tuple(
            name for spec in self.inputs for name in ([feature.name for feature in spec.features] or [spec.name])
        )

    def input(self, name: str) -> TensorSpec:
        """The input tensor of this name, else `UnknownField`."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise UnknownField(field=name, known=[spec.name for spec in self.inputs])

    def output_index(self, name: str) -> int:
        """Position of the output tensor of this name, else `UnknownField`."""
        for index, spec in enumerate(self.outputs):
            if spec.name == name:
                return index
        raise UnknownField(
            field=name, known=[spec.name for spec in self.outputs], hint="ask for one of the model's outputs"
        )

    def arrange(self, arrays: dict[str, Array]) -> tuple[Array, ...]:
        """The arrays in the model's order, each checked, all with the same number of rows.

        Parameters
        ----------
        arrays : dict of str to array
            By tensor name; each of its tensor's datatype.

        Returns
        -------
        tuple of array
            In the order of `inputs`.

        Raises
        ------
        MissingField, UnknownField, NoRows, WrongShape, NotANumber, UnknownCategory
        """
        if len(arrays) == len(self.inputs) == 1:
            spec = self.inputs[0]
            if spec.name in arrays and len(array := spec.check(arrays[spec.name])):
                return (array,)
        ordered = tuple(spec.check(arrays[spec.name]) for spec in self.inputs if spec.name in arrays)
        if len(ordered) < len(self.inputs):
            raise MissingField(fields=[spec.name for spec in self.inputs if spec.name not in arrays], where="")
        if len(arrays) > len(ordered):
            for name in arrays:
                self.input(name)
        rows = ordered[0].shape[0]
        if rows == 0:
            raise NoRows()
        for spec, array in zip(self.inputs, ordered, strict=True):
            if array.shape[0] != rows:
                raise WrongShape(
                    field=spec.name, problem=f"{array.shape[0]} rows, while {self.inputs[0].name!r} has {rows}"
                )
        return ordered


def _where(row: int, rows: int) -> str:
    return f" (row {row})" if rows > 1 else ""
