from __future__ import annotations

import pytest

from modelyard.client.load.verdict import alike


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (b"\x00\xff", b"\x00\xff"),
        (b'{"a": 1, "b": [2.0]}', b'{"b":[2.00001],"a":1}'),
        (b"[1]", b"[1.0]"),
        (b"[0.0]", b"[0.00009]"),
        (b"[1e9]", b"[1.00001e9]"),
        (b'["x", null, true]', b'["x",null,true]'),
    ],
)
def test_the_same(wanted: bytes, given: bytes) -> None:
    assert alike(wanted, given)


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (b"\x00\xff", b"\x00\xfe"),
        (b"[1]", b"[true]"),
        (b"[1.0]", b"[1.001]"),
        (b"[0.0]", b"[0.001]"),
        (b"[1,2]", b"[1]"),
        (b"[1,2]", b"[2,1]"),
        (b'{"a":1}', b'{"a":1,"b":2}'),
        (b'["x"]', b'["y"]'),
        (b"[null]", b"[0]"),
        (b"[1]", b"[1"),
        (b"[1]", b""),
        (b"[1]", b'{"0":1}'),
    ],
)
def test_not_the_same(wanted: bytes, given: bytes) -> None:
    assert not alike(wanted, given)
