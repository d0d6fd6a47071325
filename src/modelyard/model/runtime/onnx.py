"""ONNX Runtime on the CPU: the model is loaded from verified bytes, and a call touches only what it must."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime as ort

from modelyard.core.errors import CorruptBundle, InvalidInput
from modelyard.core.manifest import MODEL
from modelyard.core.signature import ANY, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.model.bundle import Bundle

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
    """One inference session, with feeds and outputs prepared at load."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self.signature = signature
        self._names = [spec.graph_name or spec.name for spec in signature.inputs]
        self._only = self._names[0] if len(self._names) == 1 else None
        self._outputs = [spec.graph_name or spec.name for spec in signature.outputs]
        # The C session skips 2 µs of argument checks per call that Signature.arrange has already made.
        self._call = session._sess.run
        self._session = session

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Answers for arranged inputs; see `Runner.run`."""
        feeds = {self._only: arrays[0]} if self._only else dict(zip(self._names, arrays, strict=True))
        try:
            results: list[Array] = self._call(self._outputs, feeds, None)
        except Exception as exc:  # ORT raises a dozen unrelated classes for bad values
            raise InvalidInput(what="the model refused these values", cause=_first_line(exc)) from exc
        return results


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
    return OnnxRunner(session, signature)


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
