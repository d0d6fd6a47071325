"""JSON documents that have broken servers, and what becomes of a body: arrays, or an error that has a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelyard.core.errors import Kind, ModelyardError
from modelyard.core.tensor import Arrays

ROW = b'{"a": 1, "b": 2}'

HOSTILE: dict[str, bytes] = {
    "depth 50": b"[" * 50 + b"]" * 50,
    "depth 101": b"[" * 101 + b"]" * 101,
    "depth 1500": b'{"a":' * 1_500 + b"1" + b"}" * 1_500,
    "depth 100000": b"[" * 100_000 + b"]" * 100_000,
    "depth 100000 in a field": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b', "b": 2}',
    "depth 100000, never closed": b'{"a":' * 100_000,
    "lone high surrogate": b'{"a": "\\ud800", "b": 2}',
    "lone low surrogate as a name": b'{"\\udc00": 1, "a": 1, "b": 2}',
    "surrogate in UTF-8": b'{"a": "\xed\xa0\x80", "b": 2}',
    "not UTF-8": b'{"a": "\xff", "b": 2}',
    "byte order mark": b"\xef\xbb\xbf" + ROW,
    "UTF-16": ROW.decode().encode("utf-16"),
    "NUL": b'{"a": 1\x00, "b": 2}',
    "NUL after": ROW + b"\x00",
    "5000 digits": b'{"a": ' + b"9" * 5_000 + b', "b": 2}',
    "NaN": b'{"a": NaN, "b": 2}',
    "Infinity": b'{"a": -Infinity, "b": 2}',
    "1e400": b'{"a": 1e400, "b": 2}',
    "unterminated": b'{"a": 1, "b": ',
    "unterminated text": b'{"a": "1',
    "trailing garbage": ROW + b" x",
    "two documents": ROW + ROW,
    "single quotes": b"{'a': 1, 'b': 2}",
    "trailing comma": b'{"a": 1, "b": 2,}',
    "comment": b'{"a": 1, /* no */ "b": 2}',
    "leading zero": b'{"a": 01, "b": 2}',
    "plus": b'{"a": +1, "b": 2}',
    "hexadecimal": b'{"a": 0x1, "b": 2}',
    "empty": b"",
    "blank": b" \n",
    "a number": b"3",
    "null": b"null",
    "true": b"true",
    "text": b'"a"',
}


def outcome(decode: Callable[[], Any]) -> Any:
    """What was decoded, or the error; it must be the caller's fault and speak in a short sentence."""
    try:
        return decode()
    except ModelyardError as exc:
        error = exc
    assert error.kind in {Kind.INVALID, Kind.UNSUPPORTED}, error
    assert 0 < len(error.detail) < 1_000
    return error


def same(one: Arrays, other: Arrays) -> bool:
    """Whether two arranged requests are the same, type and bytes; NaN is itself."""
    return all(
        a.dtype == b.dtype
        and a.shape == b.shape
        and (a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes())
        for a, b in zip(one, other, strict=True)
    )
