"""The friendly contract: as fast as typed decoding, as exact as `core.rows`, and never a crash."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest, ModelyardError, NoRows, UnknownField, WrongType
from modelyard.core.rows import from_columns, from_objects
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.serve.http.forms.rows import RowForm, dump_array
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.hostile import HOSTILE, outcome, same

OUTPUT = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,))


def packed(datatype: Datatype, *features: Feature) -> Signature:
    spec = TensorSpec(name="t", datatype=datatype, shape=(-1, len(features)), features=features)
    return Signature(inputs=(spec,), outputs=(OUTPUT,))


WORDS = ("a", "b", "é")
SIGNATURES: dict[str, Signature] = {
    "linear": linear_signature(("a", "b")),
    "mixed": mixed_signature(),
    "open": mixed_signature(accepts_unknown=True),
    "image": image_bundle().manifest.signature,
    "count": count_bundle().manifest.signature,
    "nullable": packed(
        Datatype.FP32,
        Feature(name="n", nullable=True),
        Feature(name="i", kind=FeatureKind.INTEGER, nullable=True),
        Feature(name="t", kind=FeatureKind.BOOLEAN, nullable=True),
    ),
    "words": packed(
        Datatype.BYTES,
        Feature(name="c", kind=FeatureKind.CATEGORY, categories=WORDS, nullable=True),
        Feature(name="f", kind=FeatureKind.TEXT),
    ),
    "truth": packed(Datatype.BOOL, Feature(name="yes", kind=FeatureKind.BOOLEAN)),
    "small": packed(
        Datatype.INT8, Feature(name="i", kind=FeatureKind.INTEGER), Feature(name="j", kind=FeatureKind.INTEGER)
    ),
    "flat": Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1,), features=(Feature(name="x"),)),),
        outputs=(OUTPUT,),
    ),
    "odd names": packed(Datatype.FP64, Feature(name='size "in"'), Feature(name="a\\b"), Feature(name="")),
}
CODECS = {name: RowForm(signature, name, 1) for name, signature in SIGNATURES.items()}
NAMES = st.sampled_from(list(SIGNATURES))


def reference(signature: Signature, body: bytes) -> tuple[Array, ...]:
    """What the body means: the parsed document through `core.rows`."""
    document = msgspec.json.decode(body)
    if isinstance(document, list):
        return from_objects(signature, document)
    lists = bool(document) and all(isinstance(value, list) for value in document.values())
    if lists and all(spec.features for spec in signature.inputs):
        return from_columns(signature, document)
    return from_objects(signature, [document])


def agree(name: str, body: bytes) -> None:
    """The codec and the reference give the same arrays, or the same refusal."""
    got = outcome(lambda: CODECS[name].decode(body))
    want = outcome(lambda: reference(SIGNATURES[name], body))
    if isinstance(want, ModelyardError):
        assert isinstance(got, type(want)), (got, want)
        assert got.detail == want.detail
    else:
        assert not isinstance(got, ModelyardError), got
        assert same(got, want)


NUMBERS = (
    st.integers(-10, 300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 1e300, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**70), 3.0, 16777217])
)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=4) | st.sampled_from(
    ["", "adelie", "gentoo", *WORDS]
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


def values_of(feature: Feature) -> st.SearchStrategy[Any]:
    kinds: dict[FeatureKind, st.SearchStrategy[Any]] = {
        FeatureKind.NUMBER: NUMBERS,
        FeatureKind.INTEGER: st.integers(-128, 127) | st.sampled_from([2**40, 3.0, 2.5]),
        FeatureKind.BOOLEAN: st.booleans(),
        FeatureKind.CATEGORY: st.sampled_from(feature.categories or ("a",)) | TEXTS,
        FeatureKind.TEXT: TEXTS,
    }
    return kinds[feature.kind] | st.none() if feature.nullable else kinds[feature.kind]


@st.composite
def documents(draw: st.DrawFn, signature: Signature) -> Any:
    """Rows that mostly fit, and then something is done to them."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for spec in signature.inputs:
        fields |= {feature.name: values_of(feature) for feature in spec.features}
        if not spec.features:
            flat = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4)
            fields[spec.name] = st.lists(flat, min_size=3, max_size=3)
    rows: list[Any] = draw(st.lists(st.fixed_dictionaries(fields), max_size=4))
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from([*signature.field_names, "zz"]))
        change = draw(st.sampled_from(["drop", "value", "row"]))
        if rows and change == "row":
            rows[draw(st.integers(0, len(rows) - 1))] = draw(JUNK)
        elif rows and isinstance(rows[-1], dict):
            rows[-1] = (
                {**rows[-1], name: draw(JUNK)}
                if change == "value"
                else {k: v for k, v in rows[-1].items() if k != name}
            )
    form = draw(st.sampled_from(["list", "object", "columns", "columns", "junk"]))
    if form == "object" and rows:
        return rows[0]
    if form == "columns" and all(isinstance(row, dict) for row in rows):
        names = {name for row in rows for name in row}
        return {name: [row[name] for row in rows if name in row] for name in names}
    return draw(JUNK) if form == "junk" else rows


@given(st.data(), NAMES)
@settings(deadline=None, max_examples=500)
def test_it_means_what_the_rows_mean(data: st.DataObject, name: str) -> None:
    document = data.draw(documents(SIGNATURES[name]))
    try:
        body = json.dumps(document, allow_nan=False, ensure_ascii=data.draw(st.booleans())).encode()
    except ValueError:
        return
    if document is None or isinstance(document, (bool, int, float, str)):
        assert isinstance(outcome(lambda: CODECS[name].decode(body)), WrongType)
    else:
        agree(name, body)


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize(
    "body", [b'{"a":1,"b":2}', b"[{}]", b"{}", b"[]", b"[[]]", b"[null]", b'{"a":[],"b":[]}', b'{"zz":[]}']
)
def test_the_small_cases_agree(name: str, body: bytes) -> None:
    agree(name, body)


@given(
    NAMES,
    st.binary(max_size=60) | st.sampled_from([b'{"a": 1, "b": 2}', b'[{"species": "adelie", "length": 1}]']),
    st.data(),
)
@settings(deadline=None, max_examples=200)
@example("linear", b'{"a":"\xff"}', None)
def test_any_bytes_are_arrays_or_refused(name: str, body: bytes, data: st.DataObject | None) -> None:
    if data is not None and body:
        at, byte = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 255))
        body = body[:at] + bytes([byte]) + body[at + 1 :]
    result = outcome(lambda: CODECS[name].decode(body))
    assert isinstance(result, (tuple, ModelyardError))


@pytest.mark.parametrize("name", ["linear", "mixed", "image", "nullable", "odd names"])
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("form", [b"%s", b"[%s]"])
def test_hostile_documents_are_refused(name: str, body: bytes, form: bytes) -> None:
    assert isinstance(outcome(lambda: CODECS[name].decode(form.replace(b"%s", body))), ModelyardError)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a": 1, "a": "x", "b": 2}', "'a' is sent twice"),
        (b'{"a": 18446744073709551616, "b": "x"}', "'b' must be a number"),
        (b'{"a": 1}', "missing input b"),
        (b'{"a": 1, "b": 2, "c": 3}', "no input 'c'"),
        (b'[{"a": 1, "b": 2}, {"a": 1, "b": null}]', "(row 1)"),
        (b'{"a": [1, 2], "b": [1]}', "'b': 1 rows"),
        (b"[]", "no rows"),
        (b"3", "'body' must be an object or a list of objects"),
    ],
)
def test_refusals_say_what_is_wrong(body: bytes, says: str) -> None:
    error = outcome(lambda: CODECS["linear"].decode(body))
    assert says in error.detail


def test_big_numbers_are_accepted() -> None:
    assert CODECS["linear"].decode(b'{"a": 18446744073709551616, "b": 1}')[0].tolist() == [[2.0**64, 1]]


def test_names_that_typed_decoding_cannot_look_for() -> None:
    row = {'size "in"': 1, "a\\b": 2, "": 3}
    assert CODECS["odd names"].decode(json.dumps(row).encode())[0].tolist() == [[1, 2, 3]]
    columns = {name: [value] for name, value in row.items()}
    assert CODECS["odd names"].decode(json.dumps(columns).encode())[0].tolist() == [[1, 2, 3]]


def test_leading_blanks_do_not_matter() -> None:
    for body in (b' \r\n\t{"a": 1, "b": 2} ', b' [ {"b": 2, "a": 1} ]\n'):
        assert CODECS["linear"].decode(body)[0].tolist() == [[1, 2]]


def test_a_long_unknown_name_is_not_repeated() -> None:
    error = outcome(lambda: CODECS["linear"].decode(b'{"%s": 1, "a": 1, "b": 2}' % (b"x" * 1_000_000)))
    assert isinstance(error, UnknownField)
    assert len(json.dumps(error.to_wire())) < 500


def test_refusals_of_broken_text_and_depth() -> None:
    for body, says in ((b'{"a": "\xff"}', "not valid JSON"), (b"[" * 100_000, "nested too deeply")):
        with pytest.raises(InvalidRequest, match=says):
            CODECS["linear"].decode(body)
    with pytest.raises(NoRows):
        CODECS["image"].decode(b"[]")


# --- answers ----------------------------------------------------------------------------------------------------


def codec(*outputs: TensorSpec, **names: str) -> RowForm:
    return RowForm(Signature(inputs=linear_signature().inputs, outputs=outputs, **names), "m", 3)


def test_a_number_is_written_in_its_own_shortest_form() -> None:
    answer = codec(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 1)))
    assert answer.encode([np.array([[0.1], [1e10]], dtype=np.float32)]) == b'{"prediction": [0.1,10000000000.0]}'


def test_nan_and_infinity_are_null() -> None:
    assert CODECS["linear"].encode([np.array([math.nan, math.inf, 1.0])]) == b'{"prediction": [null,null,1.0]}'


def test_full_answers_name_the_model_and_the_classes() -> None:
    outputs = [np.array(["big"], dtype=object), np.array([[0.25, 0.75]], dtype=np.float32)]
    assert json.loads(CODECS["mixed"].encode_full(outputs)) == {
        "prediction": ["big"],
        "model": "mixed",
        "version": 1,
        "probabilities": [{"small": 0.25, "big": 0.75}],
    }
    assert json.loads(CODECS["mixed"].encode(outputs)) == {"prediction": ["big"]}


def test_one_class_has_a_probability_too() -> None:
    scores = TensorSpec(name="p", datatype=Datatype.FP64, shape=(-1, 1), labels=(True,))
    answer = codec(TensorSpec(name="y", datatype=Datatype.BOOL, shape=(-1,)), scores, prediction="y", probabilities="p")
    raw = answer.encode_full([np.array([True, False]), np.array([[1.0], [0.5]])])
    assert json.loads(raw)["probabilities"] == [{"True": 1.0}, {"True": 0.5}]


def test_without_a_prediction_each_row_has_every_output() -> None:
    outputs = [np.array([5.5, 1], dtype=np.float32), np.array([[[11]], [[2]]], dtype=np.float32)]
    assert json.loads(CODECS["image"].encode(outputs)) == {
        "prediction": [{"mean": 5.5, "peak": [[11.0]]}, {"mean": 1.0, "peak": [[2.0]]}]
    }


@pytest.mark.parametrize("datatype", [item for item in Datatype if item is not Datatype.BYTES])
def test_every_type_can_be_answered(datatype: Datatype) -> None:
    array = np.array([[0, 1], [1, 0]], dtype=datatype.dtype)
    assert json.loads(dump_array(array)) == array.tolist()
    assert json.loads(dump_array(array[:, :1])) == [0, 1]
    assert json.loads(dump_array(array.T[::-1])) == array.T[::-1].tolist()  # not contiguous


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("linear", b'{"a": 1, "a": 1, "b": 2}'),
        ("linear", b'[{"a": 1, "b": 2}, {"a": 1, "b": 2, "b": 2}]'),
        ("linear", b'{"a": [1], "a": [1], "b": [2]}'),
        ("linear", b'[{"a": 1, "a": 2, "b": 2, "b": 3}]'),
    ],
)
def test_a_name_that_is_said_twice_is_refused(form: str, body: bytes) -> None:
    codec = RowForm(linear_signature(("a", "b")), "m", 1)
    with pytest.raises(InvalidRequest, match="is sent twice"):
        codec.decode(body)
    if body.startswith(b"{") and b"[" not in body:
        with pytest.raises(InvalidRequest, match="is sent twice"):
            codec.decode_lines([b'{"a": 1, "b": 2}', body])


@pytest.mark.parametrize("left", ["", ', "mass": null'])
def test_a_name_said_twice_is_seen_where_another_may_be_left_out(left: str) -> None:
    codec = RowForm(mixed_signature(), "m", 1)
    row = '{"species": "gentoo", "length": 1, "length": 2' + left + "}"
    for body in (row, f"[{row}]", f"[{row}, {row}]"):
        with pytest.raises(InvalidRequest, match="'length' is sent twice"):
            codec.decode(body.encode())
    once = '{"species": "gentoo", "length": 1' + left + "}"
    assert codec.decode(once.encode())[0].shape[0] == 1
