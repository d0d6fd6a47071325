"""Reading a CSV: values, every way a file can be wrong, and agreement with the row-wise rules of `core.rows`."""

import hashlib
import math
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidData, MissingExtra, NotFound, TooLarge
from modelyard.core.rows import MISSING_TEXT, parse_text
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model import table
from modelyard.model.table import read_table, require_column


def write(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_values_take_the_narrowest_kind(tmp_path):
    path = write(tmp_path, "i,f,b,s,gap,none,half\n1,1.5,true,red,3,NA,True\n-2,1e3,FALSE,NA,,,nan\n")
    frame = read_table(path).frame
    assert frame["i"].dtype == np.int64
    assert frame["f"].tolist() == [1.5, 1000.0]
    assert frame["b"].dtype == bool
    assert frame["b"].tolist() == [True, False]
    assert frame["s"][0] == "red"
    assert pd.isna(frame["s"][1])
    assert frame["gap"].dtype == np.float64
    assert frame["none"].isna().all()
    assert frame["half"][0] is True
    assert pd.isna(frame["half"][1])


def test_sha256_is_of_the_bytes(tmp_path):
    raw = b"\xef\xbb\xbfa,b\r\n1,2\r\n"
    read = read_table(write(tmp_path, raw))
    assert read.sha256 == hashlib.sha256(raw).hexdigest()
    assert list(read.frame.columns) == ["a", "b"]  # the byte order mark is not part of the name
    assert read.name == "data.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_found(tmp_path, delimiter):
    path = write(tmp_path, f"a{delimiter}b{delimiter}c\n1{delimiter}x{delimiter}2\n")
    assert read_table(path).frame.iloc[0].tolist() == [1, "x", 2]


def test_a_delimiter_in_quotes_does_not_count(tmp_path):
    path = write(tmp_path, '"price; net, each",area\n3,4\n')
    assert list(read_table(path).frame.columns) == ["price; net, each", "area"]


def test_quotes_line_breaks_and_blank_lines(tmp_path):
    path = write(tmp_path, 'a,b\n\n"x, ""y""\nz",1\n\nw,2\n')
    frame = read_table(path).frame
    assert frame["a"].tolist() == ['x, "y"\nz', "w"]
    assert frame["b"].tolist() == [1, 2]


def test_one_column(tmp_path):
    assert read_table(write(tmp_path, "a\n1\n2\n")).frame["a"].tolist() == [1, 2]


def test_a_nameless_column_is_named_as_pandas_does(tmp_path):
    path = write(tmp_path, ",a\n0,1\n")
    assert list(read_table(path).frame.columns) == list(pd.read_csv(path).columns)


def test_whole_numbers_beyond_int64_become_floats(tmp_path):
    frame = read_table(write(tmp_path, f"a\n{2**63}\n1\n")).frame
    assert frame["a"].dtype == np.float64


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,b\n", "has a header and no rows"),
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells, the header has 2"),
        ('a,b\n"x\ny",2\n1\n', "line 4: 1 cell, the header has 2"),
        ("a,b,a\n1,2,3\n", "more than one column 'a'"),
        ("a, a\n1,2\n", "more than one column 'a'"),
        ("a,b\n1,Müller\n".encode("latin-1"), "not UTF-8 text (line 2)"),
        ("a,b\n1,2\n".encode("utf-16"), "not UTF-8 text (line 1)"),
        (b"a,b\n1,\x00\n", "NUL"),
        ('a,b\n1,"x\n', "line 2"),
        ("a;b\n1,5;2\n2;3\n", "line 2: column 'a' writes numbers with a comma ('1,5')"),
    ],
)
def test_each_bad_file_is_named(tmp_path, text, says):
    with pytest.raises(InvalidData) as caught:
        read_table(write(tmp_path, text))
    assert says in caught.value.detail
    assert "data.csv" in caught.value.detail
    assert caught.value.hint


def test_too_few_rows(tmp_path):
    path = write(tmp_path, "a,b\n1,2\n")
    assert len(read_table(path).frame) == 1
    with pytest.raises(InvalidData, match="has 1 row under its header; at least 2 are needed"):
        read_table(path, min_rows=2)


def test_no_such_file_names_the_near_one(tmp_path):
    write(tmp_path, "a\n1\n", "houses.csv")
    with pytest.raises(NotFound) as caught:
        read_table(tmp_path / "house.csv")
    assert caught.value.cause == "did you mean 'houses.csv'?"
    with pytest.raises(NotFound):
        read_table(tmp_path / "nowhere" / "house.csv")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InvalidData, match="cannot read"):
        read_table(tmp_path)


def test_a_huge_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "MAX_BYTES", 3)
    with pytest.raises(TooLarge):
        read_table(write(tmp_path, "a\n1\n"))


def test_without_pandas_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra) as caught:
        read_table(write(tmp_path, "a\n1\n"))
    assert caught.value.hint == 'pip install "modelyard[train]"'


def test_a_missing_column_says_which_was_meant():
    with pytest.raises(NotFound) as caught:
        require_column(["price", "area"], "prize")
    assert caught.value.cause == "did you mean 'price'?"
    with pytest.raises(NotFound) as caught:
        require_column(["1.5", "2"], "price")
    assert "header line" in caught.value.cause


CELLS = st.one_of(
    st.sampled_from(sorted(MISSING_TEXT)),
    st.sampled_from(sorted(MISSING_TEXT)).map(lambda text: f" {text} "),
    st.sampled_from(["true", "False", " TRUE", "yes", "1", "0", "1.0", "+3", " 4 ", "1_000", "1e400", "0x10", "٣"]),
    st.integers().map(str),
    st.floats(allow_nan=False).map(repr),
    st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=6),
)


def _signature(frame):
    """The signature that training would give this one column."""
    values = frame["column"]
    if values.dtype.kind in "if":
        feature = Feature(name="column", kind=FeatureKind.NUMBER, nullable=True)
        spec = TensorSpec(name="column", datatype=Datatype.FP64, shape=(-1,), features=(feature,))
    elif values.dtype.kind == "b" or set(map(type, values.dropna())) == {bool}:
        feature = Feature(name="column", kind=FeatureKind.BOOLEAN, nullable=True)
        spec = TensorSpec(name="column", datatype=Datatype.FP64, shape=(-1,), features=(feature,))
    else:
        known = tuple(sorted(set(values.dropna())))
        feature = Feature(name="column", kind=FeatureKind.CATEGORY, nullable=True, categories=known)
        spec = TensorSpec(name="column", datatype=Datatype.BYTES, shape=(-1,), features=(feature,))
    return Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,)),))


@given(cells=st.lists(CELLS, min_size=1, max_size=6))
@example(cells=["NA", " null ", "x"])
@example(cells=["true", "", "FALSE"])
@example(cells=["1", "2,5"])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_training_and_prediction_read_a_cell_alike(tmp_path, cells):
    """What keeps training and serving together: same cell, same value, and missing in both or in neither."""
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    path = write(tmp_path, "column\n" + "\n".join(quoted) + "\n")
    try:
        frame = read_table(path).frame
    except InvalidData as exc:
        assume("with a comma" not in exc.detail)  # refused before anything is learnt
        raise
    assert len(frame) == len(cells)
    signature = _signature(frame)
    for cell, learnt in zip(cells, frame["column"], strict=True):
        asked = parse_text(signature, {"column": cell})["column"]
        if pd.isna(learnt):
            assert asked is None
        elif isinstance(learnt, str):
            assert asked == learnt
        else:
            assert asked is not None
            assert float(asked) == float(learnt) or math.isinf(float(learnt))
