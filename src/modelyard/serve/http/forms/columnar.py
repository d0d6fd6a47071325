"""Parquet and Arrow IPC: columns by the names of the fields, typed; answered with typed columns in the same format.

Types are not converted but for what JSON takes too: a whole number where a number is due, or the reverse when it is
whole. Bodies are weighed before they are unfolded and validated before they are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core.errors import InvalidRequest, TooLarge, WrongType
from modelyard.core.rows import EXPECTED, check_fields
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.core.vectors import from_vectors
from modelyard.serve.http.forms.answers import AnswerTable
from modelyard.serve.http.forms.arrow import is_nested, is_scalar, is_text, joined, table, vector
from modelyard.serve.http.forms.weigh import VALUES, weigh_batches, weigh_pages

_FILE_MAGIC = b"ARROW1\0\0"
_TEXT_BYTES = 1 << 20  # of Parquet's own metadata


class _ColumnForm:
    """What both formats share: a schema and batches in, a table out."""

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._table = AnswerTable(signature)
        self._about = {"modelyard-model": f"{name}@{version}"}

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
        return self._write(table(self._table.columns(outputs, full=False), self._about))

    def encode_full(self, outputs: Sequence[Array]) -> bytes:
        """The same with a column a class."""
        return self._write(table(self._table.columns(outputs, full=True), self._about))

    def _write(self, content: pa.Table) -> bytes:
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
                if at >= 0 and not is_scalar(schema.field(at).type):
                    raise _wrong(feature.name, EXPECTED[feature.kind], schema.field(at).type)
            if not spec.features and not is_nested(schema.field(spec.name).type):
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
            name: joined(name, [vector(name, batch.column(at)) for batch in kept])
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
            texts = [name for name in schema.names if is_text(schema.field(name).type)]
            # A text that is repeated stays one text: each row has a number that leads to it.
            file = pq.ParquetFile(pa.py_buffer(body), read_dictionary=texts, pre_buffer=False, **self._limits())
            return self._arrays(file.schema_arrow, file.iter_batches(batch_size=1 << 16, use_threads=False))

    def _limits(self) -> dict[str, int]:
        most = 1024 + 8 * len(self._signature.field_names)
        return {"thrift_string_size_limit": _TEXT_BYTES, "thrift_container_size_limit": most}

    def _write(self, content: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(content, sink)
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

    def _write(self, content: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        with self._writer(sink, content.schema) as writer:
            writer.write_table(content)
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


def _wrong(name: str, expected: str, kind: pa.DataType) -> WrongType:
    return WrongType(field=name, expected=expected, got=f"a column of {str(kind)[:60]}", where="")
