"""ONNX Runtime: a graph that is not what the signature says is refused when it is loaded, not when it is asked."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from modelyard.core.errors import CorruptBundle, InvalidInput, Unavailable, Unsupported
from modelyard.core.manifest import MODEL, SAMPLES
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.bundle import Bundle, seal
from modelyard.model.golden import record
from modelyard.model.runtime import load
from modelyard.model.steady import steady
from modelyard.model.trial import varied
from tests.models import image_bundle, linear_bundle, linear_signature, mixed_bundle

LINEAR = linear_bundle()


def bundle(raw: bytes, signature: Signature | None = None) -> Bundle:
    return seal(msgspec.structs.replace(LINEAR.manifest, signature=signature or linear_signature()), {MODEL: raw})


def graph(
    shape: list[Any], kind: int = TensorProto.DOUBLE, out: list[Any] | None = None, extra: bool = False, op: str = "Neg"
) -> bytes:
    """``prediction = op(input)``, with an input ``more`` that nobody uses when `extra`."""
    inputs = [helper.make_tensor_value_info("input", kind, shape)]
    if extra:
        inputs.append(helper.make_tensor_value_info("more", kind, shape))
    outputs = [helper.make_tensor_value_info("prediction", kind, out or shape)]
    nodes = [helper.make_node(op, ["input"], ["prediction"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    raw: bytes = model.SerializeToString()
    return raw


def one(features: int = 1, **output: Any) -> Signature:
    signature = linear_signature(tuple(f"f{at}" for at in range(features)))
    spec = TensorSpec(**{"name": "prediction", "datatype": Datatype.FP64, "shape": (-1, features), **output})
    return msgspec.structs.replace(signature, outputs=(spec,), prediction="")


def test_a_graph_that_fits_answers() -> None:
    runner = load(bundle(graph(["n", 2]), one(2)))
    (answer,) = runner.run([np.array([[1.0, 2.0]])])
    assert answer.tolist() == [[-1, -2]]


@pytest.mark.parametrize(
    ("raw", "signature", "says"),
    [
        (b"", None, "ONNX Runtime refuses it"),
        (b"not a model", None, "ONNX Runtime refuses it"),
        (LINEAR.files[MODEL][:-20], None, "ONNX Runtime refuses it"),
        (graph(["n", 1]), linear_signature(("a", "b")), "input 'input' has shape"),
        (graph([5, 1]), one(), "input 'input' has shape"),  # a batch of exactly 5
        (graph(["n"]), one(), "input 'input' has shape"),
        (graph(["n", 1, 1]), one(), "input 'input' has shape"),
        (graph(["n", 1], TensorProto.FLOAT), one(), r"FP64 in the signature and tensor\(float\)"),
        (graph(["n", 1]), one(datatype=Datatype.FP32), r"FP32 in the signature and tensor\(double\)"),
        (graph(["n", 1]), one(shape=(-1,)), "output 'prediction' has shape"),
        (graph(["n", 1]), one(shape=(-1, 2)), "output 'prediction' has shape"),
        (graph(["n", 1]), one(name="score"), "no output 'score'"),
        (graph(["n", 1]), one(name="prediction", graph_name="raw"), "no output 'raw'"),
        (graph(["n", 1], extra=True), one(), "needs more, which the signature lacks"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(raw: bytes, signature: Signature | None, says: str) -> None:
    with pytest.raises(CorruptBundle, match=says):
        load(bundle(raw, signature))


def test_a_missing_input_is_named() -> None:
    spec = TensorSpec(name="other", datatype=Datatype.FP64, shape=(-1, 1), features=(Feature(name="x"),))
    signature = msgspec.structs.replace(one(), inputs=(*one().inputs, spec))
    with pytest.raises(CorruptBundle, match="no input 'other'"):
        load(bundle(graph(["n", 1]), signature))


def test_names_in_the_graph_may_differ() -> None:
    inputs = (msgspec.structs.replace(one().inputs[0], name="size", graph_name="input"),)
    runner = load(bundle(graph(["n", 1]), msgspec.structs.replace(one(), inputs=inputs)))
    assert runner.run([np.array([[2.0]])])[0].tolist() == [[-2.0]]


def test_a_graph_that_answers_with_a_map_is_refused() -> None:
    """As converters of classifiers write it, unless told not to: nothing here can send that."""
    zipped = helper.make_node("ZipMap", ["input"], ["prediction"], domain="ai.onnx.ml", classlabels_strings=["a", "b"])
    entry = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("prediction", helper.make_sequence_type_proto(entry))
    feed = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([zipped], "g", [feed], [output]), opset_imports=opsets, ir_version=8)
    spec = msgspec.structs.replace(one(2).inputs[0], datatype=Datatype.FP32)
    signature = msgspec.structs.replace(one(2, datatype=Datatype.FP32), inputs=(spec,))
    with pytest.raises(CorruptBundle, match="in the graph"):
        load(bundle(model.SerializeToString(), signature))


def test_values_that_the_graph_refuses_are_an_error_of_the_caller() -> None:
    nodes = [helper.make_node("Reshape", ["input", "two"], ["prediction"])]
    two = onnx.numpy_helper.from_array(np.array([-1, 2]), "two")
    info = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", 1]) for name in ("input", "prediction")]
    info[1] = helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["m", 2])
    model = helper.make_model(
        helper.make_graph(nodes, "g", info[:1], info[1:], [two]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    runner = load(bundle(model.SerializeToString(), one(shape=(-1, 2))))
    assert runner.run([np.ones((2, 1))])[0].shape == (1, 2)
    with pytest.raises(InvalidInput, match="the model refused these values") as caught:
        runner.run([np.ones((3, 1))])
    assert caught.value.cause
    assert len(caught.value.cause.splitlines()) == 1


def test_memory_that_is_shared_and_not_aligned_is_read_rightly() -> None:
    raw = b"x" + np.arange(12, dtype="<f4").tobytes()
    array = np.frombuffer(memoryview(raw)[1:], dtype="<f4").reshape(1, 3, 4)
    mean, peak = load(image_bundle()).run([array])
    assert (mean.tolist(), peak.tolist()) == ([5.5], [[[11.0]]])


def test_several_threads_may_ask_at_once() -> None:
    runner = load(mixed_bundle(), threads=2)

    def ask(at: int) -> float:
        species = np.array([["gentoo"]], dtype=object)
        return float(runner.run([species, np.array([[float(at)]]), np.array([[2.0]])])[1][0, 1])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(200)))
    assert answers == pytest.approx([1 / (1 + np.exp(-at)) for at in range(200)], abs=1e-6)


def chain(nodes: list[onnx.NodeProto], out: list[Any], weights: dict[str, Any] | None = None, width: int = 5) -> bytes:
    """A graph of these nodes from ``input`` [n, width] to ``prediction``, in float64."""
    info = helper.make_tensor_value_info
    tensors = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    inside = helper.make_graph(
        nodes,
        "g",
        [info("input", TensorProto.DOUBLE, ["n", width])],
        [info("prediction", TensorProto.DOUBLE, out)],
        tensors,
    )
    opsets = [helper.make_opsetid("", 17)]
    raw: bytes = helper.make_model(inside, opset_imports=opsets, ir_version=8).SerializeToString()
    return raw


NOISE = np.random.default_rng(5)
PRODUCT = helper.make_node("MatMul", ["input", "w"], ["z"])
WEIGHTS = {"w": NOISE.normal(size=(5, 3))}


@pytest.mark.parametrize(
    ("last", "lot"), [("Identity", 2), ("Softmax", 2), ("Sigmoid", 2), ("Tanh", 2), ("Exp", 2), ("Sin", 4)]
)
def test_a_row_has_the_same_bits_alone_and_in_company(last: str, lot: int) -> None:
    raw = chain([PRODUCT, helper.make_node(last, ["z"], ["prediction"])], ["n", 3], WEIGHTS)
    runner = load(bundle(raw, one(5, shape=(-1, 3))))
    assert runner.facts["lot"] == lot
    rows = NOISE.normal(size=(67, 5))
    alone = np.concatenate([runner.run([rows[at : at + 1]])[0] for at in range(67)])
    for size in (2, 3, 5, 8, 33, 67):
        for start in range(0, 67 - size + 1, max(1, size // 2)):
            (answer,) = runner.run([rows[start : start + size]])
            assert answer.tobytes() == alone[start : start + size].tobytes()


def test_rows_of_a_picture_run_as_they_come() -> None:
    """A convolution's next row costs what its first does."""
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["seen"]),
        helper.make_node("Flatten", ["seen"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["score"]),
    ]
    tensors = {"kernel": np.ones((1, 1, 2, 2), np.float32), "w": np.ones((4, 2), np.float32)}
    info = helper.make_tensor_value_info
    inside = helper.make_graph(
        nodes,
        "g",
        [info("image", TensorProto.FLOAT, ["n", 1, 3, 3])],
        [info("score", TensorProto.FLOAT, ["n", 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(inside, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    signature = Signature(
        inputs=(TensorSpec(name="image", datatype=Datatype.FP32, shape=(-1, 1, 3, 3)),),
        outputs=(TensorSpec(name="score", datatype=Datatype.FP32, shape=(-1, 2)),),
    )
    runner = load(bundle(model.SerializeToString(), signature))
    assert runner.facts["lot"] == 1
    assert runner.run([np.ones((1, 1, 3, 3), np.float32)])[0].tolist() == [[16, 16]]


@pytest.mark.parametrize("golden", [True, False])
@pytest.mark.parametrize(
    ("nodes", "out", "answer"),
    [
        ([PRODUCT, helper.make_node("Softmax", ["z"], ["prediction"], axis=0)], ["n", "k"], (1, 3)),
        (
            [
                helper.make_node("Transpose", ["input"], ["t"]),
                helper.make_node("MatMul", ["input", "t"], ["prediction"]),
            ],
            ["n", "k"],
            (1, 1),
        ),
    ],
    ids=["a share of all rows", "each row with each"],
)
def test_a_graph_that_looks_across_rows_is_left_alone(
    nodes: list[onnx.NodeProto], out: list[Any], answer: tuple[int, int], golden: bool
) -> None:
    """Filled up with a copy of the row, it would answer something else."""
    sealed = bundle(chain(nodes, out, WEIGHTS), one(5, shape=(-1, -1)))
    if golden:
        row = {f"f{at}": 0.5 for at in range(5)}
        samples = record(load(sealed), [row])
        sealed = seal(sealed.manifest, {MODEL: sealed.files[MODEL], SAMPLES: msgspec.json.encode(samples)})
    runner = load(sealed)
    (got,) = runner.run([np.ones((1, 5))])
    assert (runner.facts["lot"], got.shape) == (1, answer)
    assert not steady(runner, varied(runner.signature, sealed.samples.rows, 40))


def test_answers_that_are_not_by_row_are_not_batchable() -> None:
    total = helper.make_node("ReduceSum", ["z"], ["prediction"], keepdims=1)
    runner = load(bundle(chain([PRODUCT, total], [1, 1], WEIGHTS), one(5, shape=(-1, 1))))
    assert runner.facts == {"batchable": False, "lot": 1, "provider": "cpu", "threads": 1}
    assert load(LINEAR).batchable


def test_texts_are_filled_up_too() -> None:
    nodes = [
        helper.make_node("Equal", ["word", "yes"], ["is"]),
        helper.make_node("Cast", ["is"], ["number"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["number", "w"], ["score"]),
        helper.make_node("Identity", ["word"], ["same"]),
    ]
    info = helper.make_tensor_value_info
    tensors = {"w": np.array([[3.0]]), "yes": np.array([b"yes"], dtype=object)}
    inside = helper.make_graph(
        nodes,
        "g",
        [info("word", TensorProto.STRING, ["n", 1])],
        [info("score", TensorProto.DOUBLE, ["n", 1]), info("same", TensorProto.STRING, ["n", 1])],
        [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(inside, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)
    signature = Signature(
        inputs=(
            TensorSpec(
                name="word",
                datatype=Datatype.BYTES,
                shape=(-1, 1),
                features=(Feature(name="word", kind=FeatureKind.TEXT),),
            ),
        ),
        outputs=(
            TensorSpec(name="score", datatype=Datatype.FP64, shape=(-1, 1)),
            TensorSpec(name="same", datatype=Datatype.BYTES, shape=(-1, 1)),
        ),
    )
    runner = load(bundle(model.SerializeToString(), signature))
    assert runner.facts["lot"] == 2
    for words in (["yes"], ["no", "yes"], ["yes", "", "größer"]):
        score, same = runner.run([np.array(words, dtype=object).reshape(-1, 1)])
        assert score.ravel().tolist() == [3.0 * (word == "yes") for word in words]
        assert same.ravel().tolist() == words


def test_a_session_keeps_no_bytes_of_the_model() -> None:
    raw = linear_bundle().files[MODEL] + b"\x92\x03\x80\x80\x04" + bytes(1 << 16)  # a field that nobody knows
    held = bytes(bytearray(raw))
    before = sys.getrefcount(held)
    runner = load(Bundle(LINEAR.manifest, {MODEL: held}), provider="cpu")
    assert runner.run([np.ones((1, 1))])[0].tolist() == [2.0]
    gc.collect()
    assert sys.getrefcount(held) == before  # the bundle is gone too


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime says that it has CUDA."""
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )


@pytest.mark.usefixtures("cuda")
def test_a_provider_that_cannot_start_is_told_and_the_processor_serves(caplog: pytest.LogCaptureFixture) -> None:
    """What it has in name only: the wheel without the driver. ONNX Runtime itself then leaves the provider out."""
    runner = load(LINEAR)
    assert runner.facts["provider"] == "cpu"
    assert "cuda" in str(runner.facts["provider_why"])
    assert "does not start" in str(runner.facts["provider_why"])
    assert "linear stays on the processor, not on cuda" in caplog.text
    with pytest.raises(Unavailable, match="cuda does not start"):
        load(LINEAR, provider="cuda")


@pytest.mark.usefixtures("cuda")
def test_a_session_that_breaks_is_the_providers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    make = onnxruntime.InferenceSession

    def session(raw: bytes, options: Any, *, providers: list[str], **more: Any) -> Any:
        if "CUDAExecutionProvider" in providers:
            raise RuntimeError("CUDA failure 35: driver version is insufficient\nmore")
        return make(raw, options, providers=providers, **more)

    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    assert load(LINEAR).facts["provider_why"] == (
        "cuda: cuda does not start: CUDA failure 35: driver version is insufficient"
    )


def test_a_provider_that_is_not_there_says_what_to_install() -> None:
    with pytest.raises(Unavailable, match="'cuda' is not present") as caught:
        load(LINEAR, provider="cuda")
    assert caught.value.hint == "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
    assert "cpu" in caught.value.cause
    with pytest.raises(Unsupported, match="no execution provider 'abacus'"):
        load(LINEAR, provider="abacus")
    assert load(LINEAR, provider="cpu").facts["provider_why"] == "it was asked for"
    assert "provider_why" not in load(LINEAR).facts
