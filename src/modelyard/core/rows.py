"""Rows as people write them (objects, columns, text cells) to the arrays a model takes, and its answers back.

One place decides what a value may be, so JSON, CSV, the command line and Python give the same answer and the same
refusal. `serve` has a faster way for well-formed JSON and comes here for the words when something does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.core.errors import MissingField, NoRows, NotANumber, UnknownField, WrongShape, WrongType
from modelyard.core.nested import from_nested
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, narrowed

#: Cell texts that mean "no value", as `pandas.read_csv` reads them.
MISSING_TEXT = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
    | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
#: What each kind of feature takes, in words.
EXPECTED = {
    FeatureKind.NUMBER: "a number",
    FeatureKind.INTEGER: "a whole number",
    FeatureKind.BOOLEAN: "true or false",
    FeatureKind.CATEGORY: "text",
    FeatureKind.TEXT: "text",
}
_LONGEST = 10**40  # integers beyond are not repeated; those of thousands of digits cannot even be written
_TRUE = frozenset({"true", "1", "1.0", "yes"})
_FALSE = frozenset({"false", "0", "0.0", "no"})


def from_objects(signature: Signature, rows: Sequence[Mapping[str, Any]]) -> tuple[Array, ...]:
    """Arrays for row objects.

    Parameters
    ----------
    signature : Signature
        Of the model.
    rows : sequence of mapping
        Field name to value: numbers, strings, booleans, None where nullable; nested lists for an opaque tensor.
        A nullable field may be left out.

    Returns
    -------
    tuple of array
        One per input tensor, checked (`Signature.arrange`).

    Raises
    ------
    WrongType, MissingField, UnknownField, NotANumber, UnknownCategory, WrongShape, NoRows
        The first thing that does not fit, with its row.
    """
    known = set(signature.field_names)
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise WrongType(field="row", expected="an object", got=_describe(row), where=at_row(at, len(rows)))
        check_fields(signature, row, known, at_row(at, len(rows)))
    columns = {name: [row.get(name) for row in rows] for name in signature.field_names}
    return assemble(signature, columns, len(rows))


def from_columns(signature: Signature, columns: Mapping[str, Any]) -> tuple[Array, ...]:
    """Arrays for columns: field name to a sequence of values, all of one length; else as `from_objects`."""
    check_fields(signature, columns, set(signature.field_names), "")
    lengths: dict[str, int] = {}
    for name, values in columns.items():
        if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
            raise WrongType(field=name, expected="a list of values", got=_describe(values), where="")
        try:
            lengths[name] = len(values)
        except TypeError as exc:  # an array without axes has a length only by name
            raise WrongType(field=name, expected="a list of values", got=_describe(values), where="") from exc
    if len(set(lengths.values())) > 1:
        first = next(iter(lengths))
        other = next(name for name in lengths if lengths[name] != lengths[first])
        raise WrongShape(field=other, problem=f"{lengths[other]} rows, while {first!r} has {lengths[first]}")
    rows = next(iter(lengths.values()), 0)
    filled = {
        name: (values.tolist() if hasattr(values := columns[name], "tolist") else list(values))
        if name in columns
        else [None] * rows
        for name in signature.field_names
    }
    return assemble(signature, filled, rows)


def parse_text(signature: Signature, cells: Mapping[str, str]) -> dict[str, Any]:
    """A row object from text cells (CSV, ``-i name=value``); cells that are no input of the model are left in place.

    Raises
    ------
    WrongType
        A cell is not what its feature needs, e.g. ``abc`` for a number.
    """
    features = {feature.name: feature for feature in signature.features}
    return {name: parse_cell(features[name], text) if name in features else text for name, text in cells.items()}


def from_arrays(array: Array) -> list[Any]:
    """One answer per row from an output array: ``[n]`` and ``[n, 1]`` become n values, wider ones n lists."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.ravel()
    values: list[Any] = array.tolist()
    return values


def to_objects(signature: Signature, arrays: Sequence[Array]) -> list[dict[str, Any]]:
    """Row objects from arranged arrays, missing values as None: the reverse of `from_objects`."""
    columns: dict[str, list[Any]] = {}
    for spec, array in zip(signature.inputs, arrays, strict=True):
        if not spec.features:
            columns[spec.name] = array.tolist()
            continue
        table = array.reshape(array.shape[0], -1)
        for at, feature in enumerate(spec.features):
            columns[feature.name] = [_plain(feature, value) for value in table[:, at].tolist()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(feature: Feature, value: Any) -> Any:
    if value is None or value != value or (value == "" and feature.nullable):  # NaN
        return None
    return bool(value) if feature.kind is FeatureKind.BOOLEAN else value


def check_fields(signature: Signature, row: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Refuse names that are no field, then fields that are missing and may not be; `known` is the fields' names."""
    for name in row:
        if name not in known:
            raise UnknownField(field=str(name)[:80], known=signature.field_names)
    if len(row) < len(known):
        nullable = {feature.name for feature in signature.features if feature.nullable}
        missing = [name for name in signature.field_names if name not in row and name not in nullable]
        if missing:
            raise MissingField(fields=missing, where=where)


def assemble(signature: Signature, columns: Mapping[str, list[Any]], rows: int) -> tuple[Array, ...]:
    """The arrays of columns that hold a value, or None, for each row."""
    if rows == 0:
        raise NoRows()
    return signature.arrange({spec.name: _tensor(spec, columns, rows) for spec in signature.inputs})


def _tensor(spec: TensorSpec, columns: Mapping[str, list[Any]], rows: int) -> Array:
    if not spec.features:
        return from_nested(spec, columns[spec.name])
    arrays = [_column(feature, columns[feature.name], spec.datatype) for feature in spec.features]
    if len(arrays) == 1:
        return arrays[0].reshape(rows, *(1 for _ in spec.shape[1:]))
    return np.stack(arrays, axis=1)


def _column(feature: Feature, values: list[Any], datatype: Datatype) -> Array:
    checked = _CHECKS[feature.kind](feature, values)
    if datatype is Datatype.BYTES:
        array = np.empty(len(checked), dtype=object)
        array[:] = checked
        return array
    try:
        array = np.array(checked, dtype=np.float64 if datatype.is_float else datatype.dtype)
        return narrowed(array, datatype)  # a number too large for the type turns infinite, which `check` refuses
    except OverflowError as exc:
        raise WrongType(
            field=feature.name, expected=f"in the range of {datatype}", got="a larger number", where=""
        ) from exc


def _numbers(feature: Feature, values: list[Any]) -> list[Any]:
    kinds = set(map(type, values))
    if kinds <= {float, int}:
        return values
    return [_number(feature, value, at_row(at, len(values))) for at, value in enumerate(values)]


def _number(feature: Feature, value: Any, where: str) -> float:
    if value is None:
        _allow_missing(feature, where)
        return float("nan")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise WrongType(field=feature.name, expected=EXPECTED[feature.kind], got=_describe(value), where=where)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # which `check` refuses


def _integers(feature: Feature, values: list[Any]) -> list[Any]:
    if set(map(type, values)) == {int}:
        return values
    return [_integer(feature, value, at_row(at, len(values))) for at, value in enumerate(values)]


def _integer(feature: Feature, value: Any, where: str) -> int | float:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    number = _number(feature, value, where)
    if number.is_integer():
        return int(number)
    if number != number:  # NaN, or nothing
        _allow_missing(feature, where)
        return number
    raise WrongType(field=feature.name, expected="a whole number", got=_describe(value), where=where)


def _booleans(feature: Feature, values: list[Any]) -> list[Any]:
    return [_boolean(feature, value, at_row(at, len(values))) for at, value in enumerate(values)]


def _boolean(feature: Feature, value: Any, where: str) -> float | bool:
    if value is None:
        _allow_missing(feature, where)
        return float("nan")
    if not isinstance(value, (bool, np.bool_)):
        raise WrongType(field=feature.name, expected="true or false", got=_describe(value), where=where)
    return bool(value)


def _texts(feature: Feature, values: list[Any]) -> list[Any]:
    if set(map(type, values)) == {str}:
        return values
    return [_text(feature, value, at_row(at, len(values))) for at, value in enumerate(values)]


def _text(feature: Feature, value: Any, where: str) -> str:
    if value is None or (isinstance(value, float) and value != value):  # NaN
        _allow_missing(feature, where)
        return ""
    if not isinstance(value, str):
        raise WrongType(field=feature.name, expected="text", got=_describe(value), where=where)
    return value


_CHECKS: dict[FeatureKind, Callable[[Feature, list[Any]], list[Any]]] = {
    FeatureKind.NUMBER: _numbers,
    FeatureKind.INTEGER: _integers,
    FeatureKind.BOOLEAN: _booleans,
    FeatureKind.CATEGORY: _texts,
    FeatureKind.TEXT: _texts,
}


def _allow_missing(feature: Feature, where: str) -> None:
    if not feature.nullable:
        raise NotANumber(field=feature.name, where=where)


def parse_cell(feature: Feature, text: str, where: str = "") -> Any:
    """The value in one text cell, None where it is missing; `where` goes into the error."""
    stripped = text.strip()
    if is_missing(text) and text not in feature.categories:
        return "" if stripped == "" and feature.kind is FeatureKind.TEXT and not feature.nullable else None
    if feature.kind in {FeatureKind.CATEGORY, FeatureKind.TEXT}:
        return text
    parsed = parse_boolean(stripped) if feature.kind is FeatureKind.BOOLEAN else parse_number(stripped)
    if parsed is None:
        raise WrongType(field=feature.name, expected=EXPECTED[feature.kind], got=_describe(text), where=where)
    return parsed


def is_missing(text: str) -> bool:
    """Whether a cell text means "no value": empty, ``NA``, ``nan`` and their like, with or without spaces around."""
    return text.strip() in MISSING_TEXT


def parse_boolean(text: str) -> bool | None:
    """The truth value written in a stripped cell (true/false, yes/no, 1/0), or None."""
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None


def parse_number(text: str) -> int | float | None:
    """The number written in a stripped cell, or None; infinity is a number here and is refused later."""
    if "_" in text:  # Python reads 1_000 as a number; nobody else does
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _describe(value: Any) -> str:
    if value is None or isinstance(value, bytes):
        return "nothing" if value is None else "bytes"
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"text {value[:40]!r}"
    if isinstance(value, int) and abs(value) > _LONGEST:
        return "a huge number"
    if isinstance(value, (int, float)):
        return f"the number {value!r}"[:60]
    return "a list" if isinstance(value, (list, tuple)) else "an object"


def at_row(row: int, rows: int) -> str:
    """How an error says which row it means; nothing where there is only one."""
    return f" (row {row})" if rows > 1 else ""
