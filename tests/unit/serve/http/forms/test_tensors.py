"""Open Inference Protocol v2: what was encoded is decoded; everything else is refused by name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelyard.core.errors import (
    InvalidRequest,
    ModelyardError,
    NoRows,
    UnknownField,
    Unsupported,
    WrongShape,
    WrongType,
)
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, encode_raw, narrowed
from modelyard.serve.http.forms.tensors import TensorForm, Wanted
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.hostile import HOSTILE, outcome, same

#: One opaque [-1, -1] tensor of every type, in and out.
SPECS = tuple(TensorSpec(name=datatype.lower(), datatype=datatype, shape=(-1, -1)) for datatype in Datatype)
ECHOES = {spec.datatype: TensorForm(Signature(inputs=(spec,), outputs=(spec,)), "echo", 1) for spec in SPECS}
ALL = TensorForm(Signature(inputs=SPECS, outputs=SPECS), "all", 7)
LINEAR = TensorForm(linear_signature(("a", "b")), "linear", 1)
MIXED = TensorForm(mixed_signature(), "mixed", 2)
IMAGE = TensorForm(image_bundle().manifest.signature, "image", 1)
COUNT = TensorForm(count_bundle().manifest.signature, "count", 1)
GOOD = {"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}


def request(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def with_raw(document: dict[str, Any], *raw: bytes) -> tuple[bytes, bytes]:
    text = json.dumps(document).encode()
    return text + b"".join(raw), b"%d" % len(text)


@st.composite
def tensor(draw: st.DrawFn, datatype: Datatype, rows: int) -> Array:
    shape = (rows, draw(st.integers(1, 3)))
    if datatype is Datatype.BYTES:
        return draw(hnp.arrays(object, shape, elements=st.text(st.characters(exclude_categories=("Cs",)), max_size=4)))
    elements = hnp.from_dtype(datatype.dtype, allow_infinity=False)  # infinity is null in JSON
    return narrowed(draw(hnp.arrays(datatype.dtype, shape, elements=elements)), datatype)


def turned_around(answer: bytes, length: int | None) -> tuple[bytes, bytes | None]:
    """An answer's outputs as a request's inputs."""
    at = len(answer) if length is None else length
    document = json.loads(answer[:at])
    text = json.dumps(
        {"inputs": document["outputs"], "parameters": {"binary_data_output": length is not None}}
    ).encode()
    return text + answer[at:], None if length is None else b"%d" % len(text)


@given(st.data(), st.sampled_from([item for item in Datatype if item.in_json]))
@settings(deadline=None, max_examples=150)
def test_json_is_decoded_as_it_was_encoded(data: st.DataObject, datatype: Datatype) -> None:
    codec = ECHOES[datatype]
    array = data.draw(tensor(datatype, data.draw(st.integers(1, 4))))
    answer, length = codec.encode([array], Wanted("", ((0, False),)))
    assert length is None
    (back,), _ = codec.decode(*turned_around(answer, None))
    assert same(
        (back,), (np.where(np.isnan(array), np.array(np.nan, array.dtype), array) if datatype.is_float else array,)
    )


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_every_mixture_of_binary_and_json_is_decoded(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 3))
    arrays = [data.draw(tensor(spec.datatype, rows)) for spec in SPECS]
    binary = [not spec.datatype.in_json or data.draw(st.booleans()) for spec in SPECS]
    order = data.draw(st.permutations(range(len(SPECS))))
    answer, length = ALL.encode(arrays, Wanted("r-1", tuple((at, binary[at]) for at in order)))
    assert length is not None
    document = json.loads(answer[:length])
    assert (document["id"], document["model_name"], document["model_version"]) == ("r-1", "all", "7")
    back, _ = ALL.decode(*turned_around(answer, length))
    for spec, one, other in zip(SPECS, back, arrays, strict=True):
        assert one.dtype == spec.datatype.dtype
        np.testing.assert_array_equal(one, other)


def test_the_prototype_of_a_request() -> None:
    (array,), wanted = LINEAR.decode(request(GOOD, id="42"), None)
    assert array.tolist() == [[1, 2]]
    assert wanted == Wanted("42", ((0, False),))
    assert LINEAR.encode([np.array([3.0])], wanted) == (
        b'{"model_name":"linear","model_version":"1","id":"42",'
        b'"outputs":[{"name":"prediction","datatype":"FP64","shape":[1],"data":[3.0]}]}',
        None,
    )


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
@pytest.mark.parametrize("text", ["%s", " %s ", "\n\t%s"])
def test_data_is_flat_or_nested_like_its_shape(data: Any, text: str) -> None:
    body = request({**GOOD, "shape": [2, 2], "data": "@"}).replace(b'"@"', (text % json.dumps(data, indent=1)).encode())
    assert LINEAR.decode(body, None)[0][0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "data",
    [
        [[1, 2, 3], [4]],  # as many elements, of another form
        [[1], [2], [3], [4]],
        [[1, 2, 3, 4]],
        [[1, 2], [3]],
        [[[1, 2], [3, 4]]],
        [[1, 2], 3, 4],
        [1, 2, [3, 4]],
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [],
        [[]],
        "1234",
        None,
        {"0": 1},
        4,
        ["1", "2", "3", "4"],
        [True, False, True, False],
        [1, 2, 3, None],
    ],
)
def test_data_that_does_not_fill_its_shape(data: Any) -> None:
    error = outcome(lambda: LINEAR.decode(request({**GOOD, "shape": [2, 2], "data": data}), None))
    assert isinstance(error, ModelyardError)
    assert "'input'" in error.detail or "'b'" in error.detail


SHAPES = [
    [],
    [0],
    [2],
    [1, 1],
    [2, 1],
    [1, 2, 1],
    [-1, 2],
    [1, -2],
    [2**31, 1],
    [2**31 + 1, 2],
    [2**63],
    [2**64, 2],
    [10**30, 2],
    [2**32, 2**32],
    [2**31, 2**31, 2**31],
    [0, 2**40],
    [0, 2**31, 2**31],
    [0, 10**30],
    [1] * 33,
    [1] * 100,
    [2**20] * 16,
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape)[:30])
@pytest.mark.parametrize("codec", [LINEAR, IMAGE], ids=["linear", "image"])
@pytest.mark.parametrize("binary", [False, True])
def test_shapes_that_are_none(shape: list[int], codec: TensorForm, binary: bool) -> None:
    item: dict[str, Any] = {"name": "input", "shape": shape, "datatype": "FP64"}
    if codec is IMAGE:
        item |= {"name": "image", "datatype": "FP32"}
    count = min(int(np.prod([max(axis, 0) for axis in shape[:4]], dtype=object)), 4)
    raw = b"\0" * (count * (8 if codec is LINEAR else 4)) if binary else b""
    item |= {"parameters": {"binary_data_size": len(raw)}} if binary else {"data": [0] * count}
    error = outcome(lambda: codec.decode(*with_raw({"inputs": [item]}, raw)))
    assert isinstance(error, (WrongShape, NoRows))
    assert isinstance(error, NoRows) or item["name"] in error.detail


@pytest.mark.parametrize("shape", [[1.5, 2], ["1", 2], [None], "12", None, {"0": 1}, [[1, 2]], [True, 2]])
def test_shapes_that_are_no_integers(shape: Any) -> None:
    with pytest.raises(InvalidRequest):
        LINEAR.decode(request({**GOOD, "shape": shape}), None)


@pytest.mark.parametrize("form", [{"data": []}, {"parameters": {"binary_data_size": 0}}])
def test_no_rows_are_refused(form: dict[str, Any]) -> None:
    item = {"name": "count", "shape": [0, 1], "datatype": "INT64", **form}
    with pytest.raises(NoRows):
        COUNT.decode(request(item), None)


@pytest.mark.parametrize("datatype", ["FP32", "fp64", "INT64", "BYTES", "", "X" * 10_000])
def test_another_datatype(datatype: str) -> None:
    with pytest.raises(WrongType, match="'input' must be datatype FP64"):
        LINEAR.decode(request({**GOOD, "datatype": datatype}), None)


def test_missing_extra_and_repeated_inputs() -> None:
    with pytest.raises(ModelyardError, match="missing input length, mass"):
        MIXED.decode(request({"name": "species", "shape": [1], "datatype": "BYTES", "data": ["gentoo"]}), None)
    with pytest.raises(UnknownField, match="'other'"):
        LINEAR.decode(request(GOOD, {**GOOD, "name": "other"}), None)
    with pytest.raises(InvalidRequest, match="'input' is sent twice"):
        LINEAR.decode(request(GOOD, GOOD), None)
    for body in (b"{}", request(), b'{"inputs":{}}', b'{"inputs":[3]}', b'{"inputs":[{}]}', b'{"inputs":null}'):
        assert isinstance(outcome(lambda: LINEAR.decode(body, None)), ModelyardError)  # noqa: B023
    error = outcome(lambda: LINEAR.decode(request({**GOOD, "name": "n" * 1_000_000}), None))
    assert len(json.dumps(error.to_wire())) < 500


def test_signature_rules_hold_for_tensors_too() -> None:
    species = {"name": "species", "shape": [2, 1], "datatype": "BYTES", "data": ["gentoo", "dodo"]}
    numbers = [{"name": name, "shape": [2], "datatype": "FP64", "data": [1, 2]} for name in ("length", "mass")]
    assert "'dodo' (row 1)" in outcome(lambda: MIXED.decode(request(species, *numbers), None)).detail
    species["data"] = ["gentoo", "adelie"]
    arrays, _ = MIXED.decode(request(*numbers, species), None)
    assert [array.shape for array in arrays] == [(2, 1)] * 3
    numbers[1]["data"] = [1, None]  # null is a missing value, where it may be missing
    assert np.isnan(MIXED.decode(request(species, *numbers), None)[0][2][1, 0])
    numbers[0]["data"] = [None, 1]
    assert "'length' may not be missing" in outcome(lambda: MIXED.decode(request(species, *numbers), None)).detail


@pytest.mark.parametrize(
    ("codec", "name", "datatype", "shape", "value"),
    [
        (COUNT, "count", "INT64", [1, 1], 2**63),
        (COUNT, "count", "INT64", [1, 1], 1.5),
        (COUNT, "count", "INT64", [1, 1], 1.0),
        (ECHOES[Datatype.INT8], "int8", "INT8", [1, 1], 300),
        (ECHOES[Datatype.UINT8], "uint8", "UINT8", [1, 1], -1),
        (ECHOES[Datatype.FP32], "fp32", "FP32", [1, 1], 1e300),
        (ECHOES[Datatype.FP64], "fp64", "FP64", [1, 1], 10**400),
        (ECHOES[Datatype.BOOL], "bool", "BOOL", [1, 1], 1),
        (ECHOES[Datatype.BYTES], "bytes", "BYTES", [1, 1], 1),
        (ECHOES[Datatype.FP16], "fp16", "FP16", [1, 1], 1),  # by the protocol, these are sent in binary
        (ECHOES[Datatype.BF16], "bf16", "BF16", [1, 1], 1),
    ],
)
def test_values_that_a_type_cannot_hold(
    codec: TensorForm, name: str, datatype: str, shape: list[int], value: Any
) -> None:
    with pytest.raises(WrongType, match=f"'{name}'"):
        codec.decode(request({"name": name, "shape": shape, "datatype": datatype, "data": [value]}), None)


RAW = encode_raw(np.array([[1.0, 2.0]]), Datatype.FP64)
BINARY = {"name": "input", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}


def test_binary_data_follows_the_header() -> None:
    (array,), _ = LINEAR.decode(*with_raw({"inputs": [BINARY]}, RAW))
    assert array.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("size", "raw", "says"),
    [
        (16, RAW[:-1], "15 bytes left"),
        (16, RAW + b"x", "1 bytes of binary data belong to no input"),
        (15, RAW, "needs 16 bytes, got 15"),
        (8, RAW, "needs 16 bytes"),
        (0, RAW, "needs 16 bytes"),
        (-1, RAW, "binary_data_size is -1"),
        (2**70, RAW, "the body has 16 bytes left"),
        (16.0, RAW, "binary_data_size is 16.0"),
        ("16", RAW, "binary_data_size is 16"),
        (True, RAW, "binary_data_size is True"),
        ([16], RAW, "binary_data_size"),
    ],
)
def test_binary_data_of_another_length(size: Any, raw: bytes, says: str) -> None:
    item = {**BINARY, "parameters": {"binary_data_size": size}}
    assert says in outcome(lambda: LINEAR.decode(*with_raw({"inputs": [item]}, raw))).detail


@pytest.mark.parametrize("header", [b"", b"-1", b"+5", b"1e2", b" 5", b"5 5", b"0x5", b"99999", b"9" * 5_000, b"\xb2"])
def test_header_lengths_that_are_none(header: bytes) -> None:
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
        LINEAR.decode(request(GOOD), header)


def test_what_is_not_spoken() -> None:
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 16}
    with pytest.raises(Unsupported, match="output 'prediction': shared memory"):
        LINEAR.decode(request(GOOD, outputs=[{"name": "prediction", "parameters": shared}]), None)
    without = {key: value for key, value in GOOD.items() if key != "data"}
    with pytest.raises(Unsupported, match="input 'input': shared memory"):
        LINEAR.decode(request({**without, "parameters": shared}), None)
    with pytest.raises(InvalidRequest, match="both data and binary_data_size"):
        LINEAR.decode(*with_raw({"inputs": [{**BINARY, "data": [1, 2]}]}, RAW))


@pytest.mark.parametrize(
    ("more", "outputs"),
    [
        ({}, ((0, False), (1, False))),
        ({"outputs": []}, ((0, False), (1, False))),
        ({"outputs": None}, ((0, False), (1, False))),
        ({"parameters": {"binary_data_output": True}}, ((0, True), (1, True))),
        ({"parameters": {"binary_data_output": False}}, ((0, False), (1, False))),
        ({"parameters": {}}, ((0, False), (1, False))),
        ({"parameters": None, "id": None}, ((0, False), (1, False))),
        ({"outputs": [{"name": "probabilities"}, {"name": "label"}]}, ((1, False), (0, False))),
        ({"outputs": [{"name": "probabilities"}]}, ((1, False),)),
        ({"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}, ((1, True),)),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}],
            },
            ((0, False), (1, True)),
        ),
    ],
)
def test_what_is_wanted_back(more: dict[str, Any], outputs: tuple[tuple[int, bool], ...]) -> None:
    numbers = [{"name": name, "shape": [1], "datatype": "FP64", "data": [1]} for name in ("length", "mass")]
    species = {"name": "species", "shape": [1], "datatype": "BYTES", "data": ["gentoo"]}
    assert MIXED.decode(request(species, *numbers, **more), None)[1].outputs == outputs


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(UnknownField, match="'nope'"):
        LINEAR.decode(request(GOOD, outputs=[{"name": "nope"}]), None)


def test_an_output_is_asked_for_once() -> None:
    with pytest.raises(InvalidRequest, match="'prediction' is asked for twice"):
        LINEAR.decode(request(GOOD, outputs=[{"name": "prediction"}, {"name": "prediction"}]), None)


def test_how_long_the_caller_waits() -> None:
    assert LINEAR.decode(request(GOOD), None)[1].wait_s == float("inf")
    assert LINEAR.decode(request(GOOD, parameters={"timeout": 250_000}), None)[1].wait_s == 0.25


# --- classes ------------------------------------------------------------------------------------------------------


def mixed_request(**more: Any) -> bytes:
    numbers = [{"name": name, "shape": [1], "datatype": "FP64", "data": [1]} for name in ("length", "mass")]
    return request({"name": "species", "shape": [1], "datatype": "BYTES", "data": ["gentoo"]}, *numbers, **more)


@pytest.mark.parametrize("binary", [False, True])
def test_the_best_classes_instead_of_the_scores(binary: bool) -> None:
    classes = {"name": "probabilities", "parameters": {"classification": 1, "binary_data": binary}}
    _, wanted = MIXED.decode(mixed_request(outputs=[classes, {"name": "label"}]), None)
    outputs = [np.array(["big"], dtype=object), np.array([[0.25, 0.75]], dtype=np.float32)]
    body, length = MIXED.encode(outputs, wanted)
    best, label = json.loads(body[:length])["outputs"]
    text = "0.750000:1:big"
    assert (best["name"], best["datatype"], best["shape"]) == ("probabilities", "BYTES", [1, 1])
    assert best.get("data", [text]) == [text]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["big"]}
    if binary:
        assert body[length:] == len(text).to_bytes(4, "little") + text.encode()


def test_what_has_no_classes_is_refused_before_the_model_is_asked() -> None:
    with pytest.raises(InvalidRequest, match="'label' has no classes"):
        MIXED.decode(mixed_request(outputs=[{"name": "label", "parameters": {"classification": 2}}]), None)


# --- halves of a float --------------------------------------------------------------------------------------------

HALVES = [Datatype.FP16, Datatype.BF16]


@pytest.mark.parametrize("datatype", HALVES)
def test_halves_are_refused_in_json_and_told_what_to_do(datatype: Datatype) -> None:
    codec, name = ECHOES[datatype], datatype.lower()
    item = {"name": name, "shape": [1, 1], "datatype": datatype}
    with pytest.raises(WrongType, match="binary data format"):
        codec.decode(request({**item, "data": [1]}, parameters={"binary_data_output": True}), None)
    binary = {**item, "parameters": {"binary_data_size": 2}}
    ways: list[dict[str, Any]] = [
        {},
        {"outputs": [{"name": name}]},
        {"parameters": {"binary_data_output": True}, "outputs": [{"name": name, "parameters": {"binary_data": False}}]},
    ]
    for more in ways:
        error = outcome(lambda: codec.decode(*with_raw({"inputs": [binary], **more}, b"\0\0")))  # noqa: B023
        assert isinstance(error, InvalidRequest)
        assert "binary data format" in error.cause


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from([2**31, 2**64, "FP64", "input", "data", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "shape", "data", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.data(), st.sampled_from([LINEAR, MIXED, IMAGE, COUNT, ALL]))
@settings(deadline=None, max_examples=300)
def test_mutated_requests_are_arrays_or_refused(data: st.DataObject, codec: TensorForm) -> None:
    signature = codec._signature
    rows = data.draw(st.integers(0, 2))
    items: list[Any] = []
    raws: list[bytes] = []
    for spec in signature.inputs:
        shape = [rows, *(1 if axis < 0 else axis for axis in spec.shape[1:])]
        array = np.full(shape, "gentoo" if spec.datatype is Datatype.BYTES else 0, dtype=spec.datatype.dtype)
        item: dict[str, Any] = {"name": spec.name, "shape": shape, "datatype": str(spec.datatype)}
        if not spec.datatype.in_json or data.draw(st.booleans()):
            raws.append(encode_raw(array, spec.datatype))
            item["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            item["data"] = array.tolist() if data.draw(st.booleans()) else array.ravel().tolist()
        items.append(item)
    document: dict[str, Any] = {"inputs": items, "parameters": {"binary_data_output": codec is ALL}}
    changes = data.draw(st.integers(0, 2))
    for _ in range(changes):
        if data.draw(st.booleans()) and isinstance(items[0], dict):
            items[0] = {
                **items[0],
                data.draw(st.sampled_from(["name", "shape", "datatype", "data", "parameters"])): data.draw(JUNK),
            }
        else:
            document[data.draw(st.sampled_from(["inputs", "outputs", "id", "parameters"]))] = data.draw(JUNK)
    body, length = with_raw(document, *raws)
    cut = data.draw(st.sampled_from([0, 0, 0, 1, 5]))
    result = outcome(lambda: codec.decode(body[: len(body) - cut], length))
    if not changes and not cut:
        assert isinstance(result, NoRows if rows == 0 else tuple)
    if isinstance(result, tuple):
        assert [array.dtype for array in result[0]] == [spec.datatype.dtype for spec in signature.inputs]


@given(st.data(), st.booleans())
@settings(deadline=None, max_examples=300)
def test_a_changed_byte_is_arrays_or_refused(data: st.DataObject, binary: bool) -> None:
    body, length = with_raw({"inputs": [BINARY]}, RAW) if binary else (request(GOOD), None)
    at, byte = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 255))
    result = outcome(lambda: LINEAR.decode(body[:at] + bytes([byte]) + body[at + 1 :], length))
    assert isinstance(result, (tuple, ModelyardError))


FORMS = [
    b"%s",
    b'{"inputs": %s}',
    b'{"inputs": [%s]}',
    b'{"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP64", "data": %s}]}',
    b'{"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1, %s]}]}',
    b'{"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [[1, %s]]}]}',
    b'{"id": %s, "inputs": []}',
    b'{"parameters": %s, "inputs": []}',
]


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("form", FORMS)
def test_hostile_documents_are_refused(body: bytes, form: bytes) -> None:
    whole = form.replace(b"%s", body)
    result = outcome(lambda: LINEAR.decode(whole, None))
    assert isinstance(result, ModelyardError) or body in {b"3"}  # [1, 3] is a request


# --- answers ----------------------------------------------------------------------------------------------------


def test_nan_is_null_and_text_is_text() -> None:
    outputs = [np.array(["é", ""], dtype=object), np.array([[np.nan, 0.1], [np.inf, 1]], dtype=np.float32)]
    text, length = MIXED.encode(outputs, Wanted("", ((0, False), (1, False))))
    assert length is None
    label, scores = json.loads(text)["outputs"]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["é", ""]}
    assert scores["data"] == [None, 0.1, None, 1.0]


def test_only_what_was_asked_is_answered_in_that_order() -> None:
    outputs = [np.array(["a"], dtype=object), np.array([[0.5, 0.5]], dtype=np.float32)]
    body, length = MIXED.encode(outputs, Wanted("", ((1, True), (0, True))))
    document = json.loads(body[:length])
    assert [item["name"] for item in document["outputs"]] == ["probabilities", "label"]
    assert [item["parameters"]["binary_data_size"] for item in document["outputs"]] == [8, 5]
    assert body[length:] == np.float32([0.5, 0.5]).tobytes() + b"\x01\0\0\0a"
