"""ONNX Runtime: the model is loaded from verified bytes, and a call touches only what it must."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from modelyard.core.errors import CorruptBundle, InvalidInput, ModelyardError, Unavailable
from modelyard.core.manifest import MODEL
from modelyard.core.signature import ANY, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.model.bundle import Bundle
from modelyard.model.lots import anywhere, lot
from modelyard.model.trial import varied

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
_ALIKE = 1e-4
_PLACE_BYTES = 16  # numpy's arrays begin at multiples of it, and packets of numbers are as long

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
    rows : int
        As many run at once, or a multiple; what lacks is filled up with the last row. See `modelyard.model.lots`.
    anywhere : bool
        Whether inputs may lie anywhere in memory; if not, those that do are copied.
    """

    def __init__(self, session: Any, signature: Signature, rows: int = 1, *, anywhere: bool = False) -> None:
        self.signature = signature
        ends = (*session.get_inputs(), *session.get_outputs())
        self.batchable = all(not (node.shape and isinstance(node.shape[0], int)) for node in ends)
        self.lot = rows if self.batchable else 1
        self.facts: dict[str, str | int | float | bool] = {"batchable": self.batchable, "lot": self.lot}
        self._names = [spec.graph_name or spec.name for spec in signature.inputs]
        self._only = self._names[0] if len(self._names) == 1 else None
        self._outputs = [spec.graph_name or spec.name for spec in signature.outputs]
        # The C session skips 2 µs of argument checks per call that Signature.arrange has already made. Its Python
        # wrapper would keep the model's bytes for ever. Options that are made once save a microsecond a call; bound
        # inputs and outputs would save no more, and could not be shared by threads.
        self._call = session._sess.run
        self._options = ort.RunOptions()
        self._options.log_severity_level = _SEVERITY_FATAL
        self._first = np.zeros(self.lot, dtype=np.intp)
        self._anywhere = anywhere or not any(spec.datatype.is_float for spec in signature.inputs)

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Answers for arranged inputs; see `Runner.run`."""
        rows = arrays[0].shape[0]
        lacking = -rows % self.lot
        if not lacking:
            return self.ask(arrays if self._anywhere else [_placed(array) for array in arrays])
        # A copy of what was asked cannot be refused where that is not. A single row is copied twice as fast this way.
        filled = [array.take(self._first, 0) if rows == 1 else _filled(array, lacking) for array in arrays]
        return [array[:rows] for array in self.ask(filled)]

    def ask(self, arrays: Sequence[Array]) -> list[Array]:
        """Answers for exactly these rows."""
        feeds = {self._only: arrays[0]} if self._only else dict(zip(self._names, arrays, strict=True))
        try:
            results: list[Array] = self._call(self._outputs, feeds, self._options)
        except Exception as exc:  # ORT raises a dozen unrelated classes for bad values
            raise InvalidInput(what="the model refused these values", cause=_first_line(exc)) from exc
        return results


def _placed(array: Array) -> Array:
    """The array, or a copy that begins where arrays do."""
    return array if array.__array_interface__["data"][0] % _PLACE_BYTES == 0 else array.copy()


def _filled(array: Array, lacking: int) -> Array:
    """The rows, and the last of them again."""
    return np.concatenate((array, array[-1:] if lacking == 1 else array[-1:].repeat(lacking, axis=0)))


def present() -> frozenset[str]:
    """Execution providers that the installed ONNX Runtime has, by our names."""
    available = ort.get_available_providers()
    return frozenset(name for name, its_name in _PROVIDERS.items() if its_name in available)


def load(bundle: Bundle, *, threads: int = 1, provider: str = "cpu") -> OnnxRunner:
    """A session over the bundle's model.onnx, on exactly this provider.

    Raises
    ------
    CorruptBundle
        ONNX Runtime or the signature does not accept it.
    Unavailable
        The provider does not start.
    """
    raw = bundle.files[MODEL]
    session = _session(bundle.manifest.name, raw, threads, provider)
    _match_all(bundle, session)
    signature = bundle.manifest.signature
    free = anywhere(raw)
    runner = OnnxRunner(session, signature, lot(raw, signature), anywhere=free)
    if runner.lot > 1 and not _is_by_row(runner, bundle):
        runner = OnnxRunner(session, signature, anywhere=free)
    runner.facts |= {"provider": provider, "threads": threads}
    return runner


def _session(label: str, raw: bytes, threads: int, provider: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY_FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = provider != "directml"  # which has no room for it
    wanted = list(dict.fromkeys((_PROVIDERS[provider], _PROVIDERS["cpu"])))  # what one cannot run, the processor does
    try:
        session = ort.InferenceSession(raw, options, providers=wanted, enable_fallback=0)
    except Exception as exc:  # as above
        if provider != "cpu":
            raise Unavailable(what=f"{provider} does not start: {_first_line(exc)}") from exc
        raise CorruptBundle(bundle=label, what=f"ONNX Runtime refuses it: {_first_line(exc)}") from exc
    if _PROVIDERS[provider] not in session.get_providers():  # it left it out, and said so in a log that is off
        raise Unavailable(what=f"{provider} does not start: its libraries or its device are missing")
    return session


def _match_all(bundle: Bundle, session: Any) -> None:
    """The graph takes and gives what the signature says, and nothing more is needed."""
    signature = bundle.manifest.signature
    _match(bundle, "input", session.get_inputs(), signature.inputs)
    _match(bundle, "output", session.get_outputs(), signature.outputs)
    unfed = {node.name for node in session.get_inputs()} - {spec.graph_name or spec.name for spec in signature.inputs}
    if unfed:
        raise CorruptBundle(
            bundle=bundle.manifest.name, what=f"its graph needs {', '.join(sorted(unfed))}, which the signature lacks"
        )


def _is_by_row(runner: OnnxRunner, bundle: Bundle) -> bool:
    """Whether a row filled up to a lot is answered as it is alone: not so in a graph that looks across its rows."""
    arrays = varied(runner.signature, bundle.samples.rows[:1], 1)
    try:
        alone, together = runner.ask(arrays), runner.run(arrays)
    except ModelyardError:
        return False
    return all(_alike(one, other) for one, other in zip(alone, together, strict=True))


def _alike(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    return np.allclose(one, other, _ALIKE, _ALIKE, equal_nan=True)


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
