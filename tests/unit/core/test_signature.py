"""The contract: which tensors fit, what is said of those that do not, and which signatures contradict themselves."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest

from modelyard.core.errors import (
    InvalidModel,
    MissingField,
    ModelyardError,
    NoRows,
    NotANumber,
    UnknownCategory,
    UnknownField,
    WrongShape,
    WrongType,
)
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from tests.models import linear_signature, mixed_signature

OUTPUT = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,))
NAN, INF = float("nan"), float("inf")


def texts(*items: str) -> Array:
    return np.array([[item] for item in items], dtype=object)


def number(*, nullable: bool = False, shape: tuple[int, ...] = (-1, 1)) -> TensorSpec:
    return TensorSpec(name="x", datatype=Datatype.FP64, shape=shape, features=(Feature(name="x", nullable=nullable),))


def category(**options: object) -> TensorSpec:
    feature = Feature(name="c", kind=FeatureKind.CATEGORY, categories=("a", "b"), **options)  # type: ignore[arg-type]
    return TensorSpec(name="c", datatype=Datatype.BYTES, shape=(-1, 1), features=(feature,))


@pytest.mark.parametrize("want", [(-1,), (-1, 1)])
@pytest.mark.parametrize("sent", [(3,), (3, 1)])
def test_a_column_may_be_sent_flat_or_not(want: tuple[int, ...], sent: tuple[int, ...]) -> None:
    checked = number(shape=want).check(np.arange(3.0).reshape(sent))
    assert checked.ndim == len(want)
    assert checked.ravel().tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(), (3, 2), (1, 3), (3, 1, 1), (2, 0)])
def test_other_shapes_are_not_a_column(shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongShape, match="'x'"):
        number().check(np.zeros(shape))


def test_a_packed_tensor_has_its_width() -> None:
    spec = linear_signature(("a", "b")).inputs[0]
    assert spec.width == 2
    assert spec.check(np.zeros((4, 2))).shape == (4, 2)
    for shape in [(2,), (4, 3), (4, 1), (4, 2, 1)]:
        with pytest.raises(WrongShape):
            spec.check(np.zeros(shape))


def test_an_opaque_tensor_has_its_fixed_axes_and_any_values() -> None:
    spec = TensorSpec(name="image", datatype=Datatype.FP32, shape=(-1, 3, -1))
    assert spec.width == 0
    array = np.full((2, 3, 7), NAN, dtype=np.float32)
    assert spec.check(array) is array
    for shape in [(2, 4, 7), (3, 7), (2, 3, 7, 1)]:
        with pytest.raises(WrongShape):
            spec.check(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_number_is_finite(bad: float) -> None:
    with pytest.raises(NotANumber, match=r"'x' .*\(row 1\)"):
        number().check(np.array([[1.0], [bad]]))
    with pytest.raises(NotANumber) as caught:
        number().check(np.array([[bad]]))
    assert "row" not in caught.value.detail


def test_nullable_takes_nan_but_never_infinity() -> None:
    assert np.isnan(number(nullable=True).check(np.array([[NAN], [1.0]]))[0, 0])
    for bad in (INF, -INF):
        with pytest.raises(NotANumber):
            number(nullable=True).check(np.array([[NAN], [bad]]))


def test_nullability_is_by_column() -> None:
    features = (Feature(name="a"), Feature(name="b", nullable=True))
    spec = TensorSpec(name="t", datatype=Datatype.FP32, shape=(-1, 2), features=features)
    assert not spec.nullable
    spec.check(np.array([[1, NAN]], dtype=np.float32))
    with pytest.raises(NotANumber, match="'a'"):
        spec.check(np.array([[1, 1], [NAN, 1]], dtype=np.float32))


def test_closed_categories() -> None:
    category().check(texts("a", "b"))
    with pytest.raises(UnknownCategory, match=r"'c' .*'bb' \(row 1\); it knows: a, b"):
        category().check(texts("a", "bb"))
    with pytest.raises(NotANumber):
        category().check(texts("a", ""))
    category(nullable=True).check(texts("a", ""))


def test_open_categories() -> None:
    category(accepts_unknown=True).check(texts("a", "zebra"))
    free = Feature(name="c", kind=FeatureKind.TEXT)
    TensorSpec(name="c", datatype=Datatype.BYTES, shape=(-1,), features=(free,)).check(np.array(["any"], dtype=object))


def test_packed_categories_are_checked_column_by_column() -> None:
    one = Feature(name="one", kind=FeatureKind.CATEGORY, categories=("a", "b"))
    two = Feature(name="two", kind=FeatureKind.CATEGORY, categories=("x",), nullable=True)
    spec = TensorSpec(name="both", datatype=Datatype.BYTES, shape=(-1, 2), features=(one, two))
    spec.check(np.array([["a", "x"], ["b", ""]], dtype=object))
    with pytest.raises(UnknownCategory, match=r"'two' .*'a' \(row 1\)"):
        spec.check(np.array([["a", "x"], ["b", "a"]], dtype=object))


def test_arrange_orders_and_compares_rows() -> None:
    signature = mixed_signature()
    arrays = {"mass": np.ones((2, 1)), "species": texts("adelie", "gentoo"), "length": np.ones(2)}
    arranged = signature.arrange(arrays)
    assert [array.dtype.kind for array in arranged] == ["O", "f", "f"]
    assert all(array.shape == (2, 1) for array in arranged)
    with pytest.raises(WrongShape, match="'length': 3 rows, while 'species' has 2"):
        signature.arrange({**arrays, "length": np.ones(3)})
    with pytest.raises(MissingField, match="mass"):
        signature.arrange({name: array for name, array in arrays.items() if name != "mass"})
    with pytest.raises(UnknownField, match="'color'"):
        signature.arrange({**arrays, "color": np.ones(2)})
    with pytest.raises(MissingField):
        signature.arrange({})


def test_no_rows_are_refused() -> None:
    with pytest.raises(NoRows):
        linear_signature().arrange({"input": np.zeros((0, 1))})


def test_names_are_looked_up() -> None:
    signature = mixed_signature()
    assert signature.field_names == ("species", "length", "mass")
    assert signature.input("length").name == "length"
    assert signature.output_index("probabilities") == 1
    with pytest.raises(UnknownField, match="'lengt'"):
        signature.input("lengt")
    with pytest.raises(UnknownField):
        signature.output_index("nope")


def spec_of(datatype: Datatype, kind: FeatureKind, **options: object) -> TensorSpec:
    feature = Feature(name="x", kind=kind, **options)  # type: ignore[arg-type]
    return TensorSpec(name="x", datatype=datatype, shape=(-1, 1), features=(feature,))


@pytest.mark.parametrize(
    ("datatype", "kind", "options"),
    [
        (Datatype.INT64, FeatureKind.NUMBER, {}),  # 1.5 would become 1
        (Datatype.INT64, FeatureKind.INTEGER, {"nullable": True}),  # no NaN there
        (Datatype.BOOL, FeatureKind.BOOLEAN, {"nullable": True}),  # NaN would become true
        (Datatype.BOOL, FeatureKind.INTEGER, {}),
        (Datatype.BYTES, FeatureKind.NUMBER, {}),
        (Datatype.FP32, FeatureKind.CATEGORY, {}),
        (Datatype.INT64, FeatureKind.TEXT, {}),
    ],
)
def test_kinds_that_a_datatype_cannot_hold(datatype: Datatype, kind: FeatureKind, options: dict[str, object]) -> None:
    with pytest.raises(InvalidModel, match="'x'"):
        spec_of(datatype, kind, **options)


@pytest.mark.parametrize(
    "build",
    [
        lambda: TensorSpec(name="x", datatype=Datatype.FP32, shape=()),
        lambda: TensorSpec(name="x", datatype=Datatype.FP32, shape=(4, 2)),
        lambda: TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 2), features=(Feature(name="a"),)),
        lambda: TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 2, 1), features=(Feature(name="a"),)),
        lambda: TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 2), labels=("a",)),
        lambda: Signature(inputs=(), outputs=(OUTPUT,)),
        lambda: Signature(inputs=(number(),), outputs=()),
        lambda: Signature(inputs=(number(), number()), outputs=(OUTPUT,)),
        lambda: Signature(inputs=(number(),), outputs=(OUTPUT, OUTPUT)),
        lambda: Signature(
            inputs=(
                number(),
                TensorSpec(name="z", datatype=Datatype.FP32, shape=(-1, 1), features=(Feature(name="x"),)),
            ),
            outputs=(OUTPUT,),
        ),
        lambda: Signature(  # a field and an opaque tensor of one name
            inputs=(
                TensorSpec(name="t", datatype=Datatype.FP32, shape=(-1, 1), features=(Feature(name="image"),)),
                TensorSpec(name="image", datatype=Datatype.FP32, shape=(-1, 3, 3)),
            ),
            outputs=(OUTPUT,),
        ),
        lambda: Signature(inputs=(number(),), outputs=(OUTPUT,), prediction="label"),
        lambda: Signature(inputs=(number(),), outputs=(OUTPUT,), probabilities="p"),
        lambda: Signature(inputs=(number(),), outputs=(OUTPUT,), probabilities="y"),
    ],
)
def test_signatures_that_contradict_themselves(build: object) -> None:
    with pytest.raises(InvalidModel):
        build()  # type: ignore[operator]


@pytest.mark.parametrize("signature", [linear_signature(("a", "b")), mixed_signature()])
def test_it_is_plain_data(signature: Signature) -> None:
    raw = msgspec.json.encode(signature)
    assert msgspec.json.decode(raw, type=Signature) == signature
    assert msgspec.json.encode(msgspec.json.decode(raw, type=Signature)) == raw


def test_a_contradiction_is_found_when_it_is_read() -> None:
    raw = msgspec.json.encode(linear_signature()).replace(b'"FP64"', b'"BYTES"', 1)
    with pytest.raises((ModelyardError, msgspec.ValidationError)):
        msgspec.json.decode(raw, type=Signature)


def whole(*kinds: FeatureKind) -> TensorSpec:
    features = tuple(Feature(name=f"f{at}", kind=kind, nullable=True) for at, kind in enumerate(kinds))
    return TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1, len(kinds)), features=features)


def test_floats_that_stand_for_whole_numbers_have_no_fraction() -> None:
    spec = whole(FeatureKind.NUMBER, FeatureKind.INTEGER, FeatureKind.BOOLEAN)
    good = np.array([[0.5, -3.0, 1.0], [np.nan, np.nan, np.nan], [1e300, 1e300, 0.0]])
    assert spec.check(good) is good
    for column, bad, expected in ((1, 0.5, "a whole number"), (2, 2.0, "true or false"), (2, 1e300, "true or false")):
        array = good.copy()
        array[2, column] = bad
        with pytest.raises(
            WrongType, match=rf"'f{column}' must be {expected}, got the number {re.escape(str(bad))} \(row 2\)"
        ):
            spec.check(array)


def test_a_number_too_large_for_bf16_is_infinite() -> None:
    """BF16 is carried by float32, whose largest number is a little larger."""
    spec = TensorSpec(name="x", datatype=Datatype.BF16, shape=(-1, 1), features=(Feature(name="x"),))
    assert spec.check(np.array([[3.39e38]], np.float32)).shape == (1, 1)
    with pytest.raises(NotANumber, match="'x'"):
        spec.check(np.array([[1.0], [3.4e38]], np.float32))
