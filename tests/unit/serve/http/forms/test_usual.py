"""The usual request: the same arrays and refusals as the ones that are looked at, and all of a call written at once."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import ModelyardError
from modelyard.core.inference import Call, InferResponse
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.serve.http.forms.tensors import TensorForm, Wanted
from modelyard.serve.http.forms.usual import UsualRequest
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.hostile import outcome, same

FP32 = TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 2))
SIGNATURES = {
    "linear": linear_signature(("a", "b")),
    "mixed": mixed_signature(),
    "image": image_bundle().manifest.signature,
    "count": count_bundle().manifest.signature,
    "opaque": Signature(inputs=(FP32,), outputs=(FP32,)),
    "narrow": linear_signature(("a",)),
}
VALUES: dict[Datatype, list[Any]] = {
    Datatype.BYTES: ["gentoo", "adelie", "dodo", ""],
    Datatype.INT64: [0, -0, 7, 2**63 - 1, 2**63],
}
ODD = [None, True, 1.5, "x", 3.5e38, 1e300, [1], {}, 0, -1]


def items(signature: Signature, data: st.DataObject) -> list[dict[str, Any]]:
    """Inputs, most of which are right."""
    rows = data.draw(st.sampled_from([1, 1, 2, 0]))
    found = []
    for spec in signature.inputs:
        shape = [rows, *(2 if axis < 0 else axis for axis in spec.shape[1:])]
        values = VALUES.get(spec.datatype, [0, 1.5, -2, 16777217, 1e-300])
        filled = [data.draw(st.sampled_from(values)) for _ in range(int(np.prod(shape)))]
        item = {"name": spec.name, "datatype": str(spec.datatype), "shape": shape, "data": filled}
        if filled and data.draw(st.integers(0, 5)) == 0:
            filled[data.draw(st.integers(0, len(filled) - 1))] = data.draw(st.sampled_from(ODD))
        if data.draw(st.integers(0, 5)) == 0:
            key = data.draw(st.sampled_from(["name", "datatype", "shape", "data", "parameters", "more"]))
            item[key] = data.draw(
                st.sampled_from(
                    ["x", "FP32", [1], [2, 1], [1, 2], [1, 1], [], {}, {"content_type": "np"}, None, [1.0, 2]]
                )
            )
        found.append(item)
    return found


@given(st.data(), st.sampled_from(sorted(SIGNATURES)))
@settings(deadline=None, max_examples=600)
def test_the_usual_way_agrees_with_the_other(data: st.DataObject, name: str) -> None:
    signature = SIGNATURES[name]
    form, slow = TensorForm(signature, "m", 1), TensorForm(signature, "m", 1)
    slow._usual._decode = None  # nothing is usual to it
    found = items(signature, data)
    if data.draw(st.integers(0, 3)) == 0:
        found = data.draw(st.sampled_from([found[::-1], found[:-1], [*found, *found]]))
    more = data.draw(st.sampled_from([{}, {}, {"id": "7"}, {"id": 7}, {"parameters": {"timeout": 5}}, {"outputs": []}]))
    body = json.dumps({"inputs": found, **more}).encode()
    one, other = outcome(lambda: form.decode(body, None)), outcome(lambda: slow.decode(body, None))
    if isinstance(other, ModelyardError):
        assert isinstance(one, ModelyardError)
        assert one.to_wire() == other.to_wire()
    else:
        assert same(one[0], other[0])
        assert one[1] == other[1]


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_what_most_clients_send_is_usual(name: str) -> None:
    signature = SIGNATURES[name]
    form = TensorForm(signature, "m", 1)
    inputs = []
    for spec in signature.inputs:
        shape = [2, *(abs(axis) for axis in spec.shape[1:])]
        fill: Any = "gentoo" if spec.datatype is Datatype.BYTES else 1
        data = [fill] * int(np.prod(shape))
        inputs.append({"name": spec.name, "shape": shape, "datatype": str(spec.datatype), "data": data})
    usual = isinstance(form._usual, UsualRequest) and form._usual.read(json.dumps({"inputs": inputs}).encode())
    assert (usual is not None) == (min(axis for spec in signature.inputs for axis in (1, *spec.shape[1:])) > 0)


OUTPUTS: list[list[Array]] = [
    [np.array([1.0, 2.5, np.nan])],
    [np.array([[1.0], [2.5], [np.inf]], dtype=np.float32)],
    [np.array(["a,b", 'é"', ""], dtype=object), np.arange(6, dtype=np.float32).reshape(3, 2)],
    [np.array([["a,b", "c"], ["", ","], ["]", "["]], dtype=object)],
    [np.arange(3 * 40).reshape(3, 5, 8)],
    [np.arange(3 * 40, dtype=np.float64).reshape(40, 3).T],
    [np.zeros((3, 0))],
    [np.array([True, False, True])],
    [np.array([1.0, 2.0])],  # a model that answers another number of rows
    [np.array(3.0)],
]


@pytest.mark.parametrize("outputs", OUTPUTS, ids=range(len(OUTPUTS)))
@pytest.mark.parametrize("wanted", [Wanted("", ()), Wanted("id-1", ())], ids=["plain", "named"])
def test_a_row_of_a_call_is_answered_as_if_it_were_alone(outputs: list[Array], wanted: Wanted) -> None:
    specs = tuple(
        TensorSpec(
            name=f"y{at}",
            datatype=Datatype.BYTES if array.dtype == object else Datatype.FP64,
            shape=(-1, *array.shape[1:]),
        )
        for at, array in enumerate(outputs)
    )
    form = TensorForm(Signature(inputs=(FP32,), outputs=specs), "m", 1)
    wanted = Wanted(wanted.id, form._all)
    rows = 3
    call = Call(outputs, rows, 0.0, 0.0)
    if all(array.shape[:1] == (rows,) for array in outputs):
        for first in range(rows):
            given = InferResponse(call, 0.0, first, 1)
            assert form.answer(given, wanted) == form.encode(given.outputs, wanted)
    assert form.answer(InferResponse(call, 0.0, 0, rows), wanted) == form.encode(outputs, wanted)
    alone = Call(outputs, 1, 0.0, 0.0)
    assert form.answer(InferResponse(alone, 0.0, 0, 1), wanted) == form.encode(outputs, wanted)
