"""The same rows in every form, written by the libraries that clients use."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core.signature import FeatureKind, Signature
from modelyard.core.tensor import Datatype

Rows = Sequence[Mapping[str, Any]]
_ARROW = {
    FeatureKind.NUMBER: pa.float64(),
    FeatureKind.INTEGER: pa.int64(),
    FeatureKind.BOOLEAN: pa.bool_(),
    FeatureKind.CATEGORY: pa.string(),
    FeatureKind.TEXT: pa.string(),
}


def _cell(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def as_csv(signature: Signature, rows: Rows) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(signature.field_names)
    writer.writerows([_cell(row.get(name)) for name in signature.field_names] for row in rows)
    return out.getvalue().encode()


def as_xml(signature: Signature, rows: Rows) -> bytes:
    del signature
    root = ElementTree.Element("rows")
    for row in rows:
        element = ElementTree.SubElement(root, "row")
        for name, value in row.items():
            ElementTree.SubElement(element, "field", name=name).text = _cell(value)
    found: bytes = ElementTree.tostring(root, encoding="utf-8")
    return found


def as_msgpack(signature: Signature, rows: Rows) -> bytes:
    del signature
    return msgspec.msgpack.encode(list(rows))


def table(signature: Signature, rows: Rows) -> pa.Table:
    columns, names = [], []
    for spec in signature.inputs:
        for feature in spec.features:
            names.append(feature.name)
            columns.append(pa.array([row.get(feature.name) for row in rows], _ARROW[feature.kind]))
        if not spec.features:
            names.append(spec.name)
            columns.append(pa.array([row[spec.name] for row in rows]))
    return pa.table(columns, names=names)


def as_parquet(signature: Signature, rows: Rows, **options: Any) -> bytes:
    return parquet(table(signature, rows), **options)


def parquet(content: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(content, out, **options)
    return out.getvalue()


def as_stream(signature: Signature, rows: Rows, **options: Any) -> bytes:
    return ipc(table(signature, rows), **options)


def as_file(signature: Signature, rows: Rows, **options: Any) -> bytes:
    return ipc(table(signature, rows), pa.ipc.new_file, **options)


def ipc(content: pa.Table, make: Callable[..., Any] = pa.ipc.new_stream, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with make(sink, content.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(content)
    return bytes(sink.getvalue())


def as_npy(signature: Signature, rows: Rows) -> bytes:
    """One tensor; a missing number is NaN."""
    (spec,) = signature.inputs
    if spec.features:
        values: Any = [[row.get(feature.name) for feature in spec.features] for row in rows]
    else:
        values = [row[spec.name] for row in rows]
    dtype = "U" if spec.datatype is Datatype.BYTES else None if not spec.datatype.is_float else np.float64
    return npy(np.array(values, dtype=dtype))


def npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


#: How to write rows in each form, by its media type.
WRITERS: dict[str, Callable[[Signature, Rows], bytes]] = {
    "text/csv": as_csv,
    "application/xml": as_xml,
    "application/vnd.msgpack": as_msgpack,
    "application/vnd.apache.parquet": as_parquet,
    "application/vnd.apache.arrow.stream": as_stream,
    "application/vnd.apache.arrow.file": as_file,
    "application/x-npy": as_npy,
}
