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
from modelyard.core.tensor import Array, Datatype, Packed
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


ONE = {"name": "input", "datatype": "FP64", "shape": [1, 2], "data": [1, 2.5]}


def decoded(signature: Signature, item: dict[str, Any], *, usual: bool = True, **beside: Any) -> Any:
    """What a request with this input becomes, or its refusal."""
    form = TensorForm(signature, "m", 1)
    if not usual:
        form._usual._decode = None
    body = json.dumps({"inputs": [item], **beside}).encode()
    return outcome(lambda: form.decode(body, None))


@pytest.mark.parametrize("more", [{}, {"parameters": {}}, {"parameters": None}], ids=["plain", "empty", "null"])
@pytest.mark.parametrize("beside", [{}, {"id": "7"}, {"parameters": {"timeout": 5}}, {"outputs": []}])
def test_one_row_of_doubles_is_packed(more: dict[str, Any], beside: dict[str, Any]) -> None:
    item = {**ONE, **more}
    arrays, wanted = decoded(SIGNATURES["linear"], item, **beside)
    slowly, wanted_slowly = decoded(SIGNATURES["linear"], item, usual=False, **beside)
    assert type(arrays) is Packed
    assert arrays[0].tolist() == [[1.0, 2.5]]
    assert same(arrays, slowly)
    assert wanted == wanted_slowly


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1]},
        {"shape": [2]},
        {"shape": [2, 1]},
        {"shape": [1, 1, 2]},
        {"shape": [1, 1]},
        {"shape": [1, 3]},
        {"shape": [0, 2]},
        {"shape": []},
        {"shape": [-1, 2]},
        {"shape": [1.0, 2]},
        {"shape": [2, 2]},
        {"shape": [2, 2], "data": [1, 2, 3, 4]},
        {"shape": [0, 2], "data": []},
        {"data": []},
        {"data": [1]},
        {"data": [1, 2, 3]},
        {"data": [1, 2, 3, 4]},
        {"data": [[1, 2]]},
        {"data": [1, None]},
        {"data": [1, "2"]},
        {"data": [1, True]},
        {"data": [1, 2**70]},
        {"data": 1},
        {"data": None},
        {"name": "inputs"},
        {"name": ""},
        {"datatype": "FP32"},
        {"datatype": "fp64"},
        {"datatype": "BYTES"},
        {"parameters": {"binary_data_size": 16}},
        {"parameters": {"content_type": "np"}},
        {"parameters": {"more": 1}},
        {"parameters": [1]},
    ],
    ids=str,
)
def test_what_is_not_one_row_of_doubles_is_read_or_refused_as_ever(change: dict[str, Any]) -> None:
    item = {**ONE, **change}
    fast, slow = (decoded(SIGNATURES["linear"], item, usual=usual) for usual in (True, False))
    if isinstance(slow, ModelyardError):
        assert isinstance(fast, ModelyardError)
        assert fast.to_wire() == slow.to_wire()
    else:
        assert same(fast[0], slow[0])
        assert fast[1] == slow[1]


@pytest.mark.parametrize("name", ["mixed", "image", "count", "opaque"])
def test_other_models_have_no_way_for_one_row(name: str) -> None:
    assert TensorForm(SIGNATURES[name], "m", 1)._usual._row is None


def test_every_double_is_packed_to_the_bit() -> None:
    values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, 2**53 + 1, -1e-7, 16777217]
    signature = linear_signature([f"x{at}" for at in range(len(values))])
    arrays, _ = decoded(signature, {**ONE, "shape": [1, len(values)], "data": values})
    assert type(arrays) is Packed
    assert arrays.raw == np.array(values, dtype=np.float64).tobytes()


ODD_NAMES = ['y"1', "y%s%d", "y\\", "größe", "y\n}],"]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("id_", ["", "7", 'a"b', "%s", "ü\n\\", "x" * 300])
def test_names_and_ids_are_written_whatever_they_are(count: int, id_: str) -> None:
    """In answers of one call, of models with one output and with several."""
    columns = [np.array([1.0, 2.5, -0.0]), np.array(['a,"b"', "", "%b"], dtype=object), np.arange(6.0).reshape(3, 2)]
    outputs = [columns[at % 3] for at in range(count)]
    kinds = [Datatype.FP64, Datatype.BYTES, Datatype.FP64]
    specs = tuple(
        TensorSpec(name=name, datatype=kinds[at % 3], shape=(-1, *array.shape[1:]))
        for at, (name, array) in enumerate(zip(ODD_NAMES, outputs, strict=False))
    )
    form = TensorForm(Signature(inputs=(FP32,), outputs=specs), 'm"%s', 3)
    call, wanted = Call(outputs, 3, 0.0, 0.0), Wanted(id_, form._all)
    for first in (2, 0, 1, 0):
        given = InferResponse(call, first, 1)
        text, length = form.answer(given, wanted)
        assert length is None
        assert (text, length) == form.encode(given.outputs, wanted)
        told = json.loads(text)
        assert (told["model_name"], told["model_version"], told.get("id", "")) == ('m"%s', "3", id_)
        assert [item["name"] for item in told["outputs"]] == ODD_NAMES[:count]
        rows = [array[first : first + 1] for array in outputs]
        assert [item["data"] for item in told["outputs"]] == [row.ravel().tolist() for row in rows]
        assert [item["shape"] for item in told["outputs"]] == [[*row.shape] for row in rows]


def test_ids_of_one_call_are_everybodys_own() -> None:
    form = TensorForm(linear_signature(), "m", 1)
    call = Call([np.array([1.0, 2.0, 3.0])], 3, 0.0, 0.0)
    ids = ["one", "", "three"]
    texts = [form.answer(InferResponse(call, at, 1), Wanted(id_, form._all))[0] for at, id_ in enumerate(ids)]
    told = [json.loads(text) for text in texts]
    assert [answer.get("id", "") for answer in told] == ids
    assert [answer["outputs"][0]["data"] for answer in told] == [[1.0], [2.0], [3.0]]


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
            given = InferResponse(call, first, 1)
            assert form.answer(given, wanted) == form.encode(given.outputs, wanted)
    assert form.answer(InferResponse(call, 0, rows), wanted) == form.encode(outputs, wanted)
    alone = Call(outputs, 1, 0.0, 0.0)
    assert form.answer(InferResponse(alone, 0, 1), wanted) == form.encode(outputs, wanted)
