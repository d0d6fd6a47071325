"""Text cells: the answers and refusals of the same rows as objects, however they are parsed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.cells import from_cell_columns, from_cell_rows
from modelyard.core.errors import MissingField, ModelyardError, NoRows, UnknownField, WrongShape
from modelyard.core.rows import from_objects, parse_text
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from tests.models import mixed_signature

KINDS = {
    "number": (FeatureKind.NUMBER, Datatype.FP64),
    "integer": (FeatureKind.INTEGER, Datatype.INT64),
    "share": (FeatureKind.NUMBER, Datatype.FP32),
    "yes": (FeatureKind.BOOLEAN, Datatype.BOOL),
    "text": (FeatureKind.TEXT, Datatype.BYTES),
}
OUTPUT = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,))
CELLS = st.sampled_from(
    [
        "1",
        " 2 ",
        "-3.5",
        "1e3",
        "1_0",
        "",
        " ",
        "nan",
        "NaN",
        "NAN",
        "inf",
        "-inf",
        "true",
        "Yes",
        "0",
        "abc",
        "٣",
        "9" * 40,
    ]
) | st.text(max_size=3)


def signature(name: str, *, nullable: bool) -> Signature:
    kind, datatype = KINDS[name]
    feature = Feature(name="x", kind=kind, nullable=nullable and (datatype.is_float or datatype is Datatype.BYTES))
    return Signature(
        inputs=(TensorSpec(name="x", datatype=datatype, shape=(-1, 1), features=(feature,)),), outputs=(OUTPUT,)
    )


def outcome(call: Any) -> Any:
    try:
        return [array.tolist() for array in call()].__repr__()
    except ModelyardError as exc:
        return type(exc), exc.facts.get("got", exc.detail)


@settings(max_examples=300)
@given(st.sampled_from(list(KINDS)), st.booleans(), st.lists(CELLS, min_size=1, max_size=1))
def test_a_cell_is_what_parse_text_says(name: str, nullable: bool, cells: list[str]) -> None:
    """One row, since the refusals of `parse_text` know nothing of others."""
    about = signature(name, nullable=nullable)
    want = outcome(lambda: from_objects(about, [parse_text(about, {"x": cell}) for cell in cells]))
    assert outcome(lambda: from_cell_columns(about, {"x": cells})) == want
    assert outcome(lambda: from_cell_rows(about, [{"x": cell} for cell in cells])) == want


@settings(max_examples=200)
@given(st.sampled_from(list(KINDS)), st.booleans(), st.lists(CELLS, min_size=2, max_size=5))
def test_columns_and_rows_are_the_same(name: str, nullable: bool, cells: list[str]) -> None:
    about = signature(name, nullable=nullable)
    one = outcome(lambda: from_cell_columns(about, {"x": cells}))
    assert one == outcome(lambda: from_cell_rows(about, [{"x": cell} for cell in cells]))


def test_names_are_looked_at_before_values() -> None:
    about = mixed_signature()
    for broken, kind in (({"species": ["dodo"], "lenght": ["x"]}, UnknownField), ({"length": ["x"]}, MissingField)):
        with pytest.raises(kind):
            from_cell_columns(about, broken)
        with pytest.raises(kind):
            from_cell_rows(about, [{name: cells[0] for name, cells in broken.items()}])


def test_a_field_that_may_be_missing_may_be_left_out() -> None:
    about = mixed_signature()
    rows = [{"species": "adelie", "length": "1", "mass": "2"}, {"species": "gentoo", "length": "2"}]
    got = from_cell_rows(about, rows)
    assert got[2].tolist()[0] == [2.0]
    assert got[2][1, 0] != got[2][1, 0]
    columns = from_cell_columns(about, {"species": ["adelie", "gentoo"], "length": ["1", "2"]})
    assert columns[1].tolist() == [[1.0], [2.0]]


def test_no_rows_and_uneven_columns() -> None:
    about = mixed_signature()
    with pytest.raises(NoRows):
        from_cell_rows(about, [])
    with pytest.raises(NoRows):
        from_cell_columns(about, {"species": [], "length": []})
    with pytest.raises(WrongShape):
        from_cell_columns(about, {"species": ["adelie"], "length": ["1", "2"]})
