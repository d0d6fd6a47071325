"""Columns: what types are taken, what is refused, and files that claim to be more than they are."""

from __future__ import annotations

import decimal
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.core.errors import InvalidRequest, ModelyardError, NoRows, NotANumber, TooLarge, UnknownField, WrongType
from modelyard.core.rows import from_objects
from modelyard.core.signature import Feature, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.serve.http.forms.columnar import ArrowFileForm, ArrowForm, ParquetForm
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.bodies import ipc, parquet
from tests.unit.serve.http.forms.hostile import same

MIXED, LINEAR = mixed_signature(), linear_signature(("a",))
COUNT, IMAGE = count_bundle().manifest.signature, image_bundle().manifest.signature
ROWS: list[dict[str, Any]] = [
    {"species": "adelie", "length": 3.0, "mass": 3.5},
    {"species": "gentoo", "length": 5.5, "mass": None},
    {"species": "adelie", "length": 1.0, "mass": 6.25},
]
TABLE = pa.table({name: [row[name] for row in ROWS] for name in ("mass", "species", "length")})


def read(signature: Signature, content: pa.Table) -> Any:
    """The same through all three forms."""
    found = ParquetForm(signature, "m", 1).decode(parquet(content))
    for other in (
        ArrowForm(signature, "m", 1).decode(ipc(content)),
        ArrowFileForm(signature, "m", 1).decode(ipc(content, pa.ipc.new_file)),
    ):
        assert same(found, other)
    return found


def refusal(signature: Signature, content: pa.Table) -> ModelyardError:
    """The same from both formats."""
    with pytest.raises(ModelyardError) as first:
        ParquetForm(signature, "m", 1).decode(parquet(content))
    with pytest.raises(ModelyardError) as second:
        ArrowForm(signature, "m", 1).decode(ipc(content))
    assert type(first.value) is type(second.value)
    return first.value


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_parquet_as_others_write_it(compression: str, version: str) -> None:
    body = parquet(TABLE, compression=compression, data_page_version=version, row_group_size=2)
    assert same(ParquetForm(MIXED, "m", 1).decode(body), from_objects(MIXED, ROWS))


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_arrow_as_others_write_it(compression: str | None) -> None:
    for content in (TABLE, TABLE.set_column(1, "species", TABLE["species"].dictionary_encode())):
        for make in (pa.ipc.new_stream, pa.ipc.new_file):
            body = ipc(content, make, compression=compression)
            assert same(ArrowForm(MIXED, "m", 1).decode(body), from_objects(MIXED, ROWS))


def test_many_batches_are_one_question() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        for at in range(3):
            writer.write_table(TABLE.slice(at, 1))
    assert same(ArrowForm(MIXED, "m", 1).decode(bytes(sink.getvalue())), from_objects(MIXED, ROWS))


def test_a_missing_column_that_may_be_missing() -> None:
    without = [{**row, "mass": None} for row in ROWS]
    assert same(read(MIXED, TABLE.drop(["mass"])), from_objects(MIXED, without))
    nothing = TABLE.set_column(0, "mass", pa.nulls(3))
    assert same(read(MIXED, nothing), from_objects(MIXED, without))


NUMBERS = [np.dtype(code) for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")]


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_every_type_of_number_is_a_number(dtype: np.dtype[Any]) -> None:
    content = pa.table({"a": pa.array(np.array([1, 2, 3], dtype=dtype))})
    assert read(LINEAR, content)[0].tolist() == [[1.0], [2.0], [3.0]]
    assert read(LINEAR, pa.table({"a": content["a"].dictionary_encode()}))[0].tolist() == [[1.0], [2.0], [3.0]]
    assert read(COUNT, content.rename_columns(["count"]))[0].tolist() == [[1], [2], [3]]


def test_whole_numbers_stay_whole() -> None:
    large = pa.table({"count": pa.array([2**62 + 1, -(2**63)], pa.int64())})
    assert read(COUNT, large)[0].tolist() == [[2**62 + 1], [-(2**63)]]
    assert (
        refusal(COUNT, pa.table({"count": pa.array([2**63], pa.uint64())})).facts["expected"] == "in the range of INT64"
    )
    assert isinstance(refusal(COUNT, pa.table({"count": [1.5, 2.0]})), WrongType)
    assert isinstance(refusal(COUNT, pa.table({"count": [1, None]})), NotANumber)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (pa.array([decimal.Decimal("1.5")]), "a column of decimal128"),
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC)]), "a column of timestamp"),
        (pa.array([b"1"]), "a column of binary"),
        (pa.array([[1.0]]), "a column of list<"),
        (pa.array([{"x": 1}]), "a column of struct<"),
        (pa.array([True]), "true"),
        (pa.array(["1"]), "text '1'"),
    ],
)
def test_what_is_no_number_is_refused_with_its_type(values: pa.Array, says: str) -> None:
    error = refusal(LINEAR, pa.table({"a": values}))
    assert isinstance(error, WrongType)
    assert error.facts["got"].startswith(says)


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["1"], pa.string_view()),
        pa.RunEndEncodedArray.from_arrays([1 << 30], [1.0]),
        pa.array([[1.0]], pa.list_view(pa.float64())),
    ],
)
def test_types_of_which_one_value_can_be_many_are_refused(values: pa.Array) -> None:
    batch = pa.RecordBatch.from_arrays([values], ["a"])
    with pytest.raises(WrongType):
        ArrowForm(LINEAR, "m", 1).decode(ipc(pa.Table.from_batches([batch])))


def test_names() -> None:
    assert isinstance(refusal(LINEAR, pa.table({"a": [1.0], "__index_level_0__": [0]})), UnknownField)
    assert isinstance(refusal(LINEAR, pa.table({"a": pa.array([], pa.float64())})), NoRows)
    twice = pa.Table.from_arrays([pa.array([1.0])] * 2, ["a", "a"])
    with pytest.raises(InvalidRequest, match="'a' is sent twice"):
        ArrowForm(LINEAR, "m", 1).decode(ipc(twice))


PICTURE = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.float32())),
        pa.large_list(pa.list_(pa.float64(), 4)),
        pa.list_(pa.list_(pa.float32(), 4), 3),
        pa.list_(pa.list_(pa.int8())),
    ],
    ids=str,
)
def test_a_tensor_is_lists(kind: pa.DataType) -> None:
    content = pa.table({"image": pa.array([PICTURE.tolist(), (PICTURE + 1).tolist()], kind)})
    assert np.array_equal(read(IMAGE, content)[0], np.stack([PICTURE, PICTURE + 1]))
    assert np.array_equal(ArrowForm(IMAGE, "m", 1).decode(ipc(content.slice(1)))[0], PICTURE[None] + 1)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[[1.0] * 4, [1.0] * 4]]),
        pa.array([[[1.0] * 4, [1.0] * 4, [1.0] * 3]]),
        pa.array([[[1.0] * 4, [1.0] * 4, [1.0, 2.0, 3.0, None]]]),
        pa.array([[[1.0] * 4, [1.0] * 4, None]]),
        pa.array([None, PICTURE.tolist()]),
        pa.array([[["a"] * 4] * 3]),
        pa.array([[[True] * 4] * 3]),
        pa.array([1.0]),
    ],
    ids=["short", "ragged", "null inside", "null list", "null row", "text", "truth", "flat"],
)
def test_lists_that_are_no_such_tensor(values: pa.Array) -> None:
    assert refusal(IMAGE, pa.table({"image": values})).code in {"INPUT-WRONG-SHAPE", "INPUT-WRONG-TYPE"}


def test_answers_are_typed_columns() -> None:
    labels = np.array(["small", "big"], dtype=object)
    scores = np.array([[0.25, 0.75], [np.nan, np.inf]], dtype=np.float32)
    outputs = [labels, scores]
    body = ParquetForm(MIXED, "m", 3).encode_full(outputs)
    content = pq.read_table(pa.py_buffer(body))
    assert content.schema.names == ["prediction", "probability_small", "probability_big"]
    assert [str(kind) for kind in content.schema.types] == ["string", "float", "float"]
    assert content.schema.metadata == {b"modelyard-model": b"m@3"}
    assert content["prediction"].to_pylist() == ["small", "big"]
    assert np.array_equal(content["probability_big"].to_numpy(), scores[:, 1], equal_nan=True)
    for form, open_it in ((ArrowForm, pa.ipc.open_stream), (ArrowFileForm, pa.ipc.open_file)):
        assert open_it(form(MIXED, "m", 3).encode_full(outputs)).read_all().equals(content) or np.isnan(scores).any()
        assert open_it(form(MIXED, "m", 3).encode(outputs)).read_all().schema.names == ["prediction"]


def test_answers_of_every_type_read_back() -> None:
    arrays = [np.array([[1, 2], [3, 4]], dtype=dtype) for dtype in NUMBERS] + [np.array([[True, False], [False, True]])]
    for array in arrays:
        spec = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1, 2))
        form = ArrowForm(Signature(inputs=LINEAR.inputs, outputs=(spec,)), "m", 1)
        content = pa.ipc.open_stream(form.encode([array])).read_all()
        content.validate(full=True)
        assert content["prediction"].to_pylist() == array.tolist()


# --- files that claim too much ----------------------------------------------------------------------------------


def test_a_parquet_file_of_zeros_that_unfolds_a_thousandfold() -> None:
    body = parquet(pa.table({"a": np.zeros(20_000_000)}), compression="zstd", use_dictionary=False)
    assert len(body) < 1 << 20
    with pytest.raises(TooLarge):
        ParquetForm(LINEAR, "m", 1).decode(body)


def test_a_parquet_file_of_one_repeated_value() -> None:
    body = parquet(pa.table({"a": np.zeros(20_000_000)}))
    assert len(body) < 1 << 20
    with pytest.raises(TooLarge):
        ParquetForm(LINEAR, "m", 1).decode(body)


def test_a_long_text_that_every_row_repeats() -> None:
    """Half a megabyte, a hundred thousand times: fifty gigabytes for who copies it."""
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, dtype=np.int32)), pa.array(["x" * (1 << 19)]))
    spec = TensorSpec(name="t", datatype=Datatype.BYTES, shape=(-1,), features=(Feature(name="t", kind="text"),))  # type: ignore[arg-type]  # msgspec's enum is its text
    signature = Signature(inputs=(spec,), outputs=LINEAR.outputs)
    content = pa.table({"t": words})
    for form, body in ((ParquetForm, parquet(content)), (ArrowForm, ipc(content))):
        (array,) = form(signature, "m", 1).decode(body)
        assert len(array) == 100_000
        assert len({id(text) for text in array.ravel()}) < 10  # one for each batch


def test_texts_that_share_their_beginnings() -> None:
    content = pa.table({"mass": [1.0] * 2, "species": ["adelie"] * 2, "length": [1.0] * 2})
    body = parquet(content, use_dictionary=False, column_encoding={"species": "DELTA_BYTE_ARRAY"})
    with pytest.raises(ModelyardError, match="DELTA_BYTE_ARRAY"):
        ParquetForm(MIXED, "m", 1).decode(body)


def test_an_arrow_stream_of_zeros_that_unfolds_a_thousandfold() -> None:
    body = ipc(pa.table({"a": np.zeros(20_000_000)}), compression="zstd")
    assert len(body) < 1 << 20
    with pytest.raises(TooLarge):
        ArrowForm(LINEAR, "m", 1).decode(body)


def nothing(rows: int) -> pa.Array:
    """A column of so many nulls, for which `pa.nulls` would take a bit each."""
    return pa.Array.from_buffers(pa.null(), rows, [None])


def test_rows_without_any_bytes() -> None:
    """A column of nothing costs nothing, however long it says it is."""
    nullable = TensorSpec(name="a", datatype=Datatype.FP64, shape=(-1,), features=(Feature(name="a", nullable=True),))
    signature = Signature(inputs=(nullable,), outputs=LINEAR.outputs)
    body = ipc(pa.Table.from_arrays([nothing((1 << 31) - 1)], ["a"]))
    assert len(body) < 1_000
    with pytest.raises(TooLarge):
        ArrowForm(signature, "m", 1).decode(body)
    lists = pa.Array.from_buffers(pa.list_(pa.null(), 1 << 30), 1, [None], children=[nothing(1 << 30)])
    with pytest.raises(ModelyardError):
        ArrowForm(IMAGE, "m", 1).decode(ipc(pa.Table.from_arrays([lists], ["image"])))


def test_offsets_and_indices_that_lead_outside() -> None:
    content = pa.table({"species": ["adelie"], "length": [1.0], "mass": [1.0]})
    body = ipc(content)
    ends = np.array([0, 6], "<i4").tobytes()
    at = body.rindex(ends)  # before it are the schema's own zeros
    with pytest.raises(InvalidRequest):
        ArrowForm(MIXED, "m", 1).decode(body[: at + 4] + b"\x00\x00\x10\x00" + body[at + 8 :])
    far = pa.DictionaryArray.from_arrays(pa.array([1 << 20], pa.int32()), pa.array(["adelie"]), safe=False)
    with pytest.raises(InvalidRequest):
        ArrowForm(MIXED, "m", 1).decode(ipc(content.set_column(0, "species", far)))
