"""MessagePack: JSON's documents, and what only MessagePack can say."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from modelyard.core.errors import InvalidRequest, ModelyardError, WrongType
from modelyard.serve.http.forms.packed import MessagePackForm, shortest
from modelyard.serve.http.forms.rows import RowForm
from tests.models import image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.hostile import same

LINEAR, MIXED = linear_signature(("a", "b")), mixed_signature()
FORM = MessagePackForm(LINEAR, "m", 1)
pack = msgspec.msgpack.encode


@pytest.mark.parametrize(
    "document", [{"a": 1, "b": 2.5}, [{"a": 1, "b": 2}] * 3, {"a": [1, 2], "b": [3, 4.5]}, {}, [], 3]
)
def test_it_reads_what_json_reads(document: Any) -> None:
    want: Any
    try:
        want = RowForm(LINEAR, "m", 1).decode(msgspec.json.encode(document))
    except ModelyardError as exc:
        want = exc
    if isinstance(want, ModelyardError):
        with pytest.raises(type(want)) as caught:
            FORM.decode(pack(document))
        assert caught.value.detail == want.detail
    else:
        assert same(FORM.decode(pack(document)), want)


@pytest.mark.parametrize(
    ("value", "got"),
    [(b"1", "bytes"), (datetime(2026, 1, 1, tzinfo=UTC), "an object"), (msgspec.msgpack.Ext(7, b"x"), "an object")],
)
def test_what_json_has_not_is_no_value(value: Any, got: str) -> None:
    with pytest.raises(WrongType) as caught:
        FORM.decode(pack({"a": value, "b": 1}))
    assert caught.value.facts["got"] == got


def test_narrow_floats_and_many_fields() -> None:
    assert FORM.decode(b"\x82\xa1a\xca\x3f\x00\x00\x00\xa1b\xcd\x01\x00")[0].tolist() == [[0.5, 256.0]]
    names = tuple(f"f{at}" for at in range(20))
    assert MessagePackForm(linear_signature(names), "m", 1).decode(pack(dict.fromkeys(names, 1)))[0].shape == (1, 20)


@pytest.mark.parametrize(
    "body",
    [
        b"\x83\xa1a\x01\xa1a\x02\xa1b\x03",
        b"\x91\x83\xa1a\x01\xa1b\x02\xa1b\x03",
        b"\xde\x00\x03\xa1a\x01\xa1a\x02\xa1b\x03",
        b"\xdf\x00\x00\x00\x03\xa1a\x01\xa1a\x02\xa1b\x03",
    ],
)
def test_nothing_is_said_twice(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        FORM.decode(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\xf0\x00\x00" * 900 + b"\xc0" * (1 << 20),
        b"\xc1",
        b"\x81\x80\x01",
    ],
    ids=["deep", "4 billion", "lists that promise", "never used", "an object as a name"],
)
def test_hostile_bodies(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        FORM.decode(body)


def test_answers() -> None:
    outputs = [np.array(["small", "big"], dtype=object), np.array([[0.1, 0.9], [math.nan, math.inf]], dtype=np.float32)]
    form = MessagePackForm(MIXED, "m", 2)
    assert msgspec.msgpack.decode(form.encode(outputs)) == {"prediction": ["small", "big"]}
    full = msgspec.msgpack.decode(form.encode_full(outputs))
    assert (full["model"], full["version"]) == ("m", 2)
    assert full["probabilities"][0] == {"small": 0.1, "big": 0.9}
    assert math.isnan(full["probabilities"][1]["small"])
    assert full["probabilities"][1]["big"] == math.inf
    several = MessagePackForm(image_bundle().manifest.signature, "m", 1)
    outputs = [np.array([1.5], dtype=np.float32), np.array([[[2.5]]], dtype=np.float32)]
    assert msgspec.msgpack.decode(several.encode(outputs)) == {"prediction": [{"mean": 1.5, "peak": [[2.5]]}]}


def test_short_floats_are_the_same_floats() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        array = np.array([0.1, -0.0, np.inf, -np.inf, np.nan, 1e-7, 65504], dtype=dtype).reshape(1, 7)
        found = shortest(array)
        assert found.dtype == np.float64
        assert found.astype(dtype).tobytes() == array.tobytes()
        assert found[0, 0] == 0.1 or dtype is np.float16
