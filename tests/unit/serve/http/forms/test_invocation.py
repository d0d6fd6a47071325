"""Bodies of clouds' callers: which words decide what JSON means, and in whose words the answer is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.core.errors import InvalidInput, InvalidRequest, ModelyardError, NoRows, NotAcceptable, Unsupported
from modelyard.core.signature import Feature, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.serve.http.forms.invocation import Invocation
from tests.models import image_bundle, mixed_signature

ROW = {"species": "gentoo", "length": 2.5, "mass": None}
OUTPUTS = [["big"], [[0.25, 0.75]]]
TENSORS = [
    {"name": "species", "shape": [1], "datatype": "BYTES", "data": ["gentoo"]},
    {"name": "length", "shape": [1], "datatype": "FP64", "data": [2.5]},
    {"name": "mass", "shape": [1], "datatype": "FP64", "data": [None]},
]


@pytest.fixture(scope="module")
def form() -> Invocation:
    return Invocation(mixed_signature(), "mixed", 1)


def _said(arrays: Any) -> list[list[Any]]:
    return [["nan" if value != value else value for value in array.ravel().tolist()] for array in arrays]


def _read(form: Invocation, body: Any, kind: str = "application/json", accept: str = "") -> tuple[Any, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    arrays, write = form.read(raw, {b"content-type": kind.encode()}, accept.encode())
    return _said(arrays), write


def _outputs() -> list[Any]:
    import numpy as np

    label = np.array(["big"], dtype=object)
    return [label, np.array([[0.25, 0.75]], dtype=np.float32)]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (ROW, {"prediction": ["big"]}),
        ([ROW], {"prediction": ["big"]}),
        ({name: [value] for name, value in ROW.items()}, {"prediction": ["big"]}),
        ({"instances": [ROW]}, {"predictions": ["big"]}),
        ({"inputs": {name: [value] for name, value in ROW.items()}}, {"predictions": ["big"]}),
        ({"dataframe_records": [ROW]}, {"predictions": ["big"]}),
        ({"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}}, {"predictions": ["big"]}),
        (b'{"instances": [{"species": "gentoo", "length": 2.5, "mass": NaN}]}', {"predictions": ["big"]}),
    ],
)
def test_json_is_told_apart_by_its_members(form: Invocation, body: Any, answer: Any) -> None:
    said, write = _read(form, body)
    assert said == [["gentoo"], [2.5], ["nan"]]
    kind, content = write(_outputs())
    assert (kind, json.loads(content)) == (b"application/json", answer)


def test_tensors_are_answered_as_tensors(form: Invocation) -> None:
    said, write = _read(form, {"inputs": TENSORS, "id": "mine", "outputs": [{"name": "label"}]})
    assert said == [["gentoo"], [2.5], ["nan"]]
    kind, content = write(_outputs())
    told = json.loads(content)
    assert (kind, told["id"], told["outputs"][0]["data"]) == (b"application/json", "mine", ["big"])


def test_a_field_of_an_envelopes_name_is_a_field() -> None:
    features = (Feature(name="instances"), Feature(name="inputs"))
    spec = TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1, 2), features=features)
    out = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,))
    form = Invocation(Signature(inputs=(spec,), outputs=(out,)), "odd", 1)
    assert _read(form, {"instances": 1.5, "inputs": 2})[0] == [[1.5, 2.0]]
    assert _read(form, {"dataframe_records": [{"instances": 1.5, "inputs": 2}]})[0] == [[1.5, 2.0]]


def test_a_list_that_holds_no_objects_is_the_only_tensors() -> None:
    signature = image_bundle().manifest.signature
    form = Invocation(signature, "image", 1)
    picture = [[float(at) for at in range(4)]] * 3
    assert _read(form, [picture, picture])[0] == [[0.0, 1.0, 2.0, 3.0] * 6]


@pytest.mark.parametrize(
    ("accept", "kind", "content"),
    [
        ("", b"application/json", b'{"prediction": ["big"]}'),
        ("*/*", b"application/json", b'{"prediction": ["big"]}'),
        ("application/json", b"application/json", b'{"prediction": ["big"]}'),
        ("text/csv", b"text/csv", b"big\n"),
        ("text/csv; header=present", b"text/csv; charset=utf-8; header=present", b"prediction\r\nbig\r\n"),
        ("application/jsonlines", b"application/jsonlines", b'{"prediction": "big"}\n'),
        ("text/csv;q=0.1, application/jsonlines", b"application/jsonlines", b'{"prediction": "big"}\n'),
        ("image/png, text/csv", b"text/csv", b"big\n"),
    ],
)
def test_accept_names_the_answers_form(form: Invocation, accept: str, kind: bytes, content: bytes) -> None:
    assert _read(form, ROW, accept=accept)[1](_outputs()) == (kind, content)


def test_lines_are_answered_in_lines_unless_told_otherwise(form: Invocation) -> None:
    lines = b"\n".join([json.dumps(ROW).encode()] * 2) + b"\n\n"
    said, write = _read(form, lines, "application/x-ndjson")
    assert said[1] == [2.5, 2.5]
    assert write(_outputs())[0] == b"application/jsonlines"
    assert (
        _read(form, lines, "application/jsonlines", "application/json")[1](_outputs())[1] == b'{"prediction": ["big"]}'
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"gentoo,2.5,\n", "text/csv"),
        (b"species,length,mass\ngentoo,2.5,\n", "text/csv"),
        (b"mass,species,length\n,gentoo,2.5\n", "text/csv; charset=UTF-8"),
        (b"gentoo,2.5,\n", "text/csv; header=absent"),
        (b'"species","length"\ngentoo,2.5\n', "text/csv"),
    ],
)
def test_a_line_of_names_is_known_by_its_names(form: Invocation, body: bytes, kind: str) -> None:
    assert _read(form, body, kind)[0] == [["gentoo"], [2.5], ["nan"]]


@pytest.mark.parametrize(
    ("body", "kind", "accept", "error"),
    [
        (ROW, "", "", Unsupported),
        (ROW, "image/png", "", Unsupported),
        (ROW, "application/json; charset=latin-1", "", Unsupported),
        (ROW, "application/json", "image/png", NotAcceptable),
        (ROW, "application/json", "text/csv;q=0", NotAcceptable),
        (b"", "application/json", "", InvalidRequest),
        (b"[" * 100_000, "application/json", "", InvalidRequest),
        (b"{" * 100_000, "application/json", "", InvalidRequest),
        (b"3", "application/json", "", InvalidInput),
        ([], "application/json", "", NoRows),
        ([ROW, 1], "application/json", "", InvalidInput),
        ([1, 2], "application/json", "", ModelyardError),
        ({"instances": [ROW], "inputs": [ROW]}, "application/json", "", InvalidRequest),
        ({"inputs": [*TENSORS, TENSORS[0]]}, "application/json", "", InvalidRequest),
        ({"instances": [ROW], "more": 1}, "application/json", "", InvalidRequest),
        (b"1\n2\n", "application/jsonlines", "", InvalidRequest),
        (b"{}\n{}\n", "application/jsonlines", "", InvalidInput),
        (b"x", "application/octet-stream", "", Unsupported),
        (b"x", "application/vnd.sagemaker-triton.binary+json;json-header-size=9", "", InvalidRequest),
        (b"specis,length,mass\ngentoo,2.5,\n", "text/csv", "", InvalidInput),
    ],
)
def test_what_does_not_fit_is_refused(
    form: Invocation, body: Any, kind: str, accept: str, error: type[ModelyardError]
) -> None:
    with pytest.raises(error):
        _read(form, body, kind, accept)
