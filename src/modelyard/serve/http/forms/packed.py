"""MessagePack: the documents of the JSON form, packed. Bytes are no text, extension types are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
import orjson

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.serve.http.forms.answers import AnswerTable
from modelyard.serve.http.forms.rows import RowForm, dump_array, from_document, row_type

_DECODER = msgspec.msgpack.Decoder()
_ROWS = msgspec.msgpack.Decoder(list[msgspec.Raw])
_LAST_SMALL_MAP, _MAP_OF_16_BITS = 0x8F, 0xDE
_SMALL_LIST, _LISTS = 0x9, (0xDC, 0xDD)
_MISFITS = (msgspec.DecodeError, RecursionError, TypeError, ValueError, MemoryError, OverflowError)
_ENCODER = msgspec.msgpack.Encoder()


class MessagePackForm:
    """Rows as MessagePack for one version; made once, when it is first asked so."""

    MEDIA: ClassVar[tuple[bytes, ...]] = (b"application/vnd.msgpack", b"application/msgpack", b"application/x-msgpack")
    CONTENT_TYPE: ClassVar[bytes] = b"application/vnd.msgpack"

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._about = {"model": name, "version": version}
        self._table = AnswerTable(signature)
        self._rows = RowForm(signature, name, version)
        self._row = msgspec.msgpack.Decoder(row_type(signature) if self._rows.typed else Any).decode
        self._width = len(signature.features)
        self._nullable = any(feature.nullable for feature in signature.features)

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

    def decode(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """The arranged arrays of the document; a `ModelyardError` says what does not fit."""
        arrays = self._well_formed(body) if self._rows.typed else None
        if arrays is not None:
            return arrays
        try:
            document = _DECODER.decode(body)
        except RecursionError as exc:
            raise InvalidRequest(what="the MessagePack is nested too deeply") from exc
        except _MISFITS as exc:
            raise InvalidRequest(what="the body is not valid MessagePack", cause=str(exc)[:200]) from exc
        arrays = from_document(self._signature, document)
        _check_once(body, document)
        return arrays

    def _well_formed(self, body: bytes | bytearray) -> tuple[Array, ...] | None:
        """The arrays of typed rows that name every field once; None when they have to be looked at."""
        try:
            packed = _ROWS.decode(body) if _is_list(body) else [body]
            rows: list[Any] = [self._row(item) for item in packed]
            if any(_announced(memoryview(item)) != self._width for item in packed):
                return None
            if self._nullable and any(msgspec.UNSET in msgspec.structs.astuple(row) for row in rows):
                return None  # so many names, and one of them twice
            return self._rows.arrays(rows)
        except (*_MISFITS, ModelyardError):
            return None

    def encode(self, outputs: Sequence[Array]) -> bytes:
        """``{"prediction": [...]}``; NaN and infinity as they are."""
        return _ENCODER.encode(self._answer(outputs))

    def encode_full(self, outputs: Sequence[Array]) -> bytes:
        """The prediction with its model, its version, and class probabilities where there are any."""
        answer = self._answer(outputs) | self._about
        scores = self._table.scores(outputs)
        if scores:
            labels = [label for label, _ in scores]
            table = zip(*(shortest(column).tolist() for _, column in scores), strict=True)
            answer["probabilities"] = [dict(zip(labels, row, strict=True)) for row in table]
        return _ENCODER.encode(answer)

    def _answer(self, outputs: Sequence[Array]) -> dict[str, Any]:
        columns = {name: shortest(array).tolist() for name, array in self._table.columns(outputs, full=False)}
        if self._table.single:
            return columns
        rows = zip(*columns.values(), strict=True)
        return {"prediction": [dict(zip(columns, row, strict=True)) for row in rows]}


def _check_once(body: bytes | bytearray, document: Any) -> None:
    """Refuse a name that is said twice in a row: a map that announces more entries than it has."""
    rows = _ROWS.decode(body) if isinstance(document, list) else [body]
    for row, found in zip(rows, document if isinstance(document, list) else [document], strict=True):
        if _announced(memoryview(row)) != len(found):
            raise InvalidRequest(what="a name is sent twice in one row")


def _is_list(packed: bytes | bytearray) -> bool:
    return bool(packed) and (packed[0] >> 4 == _SMALL_LIST or packed[0] in _LISTS)


def _announced(packed: memoryview) -> int:
    """How many entries a packed map says it has."""
    if packed[0] <= _LAST_SMALL_MAP:
        return packed[0] & 15
    return int.from_bytes(packed[1:3] if packed[0] == _MAP_OF_16_BITS else packed[1:5], "big")


def shortest(array: Array) -> Array:
    """Floats of less than 64 bits as the float64 with the same shortest decimal form: what JSON says, and exact."""
    if array.dtype.kind != "f" or array.dtype == np.float64:
        return array
    told = np.array(orjson.loads(dump_array(array.ravel())), dtype=np.float64).reshape(array.shape)
    return np.where(np.isfinite(array), told, array)
