"""Raw tensors: what was written is read again, and nothing else is."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelyard.core.errors import InvalidRequest, ModelyardError, WrongShape
from modelyard.core.tensor import (
    Array,
    Arrays,
    Datatype,
    Packed,
    decode_raw,
    element_count,
    encode_raw,
    joined,
    narrowed,
)

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Datatype, Array]:
    datatype = draw(st.sampled_from(list(Datatype)))
    shape = draw(SHAPES)
    if datatype is Datatype.BYTES:
        texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=5)
        return datatype, draw(hnp.arrays(object, shape, elements=texts, fill=st.nothing()))
    return datatype, draw(hnp.arrays(datatype.dtype, shape))


@given(tensors())
@settings(deadline=None, max_examples=100)
def test_what_was_encoded_is_decoded(case: tuple[Datatype, Array]) -> None:
    datatype, array = case
    raw = encode_raw(array, datatype)
    if datatype is not Datatype.BYTES:
        assert len(raw) == element_count(array.shape) * datatype.size_bytes
    back = decode_raw(memoryview(raw), datatype, array.shape, "x")
    assert back.dtype == datatype.dtype
    assert back.shape == array.shape
    assert encode_raw(back, datatype) == raw
    assert back.tolist() == array.tolist() or datatype.is_float  # NaN differs from itself


@given(st.sampled_from(list(Datatype)), st.binary(max_size=40), SHAPES)
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_tensor_or_refused_by_name(datatype: Datatype, raw: bytes, shape: tuple[int, ...]) -> None:
    try:
        array = decode_raw(raw, datatype, shape, "pixels")
    except ModelyardError as exc:
        problem = exc.detail
    else:
        problem = "pixels"
        assert array.shape == shape
        assert encode_raw(array, datatype) == raw
    assert "pixels" in problem


@pytest.mark.parametrize("length", [0, 3, 5, 8])
def test_too_short_and_too_long(length: int) -> None:
    with pytest.raises(WrongShape, match=r"needs 4 bytes"):
        decode_raw(b"\0" * length, Datatype.FP32, (1,), "x")


def test_a_bool_is_zero_or_one() -> None:
    assert decode_raw(b"\0\1", Datatype.BOOL, (2,), "x").tolist() == [False, True]
    with pytest.raises(InvalidRequest, match="must be 0 or 1"):
        decode_raw(b"\0\2", Datatype.BOOL, (2,), "x")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\x01\0\0", "cut off"),
        (b"\x05\0\0\0abc", "cut off"),
        (b"\xff\xff\xff\xffabc", "cut off"),
        (b"\x01\0\0\0\xff", "not UTF-8"),
        (b"\x03\0\0\0\xed\xa0\x80", "not UTF-8"),
        (b"", "holds 0"),
        (b"\x01\0\0\0a\x01\0\0\0b", "holds 2"),
    ],
)
def test_broken_strings(raw: bytes, problem: str) -> None:
    with pytest.raises(ModelyardError, match=problem):
        decode_raw(raw, Datatype.BYTES, (1,), "x")


def test_bytes_elements_are_written_as_they_are() -> None:
    array = np.array([b"\x00\xff", "é"], dtype=object)
    assert encode_raw(array, Datatype.BYTES) == b"\x02\0\0\0\x00\xff\x02\0\0\0\xc3\xa9"


def test_numbers_share_the_memory_they_came_in() -> None:
    raw = bytearray(8)
    array = decode_raw(memoryview(raw), Datatype.FP32, (2,), "x")
    raw[:4] = np.float32(7).tobytes()
    assert array[0] == 7


def test_element_count_is_exact() -> None:
    assert element_count(()) == 1
    assert element_count((0, 5)) == 0
    assert element_count((2**40, 2**40)) == 2**80


@pytest.mark.parametrize("datatype", list(Datatype))
def test_datatypes_know_themselves(datatype: Datatype) -> None:
    kinds = [datatype.is_float, datatype.is_integer, datatype is Datatype.BOOL, datatype is Datatype.BYTES]
    assert sum(kinds) == 1
    sizes = {Datatype.BYTES: 0, Datatype.BF16: 2}
    assert datatype.size_bytes == sizes.get(datatype, datatype.dtype.itemsize)
    assert datatype.dtype.byteorder in "<|="
    assert datatype.carried.dtype == datatype.dtype
    assert (datatype.step > 0) == datatype.is_float
    assert datatype.in_json == (datatype not in {Datatype.FP16, Datatype.BF16})


@pytest.mark.parametrize("datatype", [Datatype.FP16, Datatype.FP32, Datatype.FP64])
def test_the_step_is_what_numpy_says(datatype: Datatype) -> None:
    assert datatype.step == np.finfo(datatype.dtype).eps


# --- BF16: the upper half of a float32 ----------------------------------------------------------------------------


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32)))
@settings(deadline=None, max_examples=200)
def test_bf16_is_rounded_as_a_second_implementation_does(array: Array) -> None:
    with np.errstate(invalid="ignore"):
        theirs = array.astype(ml_dtypes.bfloat16)
    ours = decode_raw(encode_raw(array, Datatype.BF16), Datatype.BF16, array.shape, "x")
    np.testing.assert_array_equal(ours, theirs.astype(np.float32))
    np.testing.assert_array_equal(narrowed(array, Datatype.BF16), ours)
    assert not (ours.view(np.uint32) & 0xFFFF).any()


@pytest.mark.parametrize(
    ("number", "bits"),
    [
        (1.0, 0x3F80),
        (1 + 2**-8, 0x3F80),  # half way, to the even one below
        (1 + 3 * 2**-8, 0x3F82),  # half way, to the even one above
        (1 + 2**-8 + 2**-20, 0x3F81),
        (-0.0, 0x8000),
        (3.3895314e38, 0x7F7F),
        (3.4e38, 0x7F80),
        (float("-inf"), 0xFF80),
        (9.1835e-41, 0x0001),
    ],
)
def test_bf16_by_hand(number: float, bits: int) -> None:
    assert encode_raw(np.array([number], np.float32), Datatype.BF16) == bits.to_bytes(2, "little")


def test_every_bf16_survives_the_wire() -> None:
    raw = np.arange(1 << 16, dtype="<u2").tobytes()
    assert encode_raw(decode_raw(raw, Datatype.BF16, (1 << 16,), "x"), Datatype.BF16) == raw


def test_what_is_too_large_turns_infinite() -> None:
    assert narrowed(np.array([1e39, -1e39]), Datatype.FP32).tolist() == [np.inf, -np.inf]
    assert narrowed(np.array([3.397e38, 3.3896e38]), Datatype.BF16).tolist() == [np.inf, 3.3895313892515355e38]
    assert narrowed(np.array([7e4, 1]), Datatype.FP16).tolist() == [np.inf, 1]
    assert narrowed(np.array(1.003), Datatype.BF16).shape == ()


# --- rows that meet ---------------------------------------------------------------------------------------------------


def packed(array: Array) -> Packed:
    return Packed(array.tobytes(), array.shape, array.dtype)


def any_bits(chance: np.random.Generator, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    """Every bit pattern may be among them, NaN of any payload too."""
    raw = chance.bytes(element_count(shape) * datatype.size_bytes)
    return np.ndarray(shape, datatype.dtype, raw)


def alike(got: Array, want: Array) -> bool:
    return (got.dtype, got.shape, got.tobytes()) == (want.dtype, want.shape, want.tobytes())


@given(
    st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=8),
    st.sampled_from([(), (1,), (3,), (2, 3)]),
    st.sampled_from([Datatype.FP64, Datatype.FP32, Datatype.INT64, Datatype.UINT8]),
    st.integers(0, 1 << 32),
)
@settings(deadline=None, max_examples=200)
def test_packed_or_not_rows_are_joined_as_numpy_does(
    parts: list[tuple[int, bool]], axes: tuple[int, ...], datatype: Datatype, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    arrays = [any_bits(chance, datatype, (rows, *axes)) for rows, _ in parts]
    given = [packed(array) if pack else (array,) for array, (_, pack) in zip(arrays, parts, strict=True)]
    (got,) = joined(given)
    assert alike(got, np.concatenate(arrays))


def test_every_input_is_joined_by_itself() -> None:
    texts = [np.array([[text]], dtype=object) for text in ("ä", "", "c")]
    numbers = [np.full((1, 2), value) for value in (1.0, 2.0, 3.0)]
    got = joined(list(zip(texts, numbers, strict=True)))
    assert [array.tolist() for array in got] == [[["ä"], [""], ["c"]], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]]


def test_who_is_alone_stays_as_they_are() -> None:
    one, other = np.ones((2, 3)), np.zeros((2, 1))
    assert [id(array) for array in joined([(one, other)])] == [id(one), id(other)]
    (got,) = joined([packed(one)])
    assert alike(got, one)


def test_what_is_packed_is_a_sequence_of_one_array() -> None:
    array = np.arange(6.0).reshape(2, 3)
    question: Arrays = packed(array)
    assert len(question) == 1
    for found in (question[0], question[-1], *question, *tuple(question)):
        assert alike(found, array)
        assert not found.flags.writeable  # its bytes are everybody's
    for at in (1, -2, 7):
        with pytest.raises(IndexError):
            question[at]
    with pytest.raises(AttributeError, match="immutable"):
        question.raw = b""  # type: ignore[union-attr, misc]
