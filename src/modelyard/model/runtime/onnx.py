"""ONNX Runtime on the CPU: the model is loaded from verified bytes, and a call touches only what it must.

A row's answer must not depend on its company, to the last bit. Two things in ONNX Runtime work against that. A matrix
product of one row goes through another kernel than one of several, and adds up in another order. And Eigen's functions
work on packets of numbers, with other code, and other last bits, for what is left over at the end. So rows of graphs
that hold such operators are run in *lots*: always in multiples of two (or four), filled up with copies of the last row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from modelyard.core.errors import CorruptBundle, InvalidInput, ModelyardError
from modelyard.core.manifest import MODEL
from modelyard.core.signature import ANY, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.model.anatomy import operators
from modelyard.model.bundle import Bundle
from modelyard.model.trial import varied

#: Matrix products in floats (in integers they are exact): a row alone takes another kernel than a row in company.
_PRODUCTS = frozenset(
    {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Einsum", "CDist", "LinearClassifier", "LinearRegressor"}
    | {"SVMClassifier", "SVMRegressor", "MatMulNBits"}
)
#: Functions by Eigen on packets of two doubles; their floats go through kernels that treat every number alike.
_PACKETS_OF_2 = frozenset({"Exp", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "ReduceLogSumExp"})
#: Functions by Eigen on packets of two doubles or four floats.
_PACKETS_OF_4 = frozenset({"Log", "Softplus", "Mish", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan"})
#: With these a row is itself a matrix or a series: the next row costs as much as the first, and lots would not pay.
_LONG = frozenset(
    {"Conv", "ConvInteger", "QLinearConv", "FusedConv", "ConvTranspose", "LSTM", "GRU", "RNN", "Attention"}
    | {"MultiHeadAttention", "GroupQueryAttention", "LayerNormalization", "SkipLayerNormalization"}
    | {"EmbedLayerNormalization", "Scan", "Loop"}
)
_ALIKE = 1e-4

_SEVERITY_FATAL = 4
_GRAPH_TYPES = {
    Datatype.BOOL: "tensor(bool)",
    Datatype.UINT8: "tensor(uint8)",
    Datatype.UINT16: "tensor(uint16)",
    Datatype.UINT32: "tensor(uint32)",
    Datatype.UINT64: "tensor(uint64)",
    Datatype.INT8: "tensor(int8)",
    Datatype.INT16: "tensor(int16)",
    Datatype.INT32: "tensor(int32)",
    Datatype.INT64: "tensor(int64)",
    Datatype.FP16: "tensor(float16)",
    Datatype.FP32: "tensor(float)",
    Datatype.FP64: "tensor(double)",
    Datatype.BYTES: "tensor(string)",
}


class OnnxRunner:
    """One inference session, with feeds and outputs prepared at load.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        That took the signature's names and types.
    signature : Signature
        Of the model.
    lot : int
        Rows are run in multiples of this; 1 when they run as they come.
    """

    def __init__(self, session: Any, signature: Signature, *, lot: int = 1) -> None:
        self.signature = signature
        self.batchable = all(
            not (node.shape and isinstance(node.shape[0], int))
            for node in (*session.get_inputs(), *session.get_outputs())
        )
        self.lot = lot if self.batchable else 1
        self._names = [spec.graph_name or spec.name for spec in signature.inputs]
        self._only = self._names[0] if len(self._names) == 1 else None
        self._outputs = [spec.graph_name or spec.name for spec in signature.outputs]
        # The C session skips 2 µs of argument checks per call that Signature.arrange has already made.
        self._call = session._sess.run
        self._session = session

    @property
    def facts(self) -> Mapping[str, str | int | float | bool]:
        """What was decided at load: whether rows may share a call, and in multiples of how many they run."""
        return {"batchable": self.batchable, "lot": self.lot}

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Answers for arranged inputs; see `Runner.run`."""
        rows = arrays[0].shape[0]
        if lacking := -rows % self.lot:
            return [array[:rows] for array in self._ask([_filled(array, lacking) for array in arrays])]
        return self._ask(arrays)

    def _ask(self, arrays: Sequence[Array]) -> list[Array]:
        feeds = {self._only: arrays[0]} if self._only else dict(zip(self._names, arrays, strict=True))
        try:
            results: list[Array] = self._call(self._outputs, feeds, None)
        except Exception as exc:  # ORT raises a dozen unrelated classes for bad values
            raise InvalidInput(what="the model refused these values", cause=_first_line(exc)) from exc
        return results


def _filled(array: Array, lacking: int) -> Array:
    """The rows, and the last of them again; a copy of what was asked cannot be refused where that is not."""
    return np.concatenate((array, *(array[-1:],) * lacking))


def load(bundle: Bundle, *, threads: int = 1) -> OnnxRunner:
    """A session over the bundle's model.onnx; `CorruptBundle` when ONNX Runtime or the signature does not accept it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY_FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(bundle.files[MODEL], options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # as above
        raise CorruptBundle(bundle=bundle.manifest.name, what=f"ONNX Runtime refuses it: {_first_line(exc)}") from exc
    signature = bundle.manifest.signature
    _match(bundle, "input", session.get_inputs(), signature.inputs)
    _match(bundle, "output", session.get_outputs(), signature.outputs)
    unfed = {node.name for node in session.get_inputs()} - {spec.graph_name or spec.name for spec in signature.inputs}
    if unfed:
        raise CorruptBundle(
            bundle=bundle.manifest.name, what=f"its graph needs {', '.join(sorted(unfed))}, which the signature lacks"
        )
    lot = _lot(operators(bundle.files[MODEL]), signature)
    together = OnnxRunner(session, signature, lot=lot)
    return together if together.lot == 1 or _is_by_row(together, bundle) else OnnxRunner(session, signature)


def _lot(names: frozenset[str], signature: Signature) -> int:
    """In multiples of how many rows a graph of these operators is run."""
    if names & _LONG or any(axis == ANY for spec in signature.inputs for axis in spec.shape[1:]):
        return 1
    return 4 if names & _PACKETS_OF_4 else 2 if names & (_PRODUCTS | _PACKETS_OF_2) else 1


def _is_by_row(runner: OnnxRunner, bundle: Bundle) -> bool:
    """Whether a row filled up to a lot is answered as it is alone: not so in a graph that looks across its rows."""
    arrays = varied(runner.signature, bundle.samples.rows[:1], 1)
    try:
        alone, together = runner._ask(arrays), runner.run(arrays)
    except ModelyardError:
        return False
    return all(_alike(one, other) for one, other in zip(alone, together, strict=True))


def _alike(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    return (
        np.allclose(one, other, _ALIKE, _ALIKE, equal_nan=True) if one.dtype.kind == "f" else bool((one == other).all())
    )


def _match(bundle: Bundle, what: str, nodes: Sequence[Any], specs: tuple[TensorSpec, ...]) -> None:
    """Names, element types, ranks and fixed axes of the graph are the signature's."""
    present = {node.name: node for node in nodes}
    for spec in specs:
        node = present.get(spec.graph_name or spec.name)
        if node is None:
            problem = f"its graph has no {what} {spec.graph_name or spec.name!r}"
        elif node.type != _GRAPH_TYPES[spec.datatype.carried]:
            problem = f"{what} {spec.name!r} is {spec.datatype} in the signature and {node.type} in the graph"
        elif not _same_shape(node.shape, spec.shape, strict=what == "input"):
            problem = (
                f"{what} {spec.name!r} has shape {list(spec.shape)} in the signature and {node.shape} in the graph"
            )
        else:
            continue
        raise CorruptBundle(bundle=bundle.manifest.name, what=problem)


def _same_shape(graph: Sequence[int | str | None], shape: tuple[int, ...], *, strict: bool) -> bool:
    """Whether they can be the same; an axis with a name or none is variable, and a graph may tell no shape at all.

    What is variable in the signature must be variable in the graph too, where it would refuse requests: at its inputs.
    """
    if not graph:
        return True
    return len(graph) == len(shape) and all(
        not isinstance(axis, int) or axis < 0 or want == axis or (want == ANY and not strict)
        for axis, want in zip(graph, shape, strict=True)
    )


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip()
    return text.splitlines()[0][:200] if text else type(exc).__name__
