"""The same rows by every way give the same bits; the same bad rows are refused in the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.client.local import load
from modelyard.core.errors import ModelyardError
from modelyard.core.rows import MISSING_TEXT
from modelyard.core.signature import FeatureKind
from tests.acceptance.serving import Served, home_with
from tests.acceptance.ways import CATEGORIES, FIELDS, GOOD, Asker, Refused, Row, bits, echo_bundle

#: Ways whose values are text: they cannot say what type a value has, so a value of the wrong one has other words.
TEXTS = frozenset({"CSV", "command line, CSV", "XML", "MLflow CSV"})
#: Ways that send tensors, where a client gives each value its type.
TENSORS = frozenset({"v2 JSON", "v2 binary", "gRPC raw", "gRPC typed"})
#: Ways in which a column has one type, which the client's library gives it.
COLUMNS = frozenset({"Parquet", "Arrow"})


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    home = tmp_path_factory.mktemp("home")
    bundle = echo_bundle()
    home_with(home, bundle)
    with Served(home) as served:
        found = Asker(served, home, load("echo", home=home), bundle.manifest.signature)
        yield found
        found.close()


# Control characters have no place in XML, a CSV reader takes some texts for "nothing", and spaces around are nobody's.
texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text not in MISSING_TEXT
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": numbers | st.integers(-(2**53), 2**53),
    "single": st.floats(allow_nan=False, allow_infinity=False, width=32) | st.floats(-1e30, 1e30),
    "mass": st.none() | numbers,
    "count": st.integers(-(2**63), 2**63 - 1),
    "small": st.integers(-(2**31), 2**31 - 1),
    "visits": st.none() | st.integers(-(2**53), 2**53),
    "member": st.booleans(),
    "species": st.sampled_from(CATEGORIES["species"]),
    "colour": st.none() | st.sampled_from(CATEGORIES["colour"]),
    "note": texts,
}
rows = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=4)


def check_good(asker: Asker, asked: list[Row]) -> None:
    expected = bits(asker.expected(asked))
    for name, ask in asker.ways.items():
        assert bits(ask(asked)) == expected, name


def limited(cases: int) -> Any:
    return settings(
        max_examples=cases,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def test_one_good_row(asker: Asker) -> None:
    check_good(asker, [GOOD])


@limited(150)
@given(asked=rows)
def test_the_same_rows_give_the_same_bits(asker: Asker, asked: list[Row]) -> None:
    check_good(asker, asked)


@pytest.mark.long
@pytest.mark.timeout(3600)
@limited(2500)
@given(asked=rows)
def test_many_rows_give_the_same_bits(asker: Asker, asked: list[Row]) -> None:
    check_good(asker, asked)


LEAVE = object()
#: What can be wrong with one field.
BAD: dict[str, list[Any]] = {
    "number": [LEAVE, "abc", "1", True, None],
    "single": [LEAVE, "abc", 1e300, None, False],
    "mass": ["abc", True],
    "count": [LEAVE, 1.5, "one", 2**63, True, None],
    "small": [2.5, 2**31, -(2**40), None],
    "visits": [0.5, "many", False],
    "member": [LEAVE, "maybe", 2, None],
    "species": [LEAVE, "dodo", 3, None],
    "colour": ["green", 1.0],
    "note": [LEAVE, 5, None],
    "other": [1, "x"],
}
bad = st.sampled_from([(name, value) for name, values in BAD.items() for value in values])


def spoiled(asked: list[Row], at: int, name: str, value: Any) -> list[Row]:
    """One row spoiled; a field that is left out or too much is so in all rows, as columns have it."""
    found = [dict(row) for row in asked]
    for row in found if value is LEAVE or name not in FIELDS else found[at % len(found) :][:1]:
        if value is LEAVE:
            del row[name]
        else:
            row[name] = value
    return found


def check_bad(asker: Asker, asked: list[Row], name: str, value: Any) -> None:
    try:
        asker.expected(asked)
    except ModelyardError as exc:
        words = exc.detail
    else:
        raise AssertionError(f"{value!r} was accepted for {name}")
    for way, ask in asker.ways.items():
        if says_well(way, name, value):
            continue
        with pytest.raises(Refused) as refused:
            ask(asked)
        assert refused.value.status in {0, 400}, (way, refused.value)
        if way not in TEXTS | TENSORS | COLUMNS:
            assert plain(words) in plain(refused.value.words), way


def says_well(way: str, name: str, value: Any) -> bool:
    """Whether what is wrong elsewhere is right here, because the client writes it as something right."""
    kind = FIELDS[name][1] if name in FIELDS else None
    if way == "command line, CSV" and name not in FIELDS:  # further columns are copied to the answers
        return True
    if way in TEXTS:  # 1 and "1" are one cell; nothing is the empty text; any cell is text
        return value == "1" or (name == "note" and value is not LEAVE)
    if way in COLUMNS and isinstance(value, bool):  # in a column of numbers it is one
        return True
    if way == "v2 JSON":  # a missing text is an empty one, which a text may be
        return value is None and name == "note"
    if way in TENSORS and value is not LEAVE:  # numpy makes numbers, truth values and texts of nearly everything
        return kind is not FeatureKind.CATEGORY and value not in {0.5, 1e300, "abc", "many", "one"}
    return False


def plain(text: str) -> str:
    """Without the quoting of JSON, and without the row: columns lack one in all rows, and a stream tells a line."""
    return re.sub(r" \(row \d+\)", "", text.replace("\\", "").replace('"', ""))


@limited(150)
@given(asked=rows, at=st.integers(0, 3), what=bad)
def test_the_same_bad_rows_are_refused_alike(asker: Asker, asked: list[Row], at: int, what: tuple[str, Any]) -> None:
    check_bad(asker, spoiled(asked, at, *what), *what)


@pytest.mark.long
@pytest.mark.timeout(3600)
@limited(2500)
@given(asked=rows, at=st.integers(0, 3), what=bad)
def test_many_bad_rows_are_refused_alike(asker: Asker, asked: list[Row], at: int, what: tuple[str, Any]) -> None:
    check_bad(asker, spoiled(asked, at, *what), *what)
