"""CSV: what a file and a request have in common, and what RFC 4180 says."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from modelyard.core.errors import (
    InvalidData,
    MissingField,
    ModelyardError,
    NoRows,
    NotANumber,
    UnknownField,
    Unsupported,
    WrongType,
)
from modelyard.core.rows import from_objects
from modelyard.serve.http.forms.delimited import CsvForm
from tests.models import image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.hostile import same

MIXED = mixed_signature()
FORM = CsvForm(MIXED, "m", 1)
ROWS = [{"species": "adelie", "length": 3.0, "mass": 3.5}, {"species": "gentoo", "length": 5.5, "mass": None}]


@pytest.mark.parametrize(
    "text",
    [
        "species,length,mass\r\nadelie,3,3.5\r\ngentoo,5.5,\r\n",
        "species,length,mass\nadelie,3,3.5\ngentoo,5.5,",
        "\ufeffmass,species,length\r\n3.5,adelie,3.0\r\nNA,gentoo,5.5\r\n",
        "mass;species;length\n3.5;adelie;3\nnan;gentoo;5.5\n",
        "mass\tspecies\tlength\n3.5\tadelie\t 3 \n\tgentoo\t55e-1\n",
        '"species","length","mass"\n"adelie","3","3.5"\n\n"gentoo","5.5",""\n',
    ],
)
def test_the_same_rows(text: str) -> None:
    assert same(FORM.decode(text.encode()), from_objects(MIXED, ROWS))


def test_without_a_header_columns_are_in_the_signatures_order() -> None:
    assert same(FORM.decode(b"adelie,3,3.5\r\ngentoo,5.5,\r\n", header=False), from_objects(MIXED, ROWS))
    with pytest.raises(InvalidData, match="line 1: 2 cells"):
        FORM.decode(b"adelie,3\r\n", header=False)
    with pytest.raises(WrongType):  # the header is taken for a row
        FORM.decode(b"species,length,mass\r\nadelie,3,3.5\r\n", header=False)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("species,length,mas\nadelie,3,1\n", UnknownField, "no input 'mas'"),
        ("species,mass\nadelie,3\n", MissingField, "missing input length"),
        ("species,length,length\nadelie,3,1\n", InvalidData, "more than one column 'length'"),
        ("species,length\nadelie,3\ngentoo\n", InvalidData, "line 3: 1 cell"),
        ('species,length\nadelie,"3\n', InvalidData, "line 2"),
        ("species,length\nadelie,3\x00\n", InvalidData, "NUL"),
        ("species,length\n", NoRows, "no rows"),
        (" \n", InvalidData, "empty"),
        (
            "species,length\nadelie,3\ngentoo,three\n",
            WrongType,
            "input 'length' must be a number, got text 'three' (row 1)",
        ),
        ("species,length\nadelie,1_000\n", WrongType, "1_000"),
        ("species,length\nadelie,\n", NotANumber, "length"),
        ("species,length\nadelie,inf\n", NotANumber, "length"),
        ("x" * 200_000 + "\n1\n", InvalidData, "field limit"),
    ],
)
def test_what_is_wrong_is_said(text: str, kind: type[ModelyardError], says: str) -> None:
    with pytest.raises(kind) as caught:
        FORM.decode(text.encode())
    assert says in caught.value.detail


def test_other_encodings_are_refused() -> None:
    for encoding in ("utf-16", "latin-1"):
        with pytest.raises(InvalidData):
            FORM.decode("species,length\nadélie,3\n".encode(encoding))


def test_a_million_columns_are_too_many() -> None:
    with pytest.raises(InvalidData, match="columns"):
        FORM.decode(b"a," * 1_000_001 + b"\n")
    with pytest.raises(UnknownField):
        FORM.decode(",".join(map(str, range(100_000))).encode() + b"\n" + b"1," * 99_999 + b"1\n")


def test_whole_tensors_have_no_cells() -> None:
    signature = image_bundle().manifest.signature
    assert not CsvForm.reads(signature)
    with pytest.raises(Unsupported):
        CsvForm(signature, "m", 1).decode(b"image\n1\n")


def test_answers_read_back() -> None:
    labels = np.array(['a "quoted", one', "two\r\nlines"], dtype=object)
    outputs = [labels, np.array([[0.1, 0.9], [np.nan, np.inf]], dtype=np.float32)]
    assert FORM.encode(outputs).startswith(b"prediction\r\n")
    rows = list(csv.reader(io.StringIO(FORM.encode_full(outputs).decode(), newline=""), strict=True))
    assert rows == [
        ["prediction", "probability_small", "probability_big"],
        ['a "quoted", one', "0.1", "0.9"],
        ["two\r\nlines", "", ""],
    ]


def test_wide_answers_are_a_column_an_element() -> None:
    form = CsvForm(image_bundle().manifest.signature, "m", 1)
    outputs = [np.array([1.5], dtype=np.float32), np.array([[[2.5]]], dtype=np.float32)]
    assert form.encode(outputs) == b"mean,peak_0_0\r\n1.5,2.5\r\n"
    assert CsvForm(linear_signature(), "m", 1).encode([np.array([True, False])]) == b"prediction\r\ntrue\r\nfalse\r\n"
