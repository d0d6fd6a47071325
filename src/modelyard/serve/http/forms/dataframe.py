"""MLflow's scoring requests in JSON: a data frame as split or as records, or TensorFlow Serving's rows or columns.

A body names exactly one of them, with ``params`` beside it. Models here have no parameters, so these are not looked at,
as MLflow does for a model whose signature names none. Unlike there, extra columns are refused instead of dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest, ModelyardError, NoRows, WrongShape, WrongType
from modelyard.core.rows import from_columns, from_objects
from modelyard.core.signature import FeatureKind, Signature
from modelyard.core.tensor import Array, Arrays, Datatype, narrowed
from modelyard.core.vectors import from_vectors
from modelyard.serve.http.forms import numeric
from modelyard.serve.http.forms.document import expect_object, kind, members, parse
from modelyard.serve.http.forms.instances import InstanceForm
from modelyard.serve.http.forms.rows import RowForm, dump_array, row_type

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")

_MEMBERS = (*FORMATS, "params")
_SPLIT = ("columns", "index", "data")


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str]
    data: msgspec.Raw
    index: list[Any] | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: _Split | None = None
    dataframe_records: msgspec.Raw = msgspec.Raw(b"")
    instances: msgspec.Raw = msgspec.Raw(b"")
    inputs: msgspec.Raw = msgspec.Raw(b"")


_BODY = msgspec.json.Decoder(_Body)
_DATA = msgspec.json.Decoder(list[list[Any]])
_MISFITS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ModelyardError)


class DataframeForm:
    """The four formats for one signature; made once, when a version is loaded."""

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._instances = InstanceForm(signature, name, version)
        self._row_form = RowForm(signature, name, version)
        names = [spec.name for spec in signature.outputs]
        main = signature.prediction or (names[0] if len(names) == 1 else "")
        self._at = names.index(main) if main else None  # None: every output, by its name
        self._floats = all(spec.features and spec.datatype.is_float for spec in signature.inputs)
        self._numbers = len(signature.inputs) == 1 and {f.kind for f in signature.features} == {FeatureKind.NUMBER}
        self._fields = signature.field_names
        listed = row_type(signature, listed=True) if self._row_form.typed else None
        self._listed = msgspec.json.Decoder(list[listed]) if listed else None  # type: ignore[valid-type]

    def decode(self, body: bytes | bytearray) -> Arrays:
        """The arranged arrays that the body stands for; a `ModelyardError` says what does not fit."""
        found = numeric.cut(body)
        if found is not None:
            with suppress(*_MISFITS):  # else it has to be looked at
                table = self._large(found)
                if table is not None:
                    return table
        try:
            arrays = self._well_formed(body)
        except _MISFITS:
            arrays = None
        return self._explain(body) if arrays is None else arrays

    def _large(self, found: numeric.Cut) -> tuple[Array, ...] | None:
        """The arrays of a body of which one large array of numbers was cut out; None when there is more to it."""
        asked = _BODY.decode(found.rest)
        split = asked.dataframe_split
        if found.rest.count(b":") != (1 if split is None else 3 + (split.index is not None)):
            return None
        if split is not None:
            return self._from_table(split, numeric.read(found.texts[0], Datatype.FP64))
        whole = bytes(asked.instances or asked.inputs) == numeric.MARK
        return self._instances.numbers(found.texts[0]) if whole else None

    def _from_table(self, split: _Split, table: Array | None) -> tuple[Array, ...] | None:
        """The arrays of a data frame that is all numbers, for a model that takes them as floats."""
        columns = split.columns
        if table is None or table.shape[1:] != (len(columns),) or not self._floats or len({*columns}) < len(columns):
            return None
        if split.index is not None and len(split.index) != len(table):
            return None
        places = {name: at for at, name in enumerate(columns)}
        if not self._numbers or places.keys() != {*self._fields}:
            return from_vectors(self._signature, {name: table[:, at] for name, at in places.items()})
        (spec,) = self._signature.inputs
        ordered = table if (*columns,) == self._fields else table.take([places[name] for name in self._fields], axis=1)
        return self._signature.arrange({spec.name: narrowed(ordered, spec.datatype)})

    def _well_formed(self, body: bytes | bytearray) -> Arrays | None:
        """The arrays of a body with a single member; None when there are more, or anything may be said twice."""
        asked = _BODY.decode(body)
        split = asked.dataframe_split
        if split is not None:
            once = body.count(b":") == 3 + (split.index is not None)
            return self._from_typed(split) if once else None
        text = bytes(asked.dataframe_records or asked.instances)
        if numeric.colons(body) - numeric.colons(text) != 1:
            return None
        if asked.instances:
            return self._instances.rows(text)
        return self._row_form.decode(text) if text[:1] == b"[" else None

    def _from_typed(self, split: _Split) -> tuple[Array, ...]:
        """The arrays of a data frame, whose rows are typed where its columns have the signature's order."""
        if self._listed is not None and (*split.columns,) == self._fields:
            with suppress(*_MISFITS, OverflowError, TypeError, ValueError):  # else it has to be looked at
                rows = self._listed.decode(split.data)
                if rows and (split.index is None or len(split.index) == len(rows)):
                    return self._row_form.arrays(rows)
        return self._from_split(split.columns, _DATA.decode(split.data), split.index)

    def encode(self, outputs: Sequence[Array]) -> bytes:
        """``{"predictions": [...]}``: the prediction of each row, or an object of all outputs where none is the one."""
        if self._at is not None:
            return b'{"predictions": %s}' % dump_array(outputs[self._at])
        return b'{"predictions": %s}' % self._instances.predictions(outputs)

    def _explain(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """Parse the whole body, which may hold NaN, or say what is wrong with it."""
        asked = members(parse(body), _MEMBERS)
        given = [name for name in FORMATS if name in asked]
        if len(given) != 1:
            raise InvalidRequest(
                what=f"the body must have exactly one of {', '.join(FORMATS)}",
                cause=f"it has {' and '.join(given)}" if given else "it has none of them",
            )
        if asked.get("params") is not None:
            expect_object(asked["params"], "params")
        (name,) = given
        value = asked[name]
        if name == "dataframe_split":
            return self._split(value)
        if name == "dataframe_records":
            return self._records(value, name)
        if name == "instances" or (isinstance(value, list) and value and isinstance(value[0], dict)):
            return self._instances.from_rows(value)  # MLflow's client sends a list of records as inputs, too
        return self._instances.from_columns(value)

    def _records(self, value: Any, name: str) -> tuple[Array, ...]:
        if not isinstance(value, list):
            raise WrongType(field=name, expected="a list of objects", got=kind(value), where="")
        return from_objects(self._signature, value)

    def _split(self, value: Any) -> tuple[Array, ...]:
        found = members(value, _SPLIT, "dataframe_split")
        for name in ("columns", "data"):
            if not isinstance(found.get(name), list):
                raise WrongType(field=f"dataframe_split.{name}", expected="a list", got=kind(found.get(name)), where="")
        for at, row in enumerate(found["data"]):
            if not isinstance(row, list):
                raise WrongType(field="dataframe_split.data", expected="lists", got=kind(row), where=f" (row {at})")
        return self._from_split(list(map(str, found["columns"])), found["data"], found.get("index"))

    def _from_split(self, columns: list[str], data: list[list[Any]], index: Any) -> tuple[Array, ...]:
        if len(set(columns)) < len(columns):
            twice = next(name for at, name in enumerate(columns) if name in columns[:at])
            raise InvalidRequest(what=f"column {twice[:80]!r} is sent twice")
        if index is not None and (not isinstance(index, list) or len(index) != len(data)):
            raise WrongShape(field="dataframe_split.index", problem=f"it is not a list of {len(data)} labels")
        if not data:
            raise NoRows()
        for at, row in enumerate(data):
            if len(row) != len(columns):
                problem = f"row {at} has {len(row)} values for {len(columns)} columns"
                raise WrongShape(field="dataframe_split.data", problem=problem)
        return from_columns(self._signature, dict(zip(columns, map(list, zip(*data, strict=True)), strict=True)))
