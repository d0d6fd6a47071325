"""ONNX Runtime on the CPU: the model is loaded from verified bytes, and a call touches only what it must."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime as ort

from modelyard.core.errors import CorruptBundle, InvalidInput
from modelyard.core.manifest import MODEL
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array
from modelyard.model.bundle import Bundle

_SEVERITY_FATAL = 4


class OnnxRunner:
    """One inference session, with feeds and outputs prepared at load."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self.signature = signature
        self._names = [spec.graph_name or spec.name for spec in signature.inputs]
        self._outputs = [spec.graph_name or spec.name for spec in signature.outputs]
        # The C session skips 2 µs of argument checks per call that Signature.arrange has already made.
        self._call = session._sess.run
        self._session = session

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Answers for arranged inputs; see `Runner.run`."""
        try:
            results: list[Array] = self._call(self._outputs, dict(zip(self._names, arrays, strict=True)), None)
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
    _match(bundle, "input", {node.name for node in session.get_inputs()}, signature.inputs)
    _match(bundle, "output", {node.name for node in session.get_outputs()}, signature.outputs)
    return OnnxRunner(session, signature)


def _match(bundle: Bundle, what: str, present: set[str], specs: tuple[TensorSpec, ...]) -> None:
    named = {spec.graph_name or spec.name for spec in specs}
    if not named <= present:
        raise CorruptBundle(
            bundle=bundle.manifest.name, what=f"its graph has no {what} {', '.join(sorted(named - present))}"
        )


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip()
    return text.splitlines()[0][:200] if text else type(exc).__name__
