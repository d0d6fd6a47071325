""".npy: one array, plain types, an honest header."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from modelyard.core.errors import InvalidRequest, ModelyardError, NoRows, Unsupported, WrongShape, WrongType
from modelyard.core.signature import Signature
from modelyard.serve.http.forms.npy import NpyForm
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.bodies import npy

LINEAR, COUNT, IMAGE = (
    linear_signature(("a", "b")),
    count_bundle().manifest.signature,
    image_bundle().manifest.signature,
)
TABLE = np.arange(6.0).reshape(3, 2)


def read(signature: Signature, array: Any) -> Any:
    (found,) = NpyForm(signature, "m", 1).decode(npy(array))
    return found


@pytest.mark.parametrize("code", ["<f8", ">f8", "<f4", ">f4", "<f2", "<i8", ">i2", "u1", "<u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_in_any_order(code: str, order: Any) -> None:
    found = read(LINEAR, np.asarray(TABLE, dtype=code, order=order))
    assert found.dtype == np.float64
    assert np.array_equal(found, TABLE)


def test_shapes() -> None:
    assert read(COUNT, np.array([1, 2])).tolist() == [[1], [2]]
    assert read(COUNT, np.array([[1], [2]])).tolist() == [[1], [2]]
    assert read(COUNT, np.array([1.0, 2.0])).tolist() == [[1], [2]]
    pictures = np.arange(24, dtype=">f4").reshape(2, 3, 4)
    assert np.array_equal(read(IMAGE, pictures), pictures)
    for array in (TABLE[0], TABLE[:, :1], TABLE[None], np.float64(1.0)):
        with pytest.raises(WrongShape):
            read(LINEAR, array)
    with pytest.raises(NoRows):
        read(LINEAR, TABLE[:0])


@pytest.mark.parametrize(
    "array",
    [
        np.array([[True, False]]),
        np.array([["1", "2"]]),
        np.array([[b"1", b"2"]]),
        np.array([[1j, 2j]]),
        np.array([["2026-01-01", "2026-01-02"]], dtype="M8[D]"),
        np.array([[1, 2]], dtype=[("x", "<i8")]),
    ],
    ids=["truth", "text", "bytes", "complex", "dates", "named"],
)
def test_what_is_no_number(array: Any) -> None:
    with pytest.raises(ModelyardError) as caught:
        read(LINEAR, array)
    assert isinstance(caught.value, (WrongType, InvalidRequest))


def test_fractions_are_no_whole_numbers() -> None:
    with pytest.raises(WrongType):
        read(COUNT, np.array([1.5]))
    with pytest.raises(WrongType):
        read(COUNT, np.array([2**63], dtype=np.uint64))


def header(text: str, version: bytes = b"\x01\x00", data: bytes = b"") -> bytes:
    raw = text.encode("latin-1")
    return b"\x93NUMPY" + version + len(raw).to_bytes(2 if version[0] == 1 else 4, "little") + raw + data


PICKLE = io.BytesIO()
np.save(PICKLE, np.array([{"a": 1}], dtype=object), allow_pickle=True)
HOSTILE = {
    "pickle": PICKLE.getvalue(),
    "version 3": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}", b"\x03\x00", bytes(16)),
    "too large": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2)}"),
    "empty and too large": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 0)}"),
    "no width": header("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000, 2)}"),
    "negative": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2)}"),
    "no shape": header("{'descr': '<f8', 'fortran_order': False, 'shape': 3}"),
    "truth as an axis": header("{'descr': '<f8', 'fortran_order': False, 'shape': (True, 2)}", data=bytes(16)),
    "no order": header("{'descr': '<f8', 'fortran_order': 1, 'shape': (1, 2)}", data=bytes(16)),
    "more members": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), 'x': 1}", data=bytes(16)),
    "code": header("__import__('os').abort()"),
    "deep": header("(" * 5_000),
    "long": header(" " * 20_000, b"\x02\x00"),
    "a list": header("[]"),
    "too short": npy(TABLE)[:-1],
    "too long": npy(TABLE) + b"\0",
    "npz": b"PK\x03\x04",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case: str) -> None:
    with pytest.raises(ModelyardError):
        NpyForm(LINEAR, "m", 1).decode(HOSTILE[case])


def test_one_tensor_in_and_one_out() -> None:
    assert NpyForm.reads(LINEAR)
    assert not NpyForm.reads(mixed_signature())
    assert NpyForm.writes(LINEAR, full=False)
    assert not NpyForm.writes(LINEAR, full=True)
    assert not NpyForm.writes(IMAGE, full=False)
    for refused in (
        lambda: NpyForm(mixed_signature(), "m", 1).decode(npy(TABLE)),
        lambda: NpyForm(IMAGE, "m", 1).encode([TABLE, TABLE]),
        lambda: NpyForm(LINEAR, "m", 1).encode_full([TABLE]),
    ):
        with pytest.raises(Unsupported):
            refused()


def test_answers_read_back() -> None:
    numbers = np.array([[1.5], [np.nan]], dtype=np.float32)
    assert np.array_equal(
        np.load(io.BytesIO(NpyForm(LINEAR, "m", 1).encode([numbers]))), numbers.ravel(), equal_nan=True
    )
    form = NpyForm(mixed_signature(), "m", 1)
    labels = np.array(["small", "größer"], dtype=object)
    assert np.load(io.BytesIO(form.encode([labels, TABLE]))).tolist() == ["small", "größer"]
