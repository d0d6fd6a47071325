"""CSV by RFC 4180: a header with the fields' names in any order and a line a row; answered with a line a row.

Read by the parser of ``modelyard predict -f``, so that a file and a request mean the same.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import orjson

from modelyard.core.cells import from_cell_columns
from modelyard.core.errors import Unsupported
from modelyard.core.schema import has_columns
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.model.table import open_cells
from modelyard.serve.http.forms.answers import AnswerTable
from modelyard.serve.http.forms.rows import dump_array

_CHUNK_ROWS = 1000
_TRUTH = {True: "true", False: "false"}


class CsvForm:
    """Rows of text cells for one version; made once, when it is first asked so."""

    MEDIA: ClassVar[tuple[bytes, ...]] = (b"text/csv", b"application/csv")
    CONTENT_TYPE: ClassVar[bytes] = b"text/csv; charset=utf-8; header=present"

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        del name, version
        self._signature = signature
        self._table = AnswerTable(signature)

    @staticmethod
    def reads(signature: Signature) -> bool:
        """Whether questions fit this form: a cell holds one value."""
        return has_columns(signature)

    @staticmethod
    def writes(signature: Signature, *, full: bool) -> bool:
        """Whether answers fit this form: all do."""
        del signature, full
        return True

    def decode(self, body: bytes | bytearray, *, header: bool = True) -> tuple[Array, ...]:
        """The arranged arrays of the rows; a `ModelyardError` says what does not fit.

        Parameters
        ----------
        body : bytes
            UTF-8, with or without a byte order mark.
        header : bool
            Whether the first line holds the names. If not, the columns are the fields in the signature's order, split
            at commas.
        """
        if not has_columns(self._signature):
            raise Unsupported(what="CSV for a model that takes whole tensors", hint="send them as JSON or Arrow")
        names, records = open_cells(bytes(body), "the body", () if header else self._signature.field_names)
        columns: dict[str, list[str]] = {name: [] for name in names}
        while chunk := [cells for _, cells in islice(records, _CHUNK_ROWS)]:
            for column, cells in zip(columns.values(), zip(*chunk, strict=True), strict=True):
                column += cells
        return from_cell_columns(self._signature, columns)

    def encode(self, outputs: Sequence[Array]) -> bytes:
        """A header and a line a row; missing values are empty."""
        return self._write(outputs, full=False)

    def encode_full(self, outputs: Sequence[Array]) -> bytes:
        """The same with a column a class."""
        return self._write(outputs, full=True)

    def _write(self, outputs: Sequence[Array], *, full: bool) -> bytes:
        return write_lines({name: values(array) for name, array in self._table.flat(outputs, full=full)}).encode()


def write_lines(columns: Mapping[str, Sequence[Any]]) -> str:
    """A header and a line a row of these columns; None is empty, truth values are ``true`` and ``false``."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(zip(*(texts(column) for column in columns.values()), strict=True))
    return out.getvalue()


def values(array: Array) -> list[Any]:
    """One value a row: float32 in its own shortest form; NaN and infinity are nothing, as in JSON."""
    told: list[Any] = orjson.loads(dump_array(array))
    return told


def texts(column: Sequence[Any]) -> Sequence[Any]:
    """The column with its truth values as text forms write them."""
    return [_TRUTH[item] if isinstance(item, bool) else item for item in column]
