"""Raw binary requests: what a body's length says, bodies that are no tensor, and where the length of JSON stands."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard.core.errors import InvalidRequest, ModelyardError, NoRows, WrongShape
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Datatype, encode_raw
from modelyard.serve.http.forms.tensors import TensorForm, Wanted, json_length
from tests.models import mixed_signature

MIXED = TensorForm(mixed_signature(), "mixed", 2)
OTHER = TensorSpec(name="other", datatype=Datatype.BOOL, shape=(-1,))


def one_input(shape: tuple[int, ...], datatype: Datatype = Datatype.FP32) -> TensorForm:
    spec = TensorSpec(name="x", datatype=datatype, shape=shape)
    return TensorForm(Signature(inputs=(spec,), outputs=(spec, OTHER)), "raw", 1)


@pytest.mark.parametrize(
    ("shape", "count", "seen"),
    [
        ((-1, 2), 6, (3, 2)),
        ((-1,), 6, (6,)),
        ((-1, 1), 6, (6, 1)),
        ((-1, -1), 6, (1, 6)),
        ((-1, -1, 3), 6, (1, 2, 3)),
        ((-1, 3, -1), 6, (1, 3, 2)),
        ((-1, 2, 3), 6, (1, 2, 3)),
    ],
)
@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.BF16, Datatype.INT8])
def test_a_bodys_length_is_its_shape(
    shape: tuple[int, ...], count: int, seen: tuple[int, ...], datatype: Datatype
) -> None:
    form = one_input(shape, datatype)
    raw = encode_raw(np.arange(count), datatype)
    (array,), wanted = form.decode(raw, b"0")
    assert array.shape == seen
    assert array.ravel().tolist() == list(range(count))
    assert wanted == Wanted("", ((0, True), (1, True)))


def test_a_text_is_sent_as_it_is() -> None:
    for shape in ((-1,), (-1, 1)):
        (array,), _ = one_input(shape, Datatype.BYTES).decode("Größe".encode(), b"0")
        assert array.ravel().tolist() == ["Größe"]
    (array,), _ = one_input((-1,), Datatype.BYTES).decode(b"", b"0")
    assert array.tolist() == [""]


@pytest.mark.parametrize(
    ("form", "body", "error", "says"),
    [
        (one_input((-1, 2)), b"\0" * 9, WrongShape, "a multiple of 8 bytes, got 9"),
        (one_input((-1, 2)), b"", NoRows, "no rows"),
        (one_input((-1, -1, -1)), b"\0" * 8, InvalidRequest, "does not tell which shape"),
        (one_input((-1, 2), Datatype.BYTES), b"ab", InvalidRequest, "one text"),
        (one_input((-1,), Datatype.BYTES), b"\xff", InvalidRequest, "not UTF-8"),
        (one_input((-1,), Datatype.BOOL), b"\2", InvalidRequest, "must be 0 or 1"),
        (MIXED, b"\0" * 8, InvalidRequest, "models with one input"),
    ],
)
def test_raw_bodies_that_are_no_tensor(form: TensorForm, body: bytes, error: type[ModelyardError], says: str) -> None:
    with pytest.raises(error, match=says):
        form.decode(body, b"0")


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ({}, None),
        ({b"content-type": b"application/json"}, None),
        ({b"inference-header-content-length": b"7"}, b"7"),
        ({b"content-type": b"application/vnd.sagemaker-triton.binary+json;json-header-size=31"}, b"31"),
        ({b"content-type": b"application/vnd.vertex-ai-triton.binary+json; json-header-size=0"}, b"0"),
        ({b"content-type": b"application/vnd.other.binary+json;json-header-size=31"}, None),
        ({b"content-type": b"application/vnd.sagemaker-triton.binary+json;json-header-size=x"}, None),
        (
            {
                b"inference-header-content-length": b"7",
                b"content-type": b"application/vnd.sagemaker-triton.binary+json;json-header-size=31",
            },
            b"7",
        ),
    ],
)
def test_where_the_length_of_the_json_stands(headers: dict[bytes, bytes], length: bytes | None) -> None:
    assert json_length(headers) == length


def test_json_is_not_read_as_numbers() -> None:
    headers = {b"inference-header-content-length": b"0", b"content-type": b"application/json; charset=utf-8"}
    with pytest.raises(InvalidRequest, match="one raw tensor"):
        json_length(headers)
    assert json_length({**headers, b"content-type": b"application/octet-stream"}) == b"0"
    assert json_length({b"inference-header-content-length": b"0"}) == b"0"
