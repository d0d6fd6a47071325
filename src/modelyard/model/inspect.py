"""ONNX files are programs: each is checked as hostile, loaded and tried in a locked child before anything serves it."""

from __future__ import annotations

import msgspec

from modelyard.core.errors import HostileModel, InvalidModel, SandboxFailed
from modelyard.core.signature import ANY, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model import sandbox

MAX_BYTES = 1 << 30
_LIMITS = sandbox.Limits(cpu_s=10, wall_s=60.0, memory_bytes=2 << 30, answer_bytes=4 << 20)
_BIG_LIMITS = sandbox.Limits(cpu_s=60, wall_s=180.0, memory_bytes=8 << 30, answer_bytes=4 << 20)
_BIG_BYTES = 64 << 20


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of a graph; `shape` has -1 where an axis is variable."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Inspection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a graph that passed takes and gives, and what its first run cost.

    Parameters
    ----------
    inputs, outputs : tuple of Port
        As the graph declares them.
    nodes : int
        Functions expanded, subgraphs counted.
    load_s, run_s : float
        Seconds for the session and for one row of zeros; `run_s` is negative when zeros were refused.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: int
    load_s: float
    run_s: float


def inspect(raw: bytes) -> Inspection:
    """Check the ONNX file in these bytes: `HostileModel` or `InvalidModel` when it may not be served."""
    if len(raw) > MAX_BYTES:
        raise HostileModel(what=f"it has {len(raw) >> 20} MiB, the limit is {MAX_BYTES >> 20} MiB")
    limits = _LIMITS if len(raw) <= _BIG_BYTES else _BIG_LIMITS
    try:
        # ONNX is data: where a layer is missing, the checks still run apart, with their limits.
        answer = sandbox.ask("inspect", {}, [raw], limits=limits, trust=bool(sandbox.missing()))
    except SandboxFailed as exc:
        raise HostileModel(what=f"checking it had to be stopped: {exc.facts.get('what', exc.detail)}") from exc
    try:
        return msgspec.convert(answer.facts, type=Inspection)
    except msgspec.ValidationError as exc:
        raise InvalidModel(what="what the checks of the ONNX graph say cannot be read") from exc


def match(signature: Signature, inspection: Inspection) -> None:
    """`InvalidModel` when a signature that somebody claims is not the graph's own."""
    for what, specs, ports in (
        ("input", signature.inputs, inspection.inputs),
        ("output", signature.outputs, inspection.outputs),
    ):
        known = {port.name: port for port in ports}
        if what == "input" and len(specs) != len(ports):
            raise InvalidModel(what=f"the graph has {len(ports)} inputs and the signature {len(specs)}")
        for spec in specs:
            port = known.get(spec.graph_name or spec.name)
            if port is None or port.datatype is not spec.datatype.carried or not _fits(spec, port):
                raise InvalidModel(what=f"the graph's {what} {spec.name!r} is not what the signature says")


def _fits(spec: TensorSpec, port: Port) -> bool:
    """Same rank, and no axis that the graph fixes is another in the signature."""
    return len(spec.shape) == len(port.shape) and all(
        fixed in (ANY, claimed) for claimed, fixed in zip(spec.shape, port.shape, strict=True)
    )
