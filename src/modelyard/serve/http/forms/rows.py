"""The friendly contract: ``{"feature": 3}``, a list of such objects, or columns; answered ``{"prediction": [...]}``.

Well-formed bodies are decoded straight into typed rows. Whatever does not fit goes the slow way through `core.rows`,
which knows the words for what is wrong.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
import orjson
from msgspec.structs import astuple

from modelyard.core.errors import InvalidRequest, ModelyardError, WrongType
from modelyard.core.inference import InferResponse
from modelyard.core.rows import from_columns, from_objects
from modelyard.core.schema import has_columns
from modelyard.core.signature import FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Arrays, Datatype, Packed
from modelyard.serve.http.forms import numeric
from modelyard.serve.http.forms.document import parse

_TYPES: dict[FeatureKind, type] = {
    FeatureKind.NUMBER: float,
    FeatureKind.INTEGER: int,
    FeatureKind.BOOLEAN: bool,
    FeatureKind.CATEGORY: str,
    FeatureKind.TEXT: str,
}
_TEXTS = frozenset("OU")  # kinds of arrays that hold text
_FLOATS = frozenset({Datatype.FP32, Datatype.FP64})
_MANY = 16  # rows
_VALUES = "rows.values"  # the predictions of all rows, among a call's notes
_UNTYPED = re.compile(r'[\x00-\x1f"\\]')  # in a name, msgspec cannot look for these


class RowForm:
    """The friendly contract for one signature; made once, when a version is loaded."""

    MEDIA: ClassVar[tuple[bytes, ...]] = (b"application/json", b"text/json")
    CONTENT_TYPE: ClassVar[bytes] = b"application/json"

    @staticmethod
    def reads(signature: Signature) -> bool:
        """Whether questions fit this form: all do."""
        del signature
        return True

    @staticmethod
    def writes(signature: Signature, *, full: bool) -> bool:
        """Whether answers fit this form: all do."""
        del signature, full
        return True

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._columns = all(spec.features for spec in signature.inputs)
        #: Whether rows can be decoded as `row_type`.
        self.typed = self._columns and not any(_UNTYPED.search(feature.name) for feature in signature.features)
        row = row_type(signature) if self.typed else dict[str, Any]
        self._one: msgspec.json.Decoder[Any] = msgspec.json.Decoder(row)
        self._many = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]  # the type is made here
        self._any = msgspec.json.Decoder()
        self._width = len(signature.field_names)
        self._nullable = any(feature.nullable for feature in signature.features)
        # Rows of plain numbers need no look at each: JSON has no infinity, and typed decoding takes nothing else. What
        # is missing cannot be packed.
        self._plain = self.typed and len(signature.inputs) == 1 and _is_plain(signature.inputs[0])
        self._pack = struct.Struct(f"<{self._width}d").pack
        self._shape, self._dtype = (1, self._width), Datatype.FP64.dtype
        self._answer = _Answer(signature, name, version)

    def decode(self, body: bytes | bytearray) -> Arrays:
        """The arranged arrays that the body stands for; a `ModelyardError` says what does not fit."""
        if self._plain and body[:1] == b"{" and body.count(b":") == self._width:
            try:
                return Packed(self._pack(*astuple(self._one.decode(body))), self._shape, self._dtype)
            except (msgspec.DecodeError, RecursionError, ValueError):  # the last where it is no UTF-8
                return self._explain(body)
            except struct.error:  # it lacks a value
                pass
        try:
            rows = (self._one.decode(body),) if body[:1] == b"{" else self._many.decode(body)
            arrays = self.arrays(rows)
        except (msgspec.DecodeError, RecursionError, OverflowError, TypeError, ValueError, ModelyardError):
            return self._explain(body)
        if self._nullable or numeric.colons(body) != len(rows) * self._width:
            self._check_once(body, rows)
        return arrays

    def decode_lines(self, lines: Sequence[bytes]) -> tuple[Array, ...]:
        """The arrays of rows that are one JSON object each; an error does not say which one it is about."""
        try:
            rows = [self._one.decode(line) for line in lines]
            for line, row in zip(lines, rows, strict=True):
                self._check_once(line, (row,))
            return self.arrays(rows)
        except (msgspec.DecodeError, RecursionError, OverflowError, TypeError, ValueError) as exc:
            if len(lines) > 1:
                raise InvalidRequest(what="a line is not a row", cause=str(exc)[:200]) from exc
        return from_objects(self._signature, [self._document(lines[0])])

    def _check_once(self, text: bytes | bytearray, rows: Sequence[Any]) -> None:
        """Refuse a name that is said twice in a row. Rows that name all fields once have as many colons as values."""
        exact = numeric.colons(text) == len(rows) * self._width
        if not exact or (self._nullable and (not self.typed or any(map(_lacks, map(astuple, rows))))):
            parse(text)

    def encode_lines(self, outputs: Sequence[Array]) -> list[bytes]:
        """For each row ``{"prediction": ...}`` in one line."""
        return self._answer.lines(outputs)

    def encode_full_lines(self, outputs: Sequence[Array]) -> list[bytes]:
        """For each row its prediction, its model, version and probabilities in one line."""
        return self._answer.full_lines(outputs)

    def encode(self, outputs: Sequence[Array]) -> bytes:
        """``{"prediction": [...]}``."""
        return self._answer.short(outputs)

    def answer(self, given: InferResponse) -> bytes:
        """The same for one of the questions of a call; what can be written for all of them at once is."""
        return self._answer.one(given) if given.rows == 1 else self._answer.short(given.outputs)

    def encode_full(self, outputs: Sequence[Array]) -> bytes:
        """The prediction with its model, its version, and class probabilities where there are any."""
        return self._answer.full(outputs)

    def arrays(self, rows: Sequence[Any]) -> tuple[Array, ...]:
        """Arrays for rows of `row_type`, or for objects where rows are not `typed`."""
        if not self.typed or not rows:
            return from_objects(self._signature, rows)
        table = [astuple(row) for row in rows]
        if self._nullable and any(map(_lacks, table)):
            table = [tuple(None if value is msgspec.UNSET else value for value in row) for row in table]
        if len(self._signature.inputs) == 1:
            spec = self._signature.inputs[0]
            return (spec.check(_array(spec, table)),)
        columns = list(zip(*table, strict=True))
        arrays = []
        at = 0
        for spec in self._signature.inputs:
            width = len(spec.features)
            block = columns[at] if width == 1 else list(zip(*columns[at : at + width], strict=True))
            arrays.append(spec.check(_array(spec, block)))
            at += width
        return tuple(arrays)

    def _explain(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """Decode without types and let `core.rows` accept the body or say what is wrong with it."""
        return from_document(self._signature, self._document(body))

    def _document(self, body: bytes | bytearray) -> Any:
        try:
            document = self._any.decode(body)
        except RecursionError as exc:
            raise InvalidRequest(what="the JSON is nested too deeply") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise InvalidRequest(what="the body is not valid JSON", cause=str(exc)[:200]) from exc
        parse(body)
        return document


def _is_plain(spec: TensorSpec) -> bool:
    """Whether this is a table of float64 numbers."""
    numbers = all(feature.kind is FeatureKind.NUMBER for feature in spec.features)
    return spec.datatype is Datatype.FP64 and len(spec.shape) == 2 and numbers


def _lacks(row: tuple[Any, ...]) -> bool:
    """Whether a field was left out."""
    return msgspec.UNSET in row


def from_document(signature: Signature, document: Any) -> tuple[Array, ...]:
    """The arrays of a parsed document: one row object, a list of them, or columns."""
    if isinstance(document, list):
        return from_objects(signature, document)
    if not isinstance(document, dict):
        raise WrongType(field="body", expected="an object or a list of objects", got="a single value", where="")
    if has_columns(signature) and document and all(isinstance(value, list) for value in document.values()):
        return from_columns(signature, document)
    return from_objects(signature, [document])


def row_type(signature: Signature, *, listed: bool = False) -> type[msgspec.Struct]:
    """A struct with one typed field per feature; nullable ones may be null or left out. `listed` rows have no names."""
    fields: list[Any] = []
    names = {}
    for at, feature in enumerate(signature.features):
        names[f"f{at}"] = feature.name
        kind = _TYPES[feature.kind]
        if feature.nullable and not listed:
            fields.append((f"f{at}", kind | None, msgspec.UNSET))
        else:
            fields.append((f"f{at}", kind | None if feature.nullable else kind))
    if listed:
        return msgspec.defstruct("Row", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    # kw_only: a nullable feature may stand before one that is not
    return msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False)


def _array(spec: TensorSpec, values: Sequence[Any]) -> Array:
    """One tensor from its column (scalars) or its rows (tuples)."""
    if spec.datatype is Datatype.BYTES:
        array = np.array(values, dtype=object)
        if None in array.ravel().tolist():
            array[array == None] = ""  # noqa: E711 - element by element
        return array if array.ndim == 2 else array.reshape(-1, 1)
    if len(values) > _MANY and spec.width > 1 and spec.datatype in _FLOATS:
        many = numeric.table(values, spec.datatype)
        if many is not None:
            return many
    if spec.datatype is Datatype.FP64:
        array = np.array(values, dtype=np.float64)  # None becomes NaN
    else:
        with np.errstate(over="ignore"):  # too large for the type turns infinite, which `check` refuses
            array = np.array(values, dtype=spec.datatype.dtype)
    return array if array.ndim == len(spec.shape) else array.reshape(len(values), *(1 for _ in spec.shape[1:]))


class _Answer:
    """Encodes outputs for one signature."""

    def __init__(self, signature: Signature, model: str, version: int) -> None:
        self._about = b'"model": %s, "version": %d' % (orjson.dumps(model), version)
        self._names = [spec.name for spec in signature.outputs]
        name = signature.prediction or (self._names[0] if len(self._names) == 1 else "")
        self._at = self._names.index(name) if name else None  # None: every output, by its name
        self._scores = self._names.index(signature.probabilities) if signature.probabilities else None
        self._labels = signature.outputs[self._scores].labels if self._scores is not None else ()

    def one(self, given: InferResponse) -> bytes:
        call = given.call
        values = call.notes.get(_VALUES)
        if values is None:
            values = call.notes[_VALUES] = () if self._at is None else _values(call.outputs[self._at])
        if not values:
            return self.short(given.outputs)
        return b'{"prediction": [%b]}' % values[given.first]

    def short(self, outputs: Sequence[Array]) -> bytes:
        return b'{"prediction": %b}' % (
            self._prediction(outputs) if self._at is None else dump_array(outputs[self._at])
        )

    def full(self, outputs: Sequence[Array]) -> bytes:
        parts = [b'{"prediction": ' + self._prediction(outputs), self._about]
        if self._scores is not None:
            parts.append(b'"probabilities": ' + orjson.dumps(self._probabilities(outputs)))
        return b", ".join(parts) + b"}"

    def lines(self, outputs: Sequence[Array]) -> list[bytes]:
        return [b'{"prediction": %s}' % orjson.dumps(value) for value in orjson.loads(self._prediction(outputs))]

    def full_lines(self, outputs: Sequence[Array]) -> list[bytes]:
        short = [line.removesuffix(b"}") + b", " + self._about for line in self.lines(outputs)]
        if self._scores is None:
            return [line + b"}" for line in short]
        scores = self._probabilities(outputs)
        return [b'%s, "probabilities": %s}' % pair for pair in zip(short, map(orjson.dumps, scores), strict=True)]

    def _probabilities(self, outputs: Sequence[Array]) -> list[dict[str, float]]:
        """One object a row: label to score."""
        assert self._scores is not None
        keys = [str(item) for item in self._labels]
        table = orjson.loads(dump_array(outputs[self._scores]))
        return [dict(zip(keys, row if isinstance(row, list) else [row], strict=False)) for row in table]

    def _prediction(self, outputs: Sequence[Array]) -> bytes:
        if self._at is not None:
            return dump_array(outputs[self._at])
        columns = [orjson.loads(dump_array(array)) for array in outputs]
        return orjson.dumps([dict(zip(self._names, values, strict=True)) for values in zip(*columns, strict=True)])


def _values(array: Array) -> Sequence[bytes]:
    """Every row's number as JSON; nothing when rows are more than that."""
    if array.dtype.kind in _TEXTS or array.ndim > 2 or array.size != len(array):
        return ()
    return dump_array(array)[1:-1].split(b",")


def dump_array(array: Array) -> bytes:
    """One JSON value per row: a number, text or list; float32 in its own shortest form; NaN and infinity as null."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.ravel()
    if array.dtype.kind in _TEXTS:
        return orjson.dumps(array.tolist())
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
