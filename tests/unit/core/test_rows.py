"""Rows as people write them: one meaning and one refusal, whether objects, columns or text cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import (
    MissingField,
    ModelyardError,
    NoRows,
    NotANumber,
    UnknownCategory,
    UnknownField,
    WrongShape,
    WrongType,
)
from modelyard.core.rows import (
    MISSING_TEXT,
    from_arrays,
    from_columns,
    from_objects,
    is_missing,
    parse_boolean,
    parse_number,
    parse_text,
    to_objects,
)
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature

MIXED = mixed_signature()
IMAGE = image_bundle().manifest.signature
COUNT = count_bundle().manifest.signature
ROW = {"species": "adelie", "length": 2, "mass": 3.5}
OUTPUT = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,))


def one(kind: FeatureKind, datatype: Datatype = Datatype.FP32, **options: Any) -> Signature:
    feature = Feature(name="x", kind=kind, **options)
    return Signature(
        inputs=(TensorSpec(name="x", datatype=datatype, shape=(-1, 1), features=(feature,)),), outputs=(OUTPUT,)
    )


def test_a_row_becomes_one_array_per_tensor() -> None:
    species, length, mass = from_objects(MIXED, [ROW, {"species": "gentoo", "length": 4.5}])
    assert species.tolist() == [["adelie"], ["gentoo"]]
    assert length.tolist() == [[2.0], [4.5]]
    assert mass[0, 0] == 3.5
    assert math.isnan(mass[1, 0])


def test_packed_columns_keep_their_order() -> None:
    (table,) = from_objects(linear_signature(("a", "b", "c")), [{"c": 3, "a": 1, "b": 2}])
    assert table.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"species": 3}, WrongType, "'species' must be text, got the number 3"),
        ({"species": None}, NotANumber, "'species'"),
        ({"species": ""}, NotANumber, "'species'"),
        ({"species": "adeli"}, UnknownCategory, "'adeli'"),
        ({"length": "2"}, WrongType, "must be a number, got text '2'"),
        ({"length": True}, WrongType, "got true"),
        ({"length": None}, NotANumber, "'length'"),
        ({"length": [2]}, WrongType, "got a list"),
        ({"length": {"a": 2}}, WrongType, "got an object"),
        ({"length": math.nan}, NotANumber, "'length'"),
        ({"length": math.inf}, NotANumber, "'length'"),
        ({"length": 10**400}, WrongType, "range of FP64"),
        ({"mass": 10**400}, WrongType, "range of FP64"),
        ({"mass": -math.inf}, NotANumber, "'mass'"),
        ({"weight": 1}, UnknownField, "'weight'"),
    ],
)
@pytest.mark.parametrize("others", [0, 2])
def test_what_does_not_fit_is_named(
    change: dict[str, Any], error: type[ModelyardError], says: str, others: int
) -> None:
    with pytest.raises(error) as caught:
        from_objects(MIXED, [ROW] * others + [{**ROW, **change}])
    assert says in caught.value.detail
    if others and error not in {UnknownField} and "range" not in says:
        assert "(row 2)" in caught.value.detail


def test_a_huge_number_among_missing_ones() -> None:
    for huge in (10**400, -(10**400)):
        with pytest.raises(NotANumber):
            from_objects(MIXED, [{**ROW, "mass": None}, {**ROW, "mass": huge}])


def test_a_number_of_thousands_of_digits_can_be_spoken_of() -> None:
    with pytest.raises(WrongType, match="got a huge number"):
        from_objects(MIXED, [{**ROW, "species": 10**5000}])


def test_missing_fields_are_listed() -> None:
    with pytest.raises(MissingField, match=r"species, length \(row 1\)"):
        from_objects(MIXED, [ROW, {"mass": 1}])


@pytest.mark.parametrize("junk", [3, "x", None, [1], 2.5, True])
def test_rows_are_objects(junk: Any) -> None:
    with pytest.raises(WrongType, match="'row' must be an object"):
        from_objects(MIXED, [junk])


def test_no_rows() -> None:
    for signature in (MIXED, IMAGE, COUNT):
        with pytest.raises(NoRows):
            from_objects(signature, [])
    with pytest.raises(NoRows):
        from_columns(MIXED, {"species": [], "length": []})
    with pytest.raises(NoRows):
        from_columns(one(FeatureKind.NUMBER, nullable=True), {})


def test_columns_are_rows_on_their_side() -> None:
    rows = [ROW, {"species": "gentoo", "length": 1, "mass": None}]
    columns = {name: [row[name] for row in rows] for name in ROW}
    for one_array, other in zip(from_objects(MIXED, rows), from_columns(MIXED, columns), strict=True):
        np.testing.assert_array_equal(one_array, other)
    assert from_columns(MIXED, {"species": ["adelie"], "length": np.array([2])})[1].tolist() == [[2.0]]


@pytest.mark.parametrize("junk", ["abc", b"abc", {"a": 1}, 3, None, np.float64(3), np.array(3)])
def test_a_column_is_a_list(junk: Any) -> None:
    with pytest.raises(WrongType, match="'length' must be a list"):
        from_columns(MIXED, {"species": ["adelie"], "length": junk})


def test_columns_are_of_one_length() -> None:
    with pytest.raises(WrongShape, match="'length': 1 rows, while 'species' has 2"):
        from_columns(MIXED, {"species": ["adelie", "gentoo"], "length": [1]})


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float32(3)])
def test_a_whole_number_may_be_written_as_one(value: Any) -> None:
    (array,) = from_objects(COUNT, [{"count": value}])
    assert array.dtype == np.int64
    assert array.tolist() == [[3]]


@pytest.mark.parametrize("value", [2**53 + 1, -(2**63), 2**63 - 1])
def test_big_integers_are_exact_in_any_company(value: int) -> None:
    assert from_objects(COUNT, [{"count": value}])[0].tolist() == [[value]]
    assert from_objects(COUNT, [{"count": value}, {"count": 2.0}])[0].tolist() == [[value], [2]]


@pytest.mark.parametrize("value", [2.5, math.nan, math.inf, "3", True, None, 2**63, 1e300, -(2**63) - 1])
def test_what_is_no_int64(value: Any) -> None:
    for rows in ([{"count": value}], [{"count": value}, {"count": 1.0}]):
        with pytest.raises((WrongType, NotANumber)):
            from_objects(COUNT, rows)


def test_an_integer_in_a_float_tensor_may_be_missing_when_the_signature_says_so() -> None:
    (array,) = from_objects(one(FeatureKind.INTEGER, nullable=True), [{"x": None}, {"x": 4}, {}])
    np.testing.assert_array_equal(array, np.array([[np.nan], [4], [np.nan]], dtype=np.float32))
    with pytest.raises(WrongType, match="whole number"):
        from_objects(one(FeatureKind.INTEGER, nullable=True), [{"x": 4.5}])


def test_booleans_are_true_or_false() -> None:
    (array,) = from_objects(one(FeatureKind.BOOLEAN, nullable=True), [{"x": True}, {"x": None}, {"x": np.bool_(0)}])
    np.testing.assert_array_equal(array, np.array([[1], [np.nan], [0]], dtype=np.float32))
    assert from_objects(one(FeatureKind.BOOLEAN, Datatype.BOOL), [{"x": True}])[0].tolist() == [[True]]
    for junk in (1, 0.0, "true"):
        with pytest.raises(WrongType, match="true or false"):
            from_objects(one(FeatureKind.BOOLEAN), [{"x": junk}])


def test_float32_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(NotANumber):
        from_objects(one(FeatureKind.NUMBER), [{"x": 1e300}])


PICTURE = np.arange(12.0).reshape(3, 4).tolist()


def test_nested_lists_fill_an_opaque_tensor() -> None:
    (array,) = from_objects(IMAGE, [{"image": PICTURE}, {"image": np.ones((3, 4))}])
    assert array.shape == (2, 3, 4)
    assert array.dtype == np.float32
    assert array[0].tolist() == PICTURE


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ([[1, 2], [3]], WrongShape),
        ([[1.0] * 4] * 2, WrongShape),
        ([], WrongShape),
        ([[]], WrongShape),
        (1.5, WrongShape),
        ([[["x"] * 4] * 3], WrongType),
        ([["1"] * 4] * 3, WrongType),
        ([[None] * 4] * 3, WrongType),
        ([[True] * 4] * 3, WrongType),
        ([[{}] * 4] * 3, WrongType),
        ("image", WrongType),
        (None, WrongType),
        ([[1e300] * 4] * 3, WrongType),
        ([[10**400] * 4] * 3, WrongType),
    ],
)
def test_what_is_no_image(image: Any, error: type[ModelyardError]) -> None:
    with pytest.raises(error, match="'image'"):
        from_objects(IMAGE, [{"image": image}])


def opaque(datatype: Datatype) -> Signature:
    return Signature(inputs=(TensorSpec(name="x", datatype=datatype, shape=(-1, 2)),), outputs=(OUTPUT,))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (Datatype.INT8, [300, 1]),  # numpy would wrap it to 44
        (Datatype.UINT8, [-1, 1]),
        (Datatype.INT64, [1.5, 2]),
        (Datatype.BYTES, ["a", 1]),  # numpy would write "1"
        (Datatype.BYTES, [None, "a"]),
        (Datatype.BOOL, [1, 0]),
        (Datatype.FP16, [70000, 1]),
    ],
)
def test_numpy_changes_nothing_silently(datatype: Datatype, value: list[Any]) -> None:
    with pytest.raises(WrongType, match="'x'"):
        from_objects(opaque(datatype), [{"x": value}])


def test_opaque_strings_and_truths() -> None:
    assert from_objects(opaque(Datatype.BYTES), [{"x": ["a", ""]}])[0].tolist() == [["a", ""]]
    assert from_objects(opaque(Datatype.BOOL), [{"x": [True, False]}])[0].tolist() == [[True, False]]
    with pytest.raises(WrongShape):
        from_objects(opaque(Datatype.BYTES), [{"x": ["a", "b"]}, {"x": ["a"]}])


SIGNATURES = [
    MIXED,
    COUNT,
    one(FeatureKind.BOOLEAN, nullable=True),
    one(FeatureKind.INTEGER, nullable=True),
    linear_signature(("a", "b")),
]


def values_of(feature: Feature, datatype: Datatype) -> st.SearchStrategy[Any]:
    width = 64 if datatype is Datatype.FP64 else 32
    whole = st.integers(-(2**63), 2**63 - 1) if datatype is Datatype.INT64 else st.integers(-(2**20), 2**20)
    kinds: dict[FeatureKind, st.SearchStrategy[Any]] = {
        FeatureKind.NUMBER: st.floats(allow_nan=False, allow_infinity=False, width=width),
        FeatureKind.INTEGER: whole,
        FeatureKind.BOOLEAN: st.booleans(),
        FeatureKind.CATEGORY: st.sampled_from(feature.categories or ("a",)),
    }
    return st.none() | kinds[feature.kind] if feature.nullable else kinds[feature.kind]


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_what_was_arranged_is_told_again(data: st.DataObject) -> None:
    signature = data.draw(st.sampled_from(SIGNATURES))
    fields = {feature.name: values_of(feature, spec.datatype) for spec in signature.inputs for feature in spec.features}
    rows = data.draw(st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=5))
    assert to_objects(signature, from_objects(signature, rows)) == rows


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_junk_is_refused_never_crashed_on(data: st.DataObject) -> None:
    signature = data.draw(st.sampled_from([*SIGNATURES, IMAGE, opaque(Datatype.BYTES), opaque(Datatype.INT8)]))
    names = st.sampled_from([*signature.field_names, "zz", ""])
    try:
        if data.draw(st.booleans()):
            arrays = from_objects(signature, data.draw(st.lists(st.dictionaries(names, JUNK) | JUNK, max_size=3)))
        else:
            arrays = from_columns(signature, data.draw(st.dictionaries(names, JUNK | st.lists(JUNK, max_size=3))))
    except ModelyardError as exc:
        refused = exc.detail
    else:
        refused = "accepted"
        assert [array.dtype for array in arrays] == [spec.datatype.dtype for spec in signature.inputs]
    assert refused


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), (" 3.5 ", 3.5), ("1e3", 1000.0), ("-0", 0), ("NA", None), ("", None), ("  ", None), ("nan", None)],
)
def test_number_cells(text: str, value: Any) -> None:
    assert parse_text(MIXED, {"mass": text}) == {"mass": value}


@pytest.mark.parametrize("text", ["abc", "1,5", "1_000", "0x10", "--1", "1 2"])
def test_cells_that_are_no_number(text: str) -> None:
    with pytest.raises(WrongType, match="'mass' must be a number"):
        parse_text(MIXED, {"mass": text})


def test_other_cells() -> None:
    assert parse_text(MIXED, {"species": "adelie", "other": " x "}) == {"species": "adelie", "other": " x "}
    assert parse_text(MIXED, {"species": "NA"}) == {"species": None}
    known = Feature(name="x", kind=FeatureKind.CATEGORY, categories=("NA", "EU"))
    spec = TensorSpec(name="x", datatype=Datatype.BYTES, shape=(-1, 1), features=(known,))
    continent = Signature(inputs=(spec,), outputs=(OUTPUT,))
    assert parse_text(continent, {"x": "NA"}) == {"x": "NA"}  # North America
    truth = one(FeatureKind.BOOLEAN)
    assert [parse_text(truth, {"x": text})["x"] for text in ("yes", "FALSE", "1", "0.0")] == [True, False, True, False]
    with pytest.raises(WrongType, match="true or false"):
        parse_text(truth, {"x": "maybe"})


def test_text_helpers() -> None:
    assert all(is_missing(f" {text} ") for text in MISSING_TEXT)
    assert not is_missing("0")
    assert parse_boolean("perhaps") is None
    assert parse_number("inf") == math.inf
    assert parse_number("9" * 400) == int("9" * 400)
    assert parse_number("9" * 5000) is not None  # more digits than int() reads


def test_answers_are_one_value_a_row() -> None:
    assert from_arrays(np.array([[1.0], [2.0]])) == [1.0, 2.0]
    assert from_arrays(np.array([1, 2])) == [1, 2]
    assert from_arrays(np.array([[1, 2]])) == [[1, 2]]
