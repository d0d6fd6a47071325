from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from modelyard.client.load import questions as module
from modelyard.client.load.questions import (
    Body,
    batches,
    parse_address,
    parse_header,
    prepare,
    read_body,
    read_cells,
    read_rows,
    wrap,
)
from modelyard.client.load.step import Place
from modelyard.core.errors import InvalidData, InvalidRequest, NotFound


@pytest.mark.parametrize(
    ("url", "place", "path"),
    [
        ("http://127.0.0.1:8080/predict", Place("127.0.0.1", 8080), "/predict"),
        ("http://localhost", Place("localhost", 80), ""),
        ("https://host/a/b?c=d", Place("host", 443, tls=True), "/a/b?c=d"),
        ("http://[::1]:81/", Place("::1", 81), "/"),
    ],
)
def test_addresses(url: str, place: Place, path: str) -> None:
    address = parse_address(url)
    assert (address.place, address.path) == (place, path)
    assert parse_address(address.url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x",
        "http://",
        "http://x:99999/",
        "http://x:y/",
        "http://u:p@x/",
        "http://x/a b",
        "http://x/\r\ny",
        "http://x/é",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_address(url)


def test_headers() -> None:
    assert parse_header("Authorization: Bearer a:b") == ("authorization", "Bearer a:b")
    assert parse_header("x-empty:") == ("x-empty", "")


@pytest.mark.parametrize(
    "text", ["novalue", ": x", "a b: c", "a: b\r\nc: d", "a: é", "Content-Length: 3", "connection: close", ""]
)
def test_what_is_no_header(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_header(text)


def test_requests_as_they_are_sent() -> None:
    address = parse_address("http://[::1]:81/predict?detail=full")
    (question,) = prepare(address, [Body(b'{"a":1}')], {"x-id": "7", "content-type": "text/json"})
    assert question.request == (
        b"POST /predict?detail=full HTTP/1.1\r\nhost: [::1]:81\r\ncontent-type: text/json\r\nx-id: 7\r\n"
        b"content-length: 7\r\n\r\n" + b'{"a":1}'
    )


def test_large_questions_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 25)
    address = parse_address("http://h/predict")
    assert len(prepare(address, [Body(b"x" * 10)] * 5, {})) == 2
    assert len(prepare(address, [Body(b"x" * 100)] * 5, {})) == 1


@pytest.mark.parametrize(
    ("path", "rows", "document"),
    [
        ("/predict", [{"a": 1}], {"a": 1}),
        ("/predict?detail=full", [{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
        ("/v1/models/x:predict", [{"a": 1}], {"instances": [{"a": 1}]}),
        ("/invocations", [{"a": 1}], {"dataframe_records": [{"a": 1}]}),
    ],
)
def test_rows_as_the_contract_takes_them(path: str, rows: list[dict[str, Any]], document: Any) -> None:
    assert orjson.loads(wrap(path, rows).content) == document


def test_tensors_are_not_made_of_rows() -> None:
    with pytest.raises(InvalidRequest, match="tensors"):
        wrap("/v2/models/x/infer", [{"a": 1}])


def test_batches_go_round() -> None:
    assert batches([1, 2, 3], 1) == [[1], [2], [3]]
    assert batches([1, 2, 3], 4) == [[1, 2, 3, 1], [2, 3, 1, 2], [3, 1, 2, 3]]
    assert len(batches(range(5_000), 1)) == 1_000


def test_files_of_rows(tmp_path: Path) -> None:
    files = {
        "rows.csv": ("a,b,c\n1,2.5,x\n,nan,1_0\n", [{"a": 1, "b": 2.5, "c": "x"}, {"a": None, "b": None, "c": "1_0"}]),
        "rows.json": ('[{"a": 1}, {"a": null}]', [{"a": 1}, {"a": None}]),
        "row.json": ('{"a": 1}', [{"a": 1}]),
        "rows.jsonl": ('{"a": 1}\n\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
    }
    for name, (text, rows) in files.items():
        (tmp_path / name).write_text(text)
        assert read_rows(tmp_path / name) == rows
    assert read_cells(tmp_path / "rows.csv")[0] == {"a": "1", "b": "2.5", "c": "x"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", ""),
        ("a.json", "[1]"),
        ("a.json", "[]"),
        ("a.jsonl", "{"),
        ("a.jsonl", "\n"),
        ("a.csv", "a,b\n"),
        ("a.csv", "a,b\n1\n"),
        ("a.csv", "a,b\n1,2,3\n"),
        ("a.csv", 'a\n"x'),
        ("a.csv", "a\n\xff"),
    ],
)
def test_files_that_hold_none(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(InvalidData):
        read_rows(tmp_path / name)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_rows(tmp_path / "nowhere.csv")
    with pytest.raises(InvalidData):
        read_body(tmp_path)


@pytest.mark.parametrize(
    ("name", "media"), [("a.json", "application/json"), ("a.CSV", "text/csv"), ("a", "application/octet-stream")]
)
def test_whole_bodies(tmp_path: Path, name: str, media: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x01")
    assert read_body(tmp_path / name) == Body(b"\x00\x01", media)
