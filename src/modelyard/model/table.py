"""A CSV file to a table: `lab` learns from it, `convert` samples from it; every way a file can be wrong is named.

Cells become values by the rules of `core.rows`, so that what training took for missing is missing at prediction too.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import InvalidData, MissingExtra, NotFound, TooLarge
from modelyard.core.rows import is_missing, parse_number
from modelyard.model.bundle import sha256

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = ",;\t"
MAX_COLUMNS = 1_000_000
MAX_BYTES = 256 << 20  # the table is held in memory as text and as values: some twenty times its bytes
_INT64 = 1 << 63
_BOOLEANS = {"true": True, "false": False}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True)
class Cells:
    """A CSV file as text: its header, and its rows, each with exactly one cell per column.

    Parameters
    ----------
    header : tuple of str
        Column names, stripped; distinct. A nameless column is called ``Unnamed: 0`` by its position, as pandas does.
    rows : list of list of str
        Cells as written.
    lines : list of int
        Where each row ends in the file, counted from 1.
    """

    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]


@dataclass(frozen=True)
class Table:
    """A CSV file as values.

    Parameters
    ----------
    frame : DataFrame
        Numbers as float64 or int64, booleans as bool (object where some are missing), all else as text; NaN is missing.
    name : str
        Base name of the file.
    sha256 : str
        Of the file's bytes.
    """

    frame: pd.DataFrame
    name: str
    sha256: str


def read_table(path: Path, *, min_rows: int = 1) -> Table:
    """The CSV at `path` with at least `min_rows` rows under its header.

    Raises
    ------
    NotFound
        There is no such file.
    InvalidData
        Empty, header only, too few rows, ragged, two columns of one name, not UTF-8, broken quotes, decimal commas.
    TooLarge
        More than `MAX_BYTES`.
    MissingExtra
        pandas is not installed.
    """
    try:
        import pandas as pd  # noqa: PLC0415 - heavy, optional, and only needed once there is something to read
    except ImportError as exc:
        raise MissingExtra(what="reading a CSV as a table", library="pandas", extra="train") from exc
    raw = read_bytes(path)
    cells = parse_cells(raw, path.name)
    if len(cells.rows) < min_rows:
        raise InvalidData(
            what=f"{path.name} has {_rows(len(cells.rows))} under its header; at least {min_rows} are needed",
            hint="give a CSV with more rows",
        )
    columns = list(zip(*cells.rows, strict=True))
    series = {
        name: pd.Series(_values(name, columns[at], cells.lines, path.name)) for at, name in enumerate(cells.header)
    }
    return Table(frame=pd.DataFrame(series), name=path.name, sha256=sha256(raw))


def read_bytes(path: Path) -> bytes:
    """The bytes of a data file; `NotFound`, `InvalidData` or `TooLarge` when there is nothing usable."""
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise TooLarge(what="data file", limit="256 MiB", hint="take a random sample of its rows")
        return path.read_bytes()
    except FileNotFoundError as exc:
        beside = [other.name for other in path.parent.glob("*.csv")] if path.parent.is_dir() else []
        raise NotFound(what="file", name=path.name, known=sorted(beside)) from exc
    except OSError as exc:
        raise InvalidData(what=f"cannot read {path.name}: {exc.strerror}", hint="give a CSV file") from exc


def parse_cells(raw: bytes, name: str) -> Cells:
    """Header and rows of a CSV's bytes: UTF-8 with or without a mark, split at ``,``, ``;`` or tab, whichever fits.

    Parameters
    ----------
    raw : bytes
        The whole file.
    name : str
        What to call it in errors.

    Raises
    ------
    InvalidData
        See `read_table`.
    """
    header, records = open_cells(raw, name)
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, row in records:
        rows.append(row)
        lines.append(line)
    if not rows:
        raise InvalidData(what=f"{name} has a header and no rows", hint="give a CSV with rows under its header")
    return Cells(header=header, rows=rows, lines=lines)


def open_cells(
    raw: bytes, name: str, columns: Sequence[str] = ()
) -> tuple[tuple[str, ...], Iterator[tuple[int, list[str]]]]:
    """The header of a CSV's bytes, and its rows one by one, each with the line it ends in; else as `parse_cells`.

    With `columns` there is no header line: these are the names, and cells are split at commas.
    """
    text = _decode(raw, name)
    if not text.strip():
        raise InvalidData(what=f"{name} is empty", hint="give a CSV with a header line and rows under it")
    records = _records(text, "," if columns else sniff(text), name)
    header = tuple(columns) or header_names(next(records)[1], name)
    return header, _even(records, len(header), name)


def _even(records: Iterator[tuple[int, list[str]]], width: int, name: str) -> Iterator[tuple[int, list[str]]]:
    for line, row in records:
        if len(row) != width:
            raise InvalidData(
                what=f"{name}, line {line}: {_count(len(row), 'cell')}, the header has {width}",
                hint="mend that line; a cell with a delimiter in it needs quotes around it",
            )
        yield line, row


def sniff(text: str) -> str:
    """The delimiter that splits the header into most cells; a comma when none does."""
    start = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    try:
        widths = {delimiter: len(next(csv.reader([start], delimiter=delimiter))) for delimiter in DELIMITERS}
    except csv.Error:  # a cell that is too long: whoever reads on says so
        return ","
    return max(DELIMITERS, key=widths.__getitem__)


def require_column(columns: Sequence[str], name: str) -> None:
    """`NotFound`, with the name that was probably meant, unless the table has a column `name`."""
    if name in columns:
        return
    if all(parse_number(column) is not None for column in columns):
        raise NotFound(
            what="column",
            name=name,
            known=columns,
            cause="the first line holds only numbers: a CSV needs a header line with the columns' names",
        )
    raise NotFound(what="column", name=name, known=columns)


def _decode(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise InvalidData(
            what=f"{name} is not UTF-8 text (line {line})",
            cause=f"byte 0x{raw[exc.start]:02x} cannot stand there; it may be another encoding, or not a CSV at all",
            hint=f"iconv -f windows-1252 -t utf-8 {name} > utf8.csv",
        ) from exc
    if "\0" in text:
        raise InvalidData(what=f"{name} is not text: it holds NUL bytes", hint="give a CSV file")
    return text


def _records(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as exc:
        raise InvalidData(
            what=f"{name}, line {reader.line_num}: {exc}", hint="mend the quotes: every opened one must be closed"
        ) from exc


def header_names(cells: Sequence[str], name: str) -> tuple[str, ...]:
    """The columns' names: stripped, nameless ones called by their position; `InvalidData` when two are the same."""
    if len(cells) > MAX_COLUMNS:
        raise InvalidData(
            what=f"{name} has {len(cells)} columns; {MAX_COLUMNS} are the most", hint="give fewer columns"
        )
    header = tuple(cell.strip() or f"Unnamed: {at}" for at, cell in enumerate(cells))
    twice = sorted(column for column, times in Counter(header).items() if times > 1)
    if twice:
        raise InvalidData(
            what=f"{name} has more than one column {twice[0][:80]!r}", hint="give every column its own name"
        )
    return header


def _values(column: str, cells: Sequence[str], lines: Sequence[int], name: str) -> list[Any]:
    """One column's values, of the narrowest kind that fits all its cells: numbers, truth values, text."""
    plain = _plain_numbers(cells)
    if plain is not None:
        return plain
    distinct = set(cells)  # each text is looked at once, however often it occurs
    present = {cell for cell in distinct if not is_missing(cell)}
    for parse in (_numbers, _booleans):
        found = {cell: parse(cell.strip()) for cell in present}
        if None not in found.values():
            return [found.get(cell, math.nan) for cell in cells]
    _refuse_decimal_commas(column, present, cells, lines, name)
    return [cell if cell in present else math.nan for cell in cells]


def _plain_numbers(cells: Sequence[str]) -> list[Any] | None:
    """The numbers of a column in which every cell is one, as most are; tenfold faster than cell by cell."""
    if any("_" in cell for cell in cells):
        return None
    try:
        whole = list(map(int, cells))
    except ValueError:
        whole = []
    if whole and min(whole) >= -_INT64 and max(whole) < _INT64:
        return whole
    try:
        return list(map(float, cells))
    except ValueError:
        return None


def _numbers(text: str) -> int | float | None:
    number = parse_number(text)
    return float(text) if isinstance(number, int) and not -_INT64 <= number < _INT64 else number


def _booleans(text: str) -> bool | None:
    """Only true and false: a column of yes and no stays two categories, as its author wrote it."""
    return _BOOLEANS.get(text.lower())


def _refuse_decimal_commas(
    column: str, present: set[str], cells: Sequence[str], lines: Sequence[int], name: str
) -> None:
    """A whole column of ``1,5`` is numbers to its author and would be text to us."""
    if all(_DECIMAL_COMMA.fullmatch(cell.strip()) or parse_number(cell.strip()) is not None for cell in present):
        at = next(at for at, cell in enumerate(cells) if "," in cell)
        raise InvalidData(
            what=f"{name}, line {lines[at]}: column {column!r} writes numbers with a comma ({cells[at].strip()!r})",
            hint="write them with a point and without thousands separators: 1234.5",
        )


def _rows(count: int) -> str:
    return _count(count, "row")


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
