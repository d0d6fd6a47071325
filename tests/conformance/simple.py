"""The friendly API by the libraries that people have their rows in: pandas, pyarrow, NumPy, MessagePack, XML, csv."""

from __future__ import annotations

import csv
import io
import json
from http.client import HTTPConnection
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.acceptance.serving import Served
from tests.conformance import check

MIXED: list[dict[str, Any]] = [
    {"species": "adelie", "length": 3.0, "mass": 3.5},
    {"species": "gentoo", "length": 5.5, "mass": None},
    {"species": "chinstrap", "length": 1.0, "mass": 6.25},
]
WORDS = ["small", "big", "small"]
PARQUET = "application/vnd.apache.parquet"
STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
PACKED = "application/vnd.msgpack"
NPY = "application/x-npy"


def post(server: Served, path: str, body: bytes, kind: str, accept: str = "") -> bytes:
    headers = {"content-type": kind} | ({"accept": accept} if accept else {})
    status, told, answer = server.ask("POST", f"/models/{path}", body, headers)
    assert status == 200, answer
    assert told["content-type"].startswith(accept or kind)
    return answer


@check(client="pandas", feature="to_csv, read_csv")
def pandas_csv(server: Served) -> None:
    text = pd.DataFrame(MIXED).to_csv(index=False)
    answer = pd.read_csv(io.BytesIO(post(server, "mixed/predict?detail=full", text.encode(), "text/csv")))
    assert answer["prediction"].tolist() == WORDS
    assert np.allclose(answer["probability_small"] + answer["probability_big"], 1)


@check(client="pandas", feature="to_parquet, read_parquet")
def pandas_parquet(server: Served) -> None:
    body = io.BytesIO()
    pd.DataFrame(MIXED).astype({"species": "category"}).to_parquet(body)
    answer = pd.read_parquet(io.BytesIO(post(server, "mixed/predict", body.getvalue(), PARQUET)))
    assert answer["prediction"].tolist() == WORDS


@check(client="pandas", feature="to_feather, read_feather")
def pandas_feather(server: Served) -> None:
    body = io.BytesIO()
    pd.DataFrame(MIXED).to_feather(body)
    answer = pd.read_feather(io.BytesIO(post(server, "mixed/predict", body.getvalue(), FILE)))
    assert answer["prediction"].tolist() == WORDS


@check(client="pyarrow", feature="stream in, stream out")
def arrow_stream(server: Served) -> None:
    table = pa.Table.from_pylist(MIXED)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    answer = pa.ipc.open_stream(post(server, "mixed/predict", bytes(sink.getvalue()), STREAM)).read_all()
    answer.validate(full=True)
    assert answer["prediction"].to_pylist() == WORDS


@check(client="pyarrow", feature="lists as a tensor, Parquet out")
def arrow_tensor(server: Served) -> None:
    pictures = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": pictures.tolist()}), sink)
    answer = pq.read_table(pa.py_buffer(post(server, "image/predict", bytes(sink.getvalue()), PARQUET)))
    assert answer["mean"].to_pylist() == [5.5, 17.5]


@check(client="numpy", feature="save, load")
def numpy_file(server: Served) -> None:
    body = io.BytesIO()
    np.save(body, np.asfortranarray(np.array([[1], [2]], dtype=">i4")))
    answer = np.load(io.BytesIO(post(server, "linear/predict", body.getvalue(), NPY)))
    assert answer.tolist() == [2.0, 4.0]


@check(client="msgspec", feature="MessagePack in and out")
def message_pack(server: Served) -> None:
    answer = msgspec.msgpack.decode(post(server, "mixed/predict", msgspec.msgpack.encode(MIXED), PACKED))
    assert answer == {"prediction": WORDS}


@check(client="xml.etree", feature="XML in and out, errors in XML")
def xml(server: Served) -> None:
    root = ElementTree.Element("rows")
    for row in MIXED:
        element = ElementTree.SubElement(root, "row")
        for name, value in row.items():
            ElementTree.SubElement(element, "field", name=name).text = None if value is None else str(value)
    answer = ElementTree.fromstring(post(server, "mixed/predict", ElementTree.tostring(root), "application/xml"))
    assert [field.text for field in answer.iter("field")] == WORDS
    status, headers, body = server.ask("POST", "/models/mixed/predict", b"<rows/>", {"content-type": "application/xml"})
    assert (status, headers["content-type"]) == (400, "application/problem+xml")
    assert ElementTree.fromstring(body).findtext("{urn:ietf:rfc:7807}code") == "INPUT-NO-ROWS"


@check(client="csv", feature="every dialect that a header tells")
def dialects(server: Served) -> None:
    for delimiter in ",;\t":
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(MIXED[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(MIXED)
        answer = post(server, "mixed/predict", out.getvalue().encode(), "text/csv")
        assert list(csv.reader(io.StringIO(answer.decode(), newline=""))) == [
            ["prediction"],
            *([word] for word in WORDS),
        ]


@check(client="http.client", feature="Accept, 406, 415, compressed bodies on one connection")
def negotiation(server: Served) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        for headers, status in (
            ({"accept": "text/csv;q=0.9, application/json;q=0.8"}, 200),
            ({"accept": "image/png"}, 406),
            ({"content-type": "image/png"}, 415),
            ({"content-type": "text/csv", "content-encoding": "gzip"}, 400),
            ({"content-type": "application/vnd.apache.parquet"}, 400),
            ({"accept": "*/*"}, 200),
        ):
            connection.request("POST", "/models/linear/predict", json.dumps({"feature": 3}), headers)
            response = connection.getresponse()
            response.read()
            assert response.status == status, headers
    finally:
        connection.close()
