"""Messages to questions and back: every datatype both ways, and the same refusals as over REST."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest, ModelyardError, Unsupported, WrongShape, WrongType
from modelyard.core.inference import InferResponse
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, encode_raw
from modelyard.model.bundle import Bundle
from modelyard.serve.grpc.codec import FIELDS, Codec, plain
from modelyard.serve.grpc.messages import message
from modelyard.serve.http.forms.tensors import TensorForm
from modelyard.watch.counters import Page
from tests.models import count_bundle, echo_bundle, image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import served

_REQUEST = message("ModelInferRequest")


class Anything:
    """What a codec needs to know of a replica, for any signature."""

    name, version = "any", 1

    def __init__(self, signature: Signature) -> None:
        self.signature = signature


def codec_of(datatype: Datatype) -> Codec:
    """A codec for one opaque tensor of this type, given back unchanged."""
    spec = TensorSpec(name="it", datatype=datatype, shape=(-1, 2))
    return Codec(Anything(Signature(inputs=(spec,), outputs=(spec,))))  # type: ignore[arg-type]


def codec(bundle: Bundle, tmp_path: Path) -> Codec:
    return Codec(served(Page(tmp_path, 0), bundle).version())


VALUES: dict[Datatype, list[Any]] = {
    Datatype.BOOL: [True, False],
    Datatype.UINT8: [0, 255],
    Datatype.UINT16: [0, 65535],
    Datatype.UINT32: [0, 2**32 - 1],
    Datatype.UINT64: [0, 2**64 - 1],
    Datatype.INT8: [-128, 127],
    Datatype.INT16: [-(2**15), 2**15 - 1],
    Datatype.INT32: [-(2**31), 2**31 - 1],
    Datatype.INT64: [-(2**63), 2**63 - 1],
    Datatype.FP16: [-1.5, 65504.0],
    Datatype.FP32: [0.1, 3.4e38],
    Datatype.FP64: [0.1, 1.7e308],
    Datatype.BF16: [1.5, -2.0],
    Datatype.BYTES: ["Größe", ""],
}


def array_of(datatype: Datatype) -> Array:
    return np.array([VALUES[datatype]], dtype=datatype.dtype)


def answer(read: Codec, asked: Any) -> Any:
    """What comes back when the model gives its inputs back."""
    return read.encode(asked, InferResponse.whole(asked.arrays))


@pytest.mark.parametrize("datatype", Datatype)
def test_raw_tensors_both_ways(datatype: Datatype) -> None:
    read, raw = codec_of(datatype), encode_raw(array_of(datatype), datatype)
    request = _REQUEST(
        inputs=[{"name": "it", "datatype": datatype.value, "shape": [1, 2]}], id="x", raw_input_contents=[raw]
    )
    asked = read.decode(request)
    assert asked.arrays[0].tolist() == array_of(datatype).tolist()
    given = answer(read, asked)
    assert (given.model_name, given.model_version, given.id) == ("any", "1", "x")
    assert list(given.raw_output_contents) == [raw]
    assert (given.outputs[0].name, given.outputs[0].datatype) == ("it", datatype.value)
    assert list(given.outputs[0].shape) == [1, 2]
    assert not given.outputs[0].HasField("contents")


@pytest.mark.parametrize("datatype", FIELDS)
def test_typed_tensors_both_ways(datatype: Datatype) -> None:
    read = codec_of(datatype)
    values = [value.encode() if isinstance(value, str) else value for value in array_of(datatype).ravel().tolist()]
    contents = {FIELDS[datatype]: values}
    tensor = {"name": "it", "datatype": datatype.value, "shape": [1, 2], "contents": contents}
    asked = read.decode(_REQUEST(inputs=[tensor]))
    assert asked.arrays[0].dtype == datatype.dtype
    assert asked.arrays[0].tolist() == array_of(datatype).tolist()
    given = answer(read, asked)
    assert list(given.raw_output_contents) == []
    assert list(getattr(given.outputs[0].contents, FIELDS[datatype])) == values


@pytest.mark.parametrize("datatype", [Datatype.FP16, Datatype.BF16])
def test_halves_go_raw_only(datatype: Datatype) -> None:
    read = codec_of(datatype)
    tensor = {"name": "it", "datatype": datatype.value, "shape": [1, 2], "contents": {"fp32_contents": [1.5, 2.0]}}
    with pytest.raises(WrongType, match="raw_input_contents"):
        read.decode(_REQUEST(inputs=[tensor]))


def test_a_typed_question_with_halves_to_answer_is_answered_raw() -> None:
    number = TensorSpec(name="it", datatype=Datatype.FP32, shape=(-1, 2))
    half = TensorSpec(name="half", datatype=Datatype.FP16, shape=(-1, 2))
    read = Codec(Anything(Signature(inputs=(number,), outputs=(number, half))))  # type: ignore[arg-type]
    tensor = {"name": "it", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1.5, 2.0]}}
    asked = read.decode(_REQUEST(inputs=[tensor]))
    assert asked.form.raw
    only = read.decode(_REQUEST(inputs=[tensor], outputs=[{"name": "it"}]))
    assert not only.form.raw
    outputs = (asked.arrays[0], asked.arrays[0].astype(np.float16))
    given = read.encode(asked, InferResponse.whole(outputs))
    assert [len(raw) for raw in given.raw_output_contents] == [8, 4]


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 128), ("INT16", -(2**15) - 1), ("UINT8", 256), ("UINT16", 2**16)],
)
def test_a_number_that_the_type_does_not_hold(datatype: str, value: int) -> None:
    contents = {FIELDS[Datatype(datatype)]: [value, 0]}
    tensor = {"name": "it", "datatype": datatype, "shape": [1, 2], "contents": contents}
    with pytest.raises(WrongType, match=f"in the range of {datatype}"):
        codec_of(Datatype(datatype)).decode(_REQUEST(inputs=[tensor]))


GOOD = {"name": "input", "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [3.0]}}
RAW = np.array([3.0]).tobytes()


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"inputs": [GOOD, GOOD]}, InvalidRequest, "sent twice"),
        ({"inputs": []}, ModelyardError, "missing input input"),
        ({"inputs": [{**GOOD, "name": "inptu"}]}, ModelyardError, "no input 'inptu'"),
        ({"inputs": [{**GOOD, "datatype": "FP32"}]}, WrongType, "datatype FP64"),
        ({"inputs": [{**GOOD, "datatype": ""}]}, WrongType, "datatype FP64"),
        ({"inputs": [{**GOOD, "shape": []}]}, WrongShape, "not a tensor's shape"),
        ({"inputs": [{**GOOD, "shape": [-1, 1]}]}, WrongShape, "not a tensor's shape"),
        ({"inputs": [{**GOOD, "shape": [2**40, 1]}]}, WrongShape, "not a tensor's shape"),
        ({"inputs": [{**GOOD, "shape": [2**20, 2**20]}]}, WrongShape, "more than"),
        ({"inputs": [{**GOOD, "shape": [2, 1]}]}, WrongShape, "needs 2 elements, its data holds 1"),
        ({"inputs": [{**GOOD, "shape": [1, 2]}]}, WrongShape, "needs 2 elements"),
        ({"inputs": [{**GOOD, "shape": [0, 1], "contents": {}}]}, ModelyardError, "no rows"),
        ({"inputs": [{**GOOD, "contents": {"fp64_contents": [float("nan")]}}]}, ModelyardError, "NaN"),
        ({"inputs": [{**GOOD, "contents": {"fp32_contents": [3.0]}}]}, WrongType, "fp64_contents for FP64"),
        (
            {"inputs": [{**GOOD, "contents": {"fp64_contents": [3.0], "int_contents": [1]}}]},
            WrongType,
            "fp64_contents for FP64, got int_contents",
        ),
        ({"raw_input_contents": [RAW]}, InvalidRequest, "both contents and raw_input_contents"),
        ({"inputs": [{**GOOD, "contents": None}], "raw_input_contents": [RAW, RAW]}, InvalidRequest, "1 inputs, but 2"),
        ({"inputs": [{**GOOD, "contents": None}], "raw_input_contents": [RAW[:-1]]}, WrongShape, "needs 8 bytes"),
        ({"inputs": [{**GOOD, "contents": None}], "raw_input_contents": [RAW * 2]}, WrongShape, "needs 8 bytes"),
        ({"inputs": [{**GOOD, "contents": None}], "raw_input_contents": [b""]}, WrongShape, "needs 8 bytes"),
        ({"outputs": [{"name": "predictoin"}]}, ModelyardError, "did you mean|predictoin"),
        ({"outputs": [{"name": "prediction"}, {"name": "prediction"}]}, InvalidRequest, "asked for twice"),
        (
            {"inputs": [{**GOOD, "parameters": {"shared_memory_region": {"string_param": "r"}}}]},
            Unsupported,
            "shared memory",
        ),
        (
            {"outputs": [{"name": "prediction", "parameters": {"shared_memory_region": {"string_param": "r"}}}]},
            Unsupported,
            "shared memory",
        ),
        ({"parameters": {"timeout": {"string_param": "5"}}}, InvalidRequest, "'timeout' must be"),
        ({"parameters": {"timeout": {"int64_param": -5}}}, InvalidRequest, "'timeout' must be"),
        ({"parameters": {"timeout": {}}}, InvalidRequest, "'timeout' must be"),
        ({"parameters": {"triton_mine": {"bool_param": True}}}, InvalidRequest, "reserved"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Any], kind: type[ModelyardError], words: str, tmp_path: Path
) -> None:
    read = codec(linear_bundle(), tmp_path)
    assert read.decode(message_of({"inputs": [GOOD]})).arrays[0].tolist() == [[3.0]]
    with pytest.raises(kind, match=words):
        read.decode(message_of({"inputs": [GOOD], **change}))


def message_of(fields: dict[str, Any]) -> Any:
    """A request of plain data; parameters are written as what they hold."""
    request = _REQUEST(inputs=[_bare(item) for item in fields["inputs"]])
    request.raw_input_contents.extend(fields.get("raw_input_contents", []))
    for item, tensor in zip(fields["inputs"], request.inputs, strict=True):
        _fill(tensor.parameters, item.get("parameters", {}))
    for item in fields.get("outputs", []):
        _fill(request.outputs.add(name=item["name"]).parameters, item.get("parameters", {}))
    _fill(request.parameters, fields.get("parameters", {}))
    return request


def _bare(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "parameters" and value is not None}


def _fill(parameters: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        parameters[name].SetInParent()
        for choice, held in value.items():
            setattr(parameters[name], choice, held)


def test_texts_that_are_not_utf8(tmp_path: Path) -> None:
    del tmp_path
    read = codec_of(Datatype.BYTES)
    tensor = {"name": "it", "datatype": "BYTES", "shape": [1, 2], "contents": {"bytes_contents": [b"a", b"\xff"]}}
    with pytest.raises(InvalidRequest, match="element 1 is not UTF-8"):
        read.decode(_REQUEST(inputs=[tensor]))


@pytest.mark.parametrize(
    ("left_s", "timeout_us", "seconds"),
    [(math.inf, 0, None), (5, 0, 5), (math.inf, 2_000_000, 2), (1, 2_000_000, 1)],
)
def test_a_deadline_is_the_calls_or_the_parameters(
    left_s: float, timeout_us: int, seconds: float | None, tmp_path: Path
) -> None:
    request = message_of({"inputs": [GOOD], "parameters": {"timeout": {"int64_param": timeout_us}}})
    deadline = codec(linear_bundle(), tmp_path).decode(request, left_s).deadline
    if seconds is None:
        assert deadline == float("inf")
    else:
        assert deadline - perf_counter() == pytest.approx(seconds, abs=0.5)


def test_only_what_is_asked_for_in_that_order(tmp_path: Path) -> None:
    read = codec(image_bundle(), tmp_path)
    picture = np.zeros((1, 3, 4), dtype=np.float32)
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 4]}
    request = message_of(
        {
            "inputs": [tensor],
            "raw_input_contents": [picture.tobytes()],
            "outputs": [{"name": "peak"}, {"name": "mean"}],
        }
    )
    asked = read.decode(request)
    assert [at for at, _ in asked.form.outputs] == [1, 0]


def test_classes_instead_of_scores(tmp_path: Path) -> None:
    replica = served(Page(tmp_path, 0), mixed_bundle()).version()
    read = Codec(replica)
    inputs = [
        {"name": "species", "datatype": "BYTES", "shape": [1, 1], "contents": {"bytes_contents": [b"adelie"]}},
        {"name": "length", "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [9.0]}},
        {"name": "mass", "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [float("nan")]}},
    ]
    classes = {"name": "probabilities", "parameters": {"classification": {"int64_param": 1}}}
    asked = read.decode(message_of({"inputs": inputs, "outputs": [classes]}))
    outputs = replica._runner.run(tuple(asked.arrays))
    given = read.encode(asked, InferResponse.whole(outputs))
    assert given.outputs[0].datatype == "BYTES"
    assert list(given.outputs[0].shape) == [1, 1]
    assert given.outputs[0].contents.bytes_contents[0].endswith(b":1:big")
    wrong = message_of({"inputs": inputs, "outputs": [{**classes, "name": "label"}]})
    with pytest.raises(InvalidRequest, match="no classes"):
        read.decode(wrong)


def test_parameters_are_what_they_hold() -> None:
    request = message_of(
        {
            "inputs": [],
            "parameters": {
                "a": {"bool_param": True},
                "b": {"int64_param": -1},
                "c": {"string_param": "x"},
                "d": {"double_param": 0.5},
                "e": {"uint64_param": 2**63},
                "f": {},
            },
        }
    )
    assert plain(request.parameters) == {"a": True, "b": -1, "c": "x", "d": 0.5, "e": 2**63, "f": None}


MODELS = {"linear": linear_bundle(), "image": image_bundle(), "count": count_bundle(), "echo": echo_bundle()}
_AXES = st.lists(st.integers(-1, 4), max_size=4)
_RAW = st.binary(max_size=64) | st.sampled_from([bytes(8), bytes(48), np.array([float("nan")]).tobytes()])
_NAMES = ["input", "image", "count", "half", "text", "inputs", ""]
Tensor = tuple[str, str, list[int], bytes]


@st.composite
def sent(draw: st.DrawFn, signature: Signature) -> list[Tensor]:
    """One tensor for each input, every part of it right or, now and then, something else."""

    def part(right: Any, other: st.SearchStrategy[Any]) -> Any:
        return draw(other) if draw(st.integers(0, 7)) == 0 else right

    rows = draw(st.integers(0, 3))
    tensors = []
    for spec in signature.inputs:
        shape = [rows, *(2 if axis < 0 else axis for axis in spec.shape[1:])]
        raw = encode_raw(np.full(shape, "é" if spec.datatype is Datatype.BYTES else 2), spec.datatype)
        datatype = part(spec.datatype.value, st.sampled_from([*(str(datatype) for datatype in Datatype), "FP8", ""]))
        tensors.append((part(spec.name, st.sampled_from(_NAMES)), datatype, part(shape, _AXES), part(raw, _RAW)))
    return part(tensors, st.just(tensors * 2) | st.just(tensors[:-1]))


@settings(max_examples=400, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(MODELS)), outputs=st.lists(st.sampled_from(["mean", "peak", "x"])))
def test_the_same_verdict_as_over_rest(data: st.DataObject, name: str, outputs: list[str]) -> None:
    """The same raw tensors, as the binary extension has them and as gRPC has them: equal arrays, or equal refusals."""
    signature = MODELS[name].manifest.signature
    tensors: list[Tensor] = data.draw(sent(signature))
    wanted = [output for output in outputs if name == "image" or output == "x"]
    described = [
        {"name": tensor, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        for tensor, datatype, shape, raw in tensors
    ]
    asked = {"inputs": described, "outputs": [{"name": o} for o in wanted], "parameters": {"binary_data_output": True}}
    text = orjson.dumps(asked)
    body = text + b"".join(raw for *_, raw in tensors)
    request = _REQUEST(
        inputs=[{"name": tensor, "datatype": datatype, "shape": shape} for tensor, datatype, shape, _ in tensors],
        outputs=[{"name": output} for output in wanted],
        raw_input_contents=[raw for *_, raw in tensors],
    )
    form = TensorForm(signature, "any", 1)
    over_rest = _verdict(lambda: form.decode(body, b"%d" % len(text))[0])
    over_grpc = _verdict(lambda: Codec(Anything(signature)).decode(request).arrays)  # type: ignore[arg-type]
    event(over_rest[0] if isinstance(over_rest, tuple) else "answered")
    assert over_grpc == over_rest


def _verdict(read: Any) -> Any:
    try:
        return [(array.dtype.str, array.shape, repr(array.tolist())) for array in read()]  # NaN is NaN here
    except ModelyardError as exc:
        return exc.code, exc.detail
