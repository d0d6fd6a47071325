"""Rows and columns as TensorFlow Serving's REST writes them, for its contract and for those that took it over.

Rows (``instances``) are a list with one item a row: an object, or the bare value of the only input tensor. Columns
(``inputs``) are an object of tensors, or the only tensor bare. Protocol clients name *tensors*, people name *features*;
an object has either all tensors or all features of the model, never some of both. Binary values are ``{"b64": "..."}``.

Well-formed bodies are decoded straight into typed values; the rest is parsed as a document, which may hold ``NaN``.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import orjson

from modelyard.core import rows
from modelyard.core.errors import (
    InvalidRequest,
    MissingField,
    ModelyardError,
    NoRows,
    UnknownField,
    WrongShape,
    WrongType,
)
from modelyard.core.nested import from_nested
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Arrays, Datatype, narrowed
from modelyard.serve.http.forms import elements, numeric
from modelyard.serve.http.forms.document import kind, parse
from modelyard.serve.http.forms.rows import RowForm

_OBJECTS = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\{")
_NESTED = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\[")
_ANY = msgspec.json.Decoder()
_BYTES_SUFFIX = "_bytes"  # outputs of such a name hold bytes, by TensorFlow Serving's convention
_MISFITS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, TypeError, ValueError)


class InstanceForm:
    """Rows and columns of one signature; made once, when a version is loaded.

    `rows` and `columns` take the JSON text of ``instances`` and ``inputs``, `from_rows` and `from_columns` the parsed
    values; all give arranged arrays or a `ModelyardError`. `numbers` takes the text of either and may decline.
    `predictions` and `outputs` write the answer to each.

    Parameters
    ----------
    signature : Signature
        Of the model.
    name, version : str, int
        Of the model.
    """

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._fields = frozenset(signature.field_names)
        self._tensors = frozenset(spec.name for spec in signature.inputs)
        self._row_form = RowForm(signature, name, version)
        self._bare = _Bare(signature.inputs[0])
        self._keys = [b"%s:" % orjson.dumps(spec.name) for spec in signature.outputs]
        self._escaped = [key.replace(b"%", b"%%") for key in self._keys]

    def rows(self, text: bytes) -> Arrays:
        """Arrays for the JSON text of ``instances``."""
        if _OBJECTS.match(text):
            with suppress(ModelyardError):  # it may be tensors, or hold what has to be looked at
                return self._row_form.decode(text)
        elif len(self._signature.inputs) == 1:
            tensor = self._bare.decode(text)
            if tensor is not None:
                return self._signature.arrange({self._signature.inputs[0].name: tensor})
        return self.from_rows(parse(text))

    def columns(self, text: bytes) -> tuple[Array, ...]:
        """Arrays for the JSON text of ``inputs``."""
        if text[:1] != b"{" and len(self._signature.inputs) == 1:
            tensor = self._bare.decode(text)
            if tensor is not None:
                return self._signature.arrange({self._signature.inputs[0].name: tensor})
        try:
            inputs = _ANY.decode(text)
        except _MISFITS:
            return self.from_columns(parse(text))
        once = not isinstance(inputs, dict) or text.count(b":") == len(inputs)
        return self.from_columns(inputs if once else parse(text))

    def numbers(self, text: bytes) -> tuple[Array, ...] | None:
        """Arrays for a large array of numbers that was `numeric.cut` out; None where it is not the only tensor's."""
        if len(self._signature.inputs) > 1:
            return None
        tensor = self._bare.numbers(text)
        return None if tensor is None else self._signature.arrange({self._signature.inputs[0].name: tensor})

    def from_rows(self, instances: Any) -> tuple[Array, ...]:
        """Arrays for the parsed ``instances``."""
        if not isinstance(instances, list):
            raise WrongType(field="instances", expected="a list", got=kind(instances), where="")
        if not instances:
            raise NoRows()
        objects = [isinstance(item, dict) and not _is_b64(item) for item in instances]
        if not any(objects):
            return self._from_tensors({self._sole("instances"): instances})
        if not all(objects):
            at = objects.index(False)
            raise WrongType(field="instances", expected="objects only", got=kind(instances[at]), where=f" (row {at})")
        names = dict.fromkeys(name for row in instances for name in row)
        if self._are_features(
            names, listed=any(isinstance(value, list) for row in instances for value in row.values())
        ):
            plain = [{name: _text(value) for name, value in row.items()} for row in instances]
            return rows.from_objects(self._signature, plain)
        for at, row in enumerate(instances):
            missing = [spec.name for spec in self._signature.inputs if spec.name not in row]
            if missing:
                raise MissingField(fields=missing, where=f" (row {at})" if len(instances) > 1 else "")
        return self._from_tensors({name: [row[name] for row in instances] for name in names})

    def from_columns(self, inputs: Any) -> tuple[Array, ...]:
        """Arrays for the parsed ``inputs``."""
        if not isinstance(inputs, dict) or _is_b64(inputs):
            inputs = {self._sole("inputs"): inputs}
        for name, values in inputs.items():
            if not isinstance(values, list):
                raise WrongType(field=name[:80], expected="a list of values", got=kind(values), where="")
        listed = any(isinstance(item, list) for values in inputs.values() for item in values[:1])
        if self._are_features(inputs, listed=listed):
            plain = {name: [_text(value) for value in values] for name, values in inputs.items()}
            return rows.from_columns(self._signature, plain)
        return self._from_tensors(inputs)

    def predictions(self, outputs: Sequence[Array]) -> bytes:
        """One JSON value a row: of the only output in its own shape, else an object of all outputs."""
        if len(outputs) == 1:
            return _dump(self._signature.outputs[0], outputs[0])
        if outputs[0].shape[0] == 1:  # a list of one is its item in brackets
            return b"[%s]" % self._object([text[1:-1] for text in self._texts(outputs)])
        columns = [_dump_rows(spec, array) for spec, array in zip(self._signature.outputs, outputs, strict=True)]
        row = self._object([b"[%s]" if listed else b"%s" for _, listed in columns], self._escaped)
        return b"[%s]" % b",".join(map(row.__mod__, zip(*(texts for texts, _ in columns), strict=True)))

    def outputs(self, outputs: Sequence[Array]) -> bytes:
        """The only output as nested lists, else an object of all outputs."""
        texts = self._texts(outputs)
        return texts[0] if len(texts) == 1 else self._object(texts)

    def _texts(self, outputs: Sequence[Array]) -> list[bytes]:
        return [_dump(spec, array) for spec, array in zip(self._signature.outputs, outputs, strict=True)]

    def _object(self, values: Sequence[bytes], keys: Sequence[bytes] = ()) -> bytes:
        return b"{%s}" % b",".join(key + value for key, value in zip(keys or self._keys, values, strict=True))

    def _sole(self, what: str) -> str:
        """The name of the only input tensor, whose values may be sent bare."""
        if len(self._signature.inputs) > 1:
            names = ", ".join(self._signature.field_names[:8])
            raise InvalidRequest(
                what=f"{what} must be named, because the model has {len(self._tensors)} input tensors",
                hint=f"send objects with: {names}",
            )
        return self._signature.inputs[0].name

    def _are_features(self, names: Iterable[str], *, listed: bool) -> bool:
        """Whether these names are features (True) or tensors (False); `listed` decides for names that are both."""
        given = set(names)
        if given <= self._fields and not (listed and given <= self._tensors):
            return True
        if given <= self._tensors:
            return False
        for name in names:
            if name not in self._fields and name not in self._tensors:
                raise UnknownField(field=name, known=self._signature.field_names)
        tensor = next(name for name in names if name not in self._fields)
        feature = next(name for name in names if name not in self._tensors)
        raise InvalidRequest(
            what=f"{feature[:80]!r} is a feature and {tensor[:80]!r} a tensor of the model",
            hint="send all features or all tensors, not some of both",
        )

    def _from_tensors(self, columns: dict[str, Any]) -> tuple[Array, ...]:
        for name, values in columns.items():
            if not isinstance(values, list):
                raise WrongType(field=name, expected="a list of values", got=kind(values), where="")
        if not any(columns.values()):
            raise NoRows()
        specs = [self._signature.input(name) for name in columns]
        arrays = {
            spec.name: from_nested(spec, _filled(spec, columns[spec.name], len(spec.shape) + 1)) for spec in specs
        }
        return self._signature.arrange(arrays)


class _Bare:
    """The only tensor of a model, sent without its name: typed decoding of well-formed nested lists."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        depth = len(spec.shape)
        self._flat = _decoder(spec.datatype, 1) if spec.width == 1 else None
        self._deep = _decoder(spec.datatype, 2 if spec.width == 1 else depth)
        self._ranks = (1, 2) if spec.width == 1 else (depth,)

    def numbers(self, text: bytes) -> Array | None:
        """The tensor of many numbers, not yet checked; None when `decode` has to look at it."""
        array = numeric.read(text, self._spec.datatype)
        return array if array is not None and array.ndim in self._ranks else None

    def decode(self, text: bytes) -> Array | None:
        """The tensor, not yet checked; None when it is not well-formed or holds anything special."""
        if len(text) >= numeric.WORTH_BYTES and (many := self.numbers(text)) is not None:
            return many
        decoder = self._flat if self._flat is not None and not _NESTED.match(text) else self._deep
        try:
            values = decoder.decode(text)
            if not values or self._spec.datatype is Datatype.BYTES:
                return from_nested(self._spec, values) if values else None
            if self._spec.datatype is Datatype.FP64:  # nothing in JSON is too large for it
                return np.array(values, dtype=np.float64)
            with np.errstate(over="ignore"):  # too large for the type turns infinite, which `check` refuses
                array = np.array(values, dtype=self._spec.datatype.dtype)
            if self._spec.datatype is Datatype.BF16:
                array = narrowed(array, Datatype.BF16)
        except (*_MISFITS, ModelyardError):
            return None
        opaque = not self._spec.features and self._spec.datatype.is_float
        return None if opaque and np.isinf(array).any() else array


def _decoder(datatype: Datatype, depth: int) -> msgspec.json.Decoder[Any]:
    kinds: Any = str if datatype is Datatype.BYTES else bool if datatype is Datatype.BOOL else int
    kinds = float if datatype.is_float else kinds
    for _ in range(depth):
        kinds = list[kinds]
    return msgspec.json.Decoder(kinds)


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _text(value: Any) -> Any:
    """The text in ``{"b64": ...}``; other values as they are."""
    if not _is_b64(value):
        return value
    try:
        return b64decode(value["b64"], validate=True).decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequest(what="a value of b64 is not UTF-8 text, and the model takes text") from exc
    except ValueError as exc:  # letters that are not of base64, or not of ASCII
        raise InvalidRequest(what="a value of b64 is not base64", cause=str(exc)) from exc


def _blank(spec: TensorSpec) -> Any:
    """What null means in this tensor: NaN, the empty text where it may be missing, or itself, which is refused."""
    if spec.datatype.is_float:
        return float("nan")
    return "" if spec.datatype is Datatype.BYTES and spec.features and spec.nullable else None


def _filled(spec: TensorSpec, value: Any, depth: int) -> Any:
    """Nested lists with text for b64, and what null means; `depth` is how many lists there may be in each other."""
    if not isinstance(value, list):
        return _blank(spec) if value is None else _text(value)
    if depth == 0:
        raise WrongShape(field=spec.name, problem=f"it is nested deeper than {list(spec.shape)}")
    return [_filled(spec, item, depth - 1) for item in value]


def _dump(spec: TensorSpec, array: Array) -> bytes:
    """The tensor as nested lists in its own shape; NaN and infinity as null, ``_bytes`` as b64."""
    if spec.datatype is not Datatype.BYTES:
        return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    values = array.tolist()
    return orjson.dumps(_encoded(values) if spec.name.endswith(_BYTES_SUFFIX) else values)


def _dump_rows(spec: TensorSpec, array: Array) -> tuple[list[bytes], bool]:
    """Each row of the tensor as `_dump` writes it, and whether its brackets are left out."""
    if array.ndim > 2 or spec.name.endswith(_BYTES_SUFFIX):
        return [orjson.dumps(value) for value in orjson.loads(_dump(spec, array))], False
    return elements.dump_rows(array), array.ndim == 2


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    return {"b64": b64encode(str(value).encode()).decode()}
