"""Parquet and Arrow IPC: columns by the names of the fields, typed; answered with typed columns in the same format.

Types are not converted but for what JSON takes too: a whole number where a number is due, or the reverse when it is
whole. Bodies are weighed before they are unfolded and validated before they are looked at. Nothing here goes by way of
pandas, which pyarrow's own conversions import.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from modelyard.core.errors import InvalidRequest, MissingExtra, TooLarge, WrongShape, WrongType
from modelyard.core.rows import EXPECTED, check_fields
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.core.vectors import from_vectors
from modelyard.serve.http.forms.answers import AnswerTable, Column
from modelyard.serve.http.forms.weigh import VALUES, weigh_batches, weigh_pages

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as exc:
    raise MissingExtra(what="Parquet and Arrow", library="pyarrow", extra="arrow") from exc

_FILE_MAGIC = b"ARROW1\0\0"
_TEXT_BYTES = 1 << 20  # of Parquet's own metadata
_MAX_OFFSET = (1 << 31) - 1
_NUMBERS = {
    "int8": "i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "halffloat": "<f2",
    "float": "<f4",
    "double": "<f8",
}
_TYPES = {np.dtype(code): pa.type_for_alias(name) for name, code in _NUMBERS.items()}


class _ColumnForm:
    """What both formats share: a schema and batches in, a table out."""

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._table = AnswerTable(signature)
        self._about = {"modelyard-model": f"{name}@{version}"}
        self._features = {feature.name: feature for feature in signature.features}

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

    def encode(self, outputs: Sequence[Array]) -> bytes:
        """A table with the prediction, a row each."""
        return self._write(_table(self._table.columns(outputs, full=False), self._about))

    def encode_full(self, outputs: Sequence[Array]) -> bytes:
        """The same with a column a class."""
        return self._write(_table(self._table.columns(outputs, full=True), self._about))

    def _write(self, table: pa.Table) -> bytes:
        raise NotImplementedError

    def _check(self, schema: pa.Schema) -> None:
        """Refuse columns by their names and types, before any of their values are read."""
        seen = set()
        for name in schema.names:
            if name in seen:
                raise InvalidRequest(what=f"{name[:80]!r} is sent twice")
            seen.add(name)
        check_fields(self._signature, dict.fromkeys(schema.names), set(self._signature.field_names), "")
        for spec in self._signature.inputs:
            for feature in spec.features:
                at = schema.get_field_index(feature.name)
                if at >= 0 and not _is_scalar(schema.field(at).type):
                    raise _wrong(feature.name, EXPECTED[feature.kind], schema.field(at).type)
            if not spec.features and not _is_nested(schema.field(spec.name).type):
                raise _wrong(spec.name, f"nested lists of {spec.datatype}", schema.field(spec.name).type)

    def _arrays(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> tuple[Array, ...]:
        """The arrays of all batches, column by column."""
        kept: list[pa.RecordBatch] = []
        rows = 0
        for batch in batches:
            batch.validate(full=True)
            rows += batch.num_rows
            if rows * len(schema.names) > VALUES:
                raise TooLarge(what="number of values", limit=str(VALUES))
            if batch.num_rows:
                kept.append(batch)
        columns = {
            name: _joined(name, [_vector(name, batch.column(at)) for batch in kept])
            for at, name in enumerate(schema.names)
        }
        return from_vectors(self._signature, columns)


class ParquetForm(_ColumnForm):
    """Parquet for one version; made once, when it is first asked so."""

    MEDIA: ClassVar[tuple[bytes, ...]] = (b"application/vnd.apache.parquet", b"application/x-parquet")
    CONTENT_TYPE: ClassVar[bytes] = b"application/vnd.apache.parquet"

    def decode(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """The arranged arrays of the file's columns; a `ModelyardError` says what does not fit."""
        body = bytes(body)
        with _translated("Parquet file"):
            file = pq.ParquetFile(pa.py_buffer(body), **self._limits())
            schema = file.schema_arrow
            self._check(schema)
            weigh_pages(body)
            texts = [name for name in schema.names if _is_text(schema.field(name).type)]
            # A text that is repeated stays one text: each row has a number that leads to it.
            file = pq.ParquetFile(pa.py_buffer(body), read_dictionary=texts, pre_buffer=False, **self._limits())
            return self._arrays(file.schema_arrow, file.iter_batches(batch_size=1 << 16, use_threads=False))

    def _limits(self) -> dict[str, int]:
        most = 1024 + 8 * len(self._signature.field_names)
        return {"thrift_string_size_limit": _TEXT_BYTES, "thrift_container_size_limit": most}

    def _write(self, table: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return bytes(sink.getvalue())


class ArrowForm(_ColumnForm):
    """Arrow's IPC stream for one version; made once, when it is first asked so."""

    MEDIA: ClassVar[tuple[bytes, ...]] = (b"application/vnd.apache.arrow.stream",)
    CONTENT_TYPE: ClassVar[bytes] = b"application/vnd.apache.arrow.stream"

    def decode(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """The arranged arrays of the stream's columns; a `ModelyardError` says what does not fit."""
        # A file is a stream between a magic word and a footer.
        stream = pa.py_buffer(bytes(body)[len(_FILE_MAGIC) :] if body.startswith(_FILE_MAGIC) else bytes(body))
        with _translated("Arrow stream"):
            reader = pa.ipc.open_stream(stream)
            self._check(reader.schema)
            weigh_batches(_messages(stream))
            return self._arrays(reader.schema, reader)

    def _write(self, table: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        with self._writer(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    def _writer(self, sink: Any, schema: pa.Schema) -> Any:
        return pa.ipc.new_stream(sink, schema)


class ArrowFileForm(ArrowForm):
    """Arrow's IPC file (Feather) for one version."""

    MEDIA: ClassVar[tuple[bytes, ...]] = (b"application/vnd.apache.arrow.file",)
    CONTENT_TYPE: ClassVar[bytes] = b"application/vnd.apache.arrow.file"

    def _writer(self, sink: Any, schema: pa.Schema) -> Any:
        return pa.ipc.new_file(sink, schema)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """The library's many errors as one of ours."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as exc:
        raise InvalidRequest(what=f"the body is not a {what} that can be read", cause=str(exc)[:200]) from exc


def _messages(stream: pa.Buffer) -> Iterator[tuple[memoryview, memoryview]]:
    for message in pa.ipc.MessageReader.open_stream(stream):
        yield memoryview(message.metadata), memoryview(message.body or b"")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_scalar(kind: pa.DataType) -> bool:
    """Whether a column of this type can be the values of a feature."""
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type) or str(kind.value_type) in _NUMBERS
    return _is_text(kind) or str(kind) in _NUMBERS or bool(pa.types.is_boolean(kind) or pa.types.is_null(kind))


def _is_nested(kind: pa.DataType) -> bool:
    while _is_list(kind):
        kind = kind.value_type
    return _is_scalar(kind) and not pa.types.is_null(kind)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _wrong(name: str, expected: str, kind: pa.DataType) -> WrongType:
    return WrongType(field=name, expected=expected, got=f"a column of {str(kind)[:60]}", where="")


def _vector(name: str, column: pa.Array) -> Array:
    """One column as a numpy array; missing values are NaN among numbers and None among others."""
    shape = [len(column)]
    while _is_list(column.type):
        if column.null_count:
            raise WrongType(field=name, expected="lists", got="a missing one", where="")
        if pa.types.is_fixed_size_list(column.type):
            size = column.type.list_size
        else:
            sizes = np.unique(_numbers(column.value_lengths()))
            if len(sizes) != 1:
                raise WrongShape(field=name, problem="its rows have unlike lengths")
            size = int(sizes[0])
        shape.append(size)
        column = column.flatten()
    if len(column) > VALUES:
        raise TooLarge(what="number of values", limit=str(VALUES))
    if len(shape) > 1 and column.null_count:
        return _objects(column.to_pylist()).reshape(shape)  # a tensor has no missing elements
    return _scalars(column).reshape(shape)


def _scalars(column: pa.Array) -> Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _looked_up(_scalars(column.dictionary), column.indices)
    if pa.types.is_boolean(kind) and not column.null_count:
        return _numbers(column.cast(pa.uint8())).astype(np.bool_)
    if str(kind) not in _NUMBERS:
        return _objects(column.to_pylist())
    values = _numbers(column)
    return np.where(_numbers(column.is_valid().cast(pa.uint8())) != 0, values, np.nan) if column.null_count else values


def _looked_up(words: Array, indices: pa.Array) -> Array:
    """The word that each index leads to; a missing index is None, or NaN among numbers."""
    if not indices.null_count:
        return words[_numbers(indices)]
    valid = _numbers(indices.is_valid().cast(pa.uint8())) != 0
    nothing = np.full(1, None if words.dtype.kind == "O" else np.nan)
    return np.concatenate([words, nothing])[np.where(valid, _numbers(indices), len(words))]


def _numbers(column: pa.Array) -> Array:
    """The values of a column of numbers, whatever lies at missing ones."""
    dtype = np.dtype(_NUMBERS[str(column.type)])
    values = column.buffers()[1]
    if values is None:  # no row, or none that is not missing
        return np.zeros(len(column), dtype=dtype)
    return np.frombuffer(values, dtype=dtype, count=len(column), offset=column.offset * dtype.itemsize)


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _joined(name: str, parts: list[Array]) -> Array:
    if len(parts) == 1:
        return parts[0]
    try:
        return np.concatenate(parts) if parts else np.empty(0)
    except ValueError as exc:
        raise WrongShape(field=name, problem="its rows have unlike lengths") from exc


def _table(columns: Sequence[Column], about: dict[str, str]) -> pa.Table:
    names = [name for name, _ in columns]
    return pa.Table.from_arrays([_column(array) for _, array in columns], names, metadata=about)


def _column(array: Array) -> pa.Array:
    """A column of the answer; each further axis is a list of fixed size."""
    if array.ndim > 1:
        inner = _column(array.reshape(-1, *array.shape[2:]))
        kind = pa.list_(inner.type, array.shape[1])
        return pa.Array.from_buffers(kind, len(array), [None], children=[inner])
    if array.dtype.kind == "b":
        bits = pa.py_buffer(np.packbits(array, bitorder="little").tobytes())
        return pa.Array.from_buffers(pa.bool_(), len(array), [None, bits])
    if array.dtype.kind in "OU":
        return _texts([str(item).encode() for item in array.tolist()])
    values = pa.py_buffer(np.ascontiguousarray(array).tobytes())
    return pa.Array.from_buffers(_TYPES[array.dtype], len(array), [None, values])


def _texts(items: list[bytes]) -> pa.Array:
    ends = np.cumsum([0, *map(len, items)], dtype=np.int64)
    large = ends[-1] > _MAX_OFFSET
    kind, dtype = (pa.large_string(), "<i8") if large else (pa.string(), "<i4")
    parts = [pa.py_buffer(ends.astype(dtype).tobytes()), pa.py_buffer(b"".join(items))]
    return pa.Array.from_buffers(kind, len(items), [None, *parts])
