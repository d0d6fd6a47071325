"""What a server says of itself and its models in the words of protocol v2, over HTTP and gRPC alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import modelyard
from modelyard.core.signature import ANY, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.serve.plane import Roster, ServedModel
from modelyard.serve.replica import Replica
from modelyard.watch.counters import Totals

EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics")
PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"

_BATCH_MAX = (1 << 31) - 1  # a model's configuration has 32 bits for it
_LENGTH_BYTES = 4  # before each text
_NS, _MS = 1_000_000_000, 1_000
_NONE = Totals(ok=0, invalid=0, failed=0, rows=0, seconds=0.0, buckets=[])


def server() -> dict[str, Any]:
    """The server's name, version and extensions."""
    return {"name": "modelyard", "version": modelyard.__version__, "extensions": list(EXTENSIONS)}


def model(served: ServedModel, replica: Replica) -> dict[str, Any]:
    """One version's metadata: name, versions served, platform, inputs, outputs."""
    return {
        "name": served.name,
        "versions": [str(number) for number in sorted(served.versions)],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in replica.signature.inputs],
        "outputs": [_tensor(spec) for spec in replica.signature.outputs],
    }


def index(roster: Roster, *, ready: bool = False) -> list[dict[str, str]]:
    """Every model and version that is served or could be loaded: ``name``, ``version``, ``state``, ``reason``.

    Parameters
    ----------
    roster : Roster
        What is served.
    ready : bool
        Only what is served.

    Returns
    -------
    list of dict
        By name and version; the state is ``READY``, or ``UNAVAILABLE`` with the reason.
    """
    entries = []
    for name in sorted({*roster.models, *roster.plan.known}):
        served = roster.models[name].versions if name in roster.models else {}
        for number in sorted({*served, *roster.plan.known.get(name, ())}):
            reason = "" if number in served else roster.troubles.get(name, "unloaded")
            if not (ready and reason):
                state = "UNAVAILABLE" if reason else "READY"
                entries.append({"name": name, "version": str(number), "state": state, "reason": reason})
    return entries


def config(served: ServedModel, replica: Replica, body_bytes: int) -> dict[str, Any]:
    """One version's configuration, in the words of Triton's ``ModelConfig``.

    Parameters
    ----------
    served : ServedModel
        The model.
    replica : Replica
        The version.
    body_bytes : int
        Most bytes of one request, from which the largest batch follows.

    Returns
    -------
    dict
        A tensor's shape is ``[-1, *dims]``: the rows are the batch.
    """
    return {
        "name": served.name,
        "platform": PLATFORM,
        "backend": BACKEND,
        "version_policy": {"specific": {"versions": sorted(served.versions)}},
        "max_batch_size": _batch(replica.signature.inputs, body_bytes),
        "input": [_configured(spec) for spec in replica.signature.inputs],
        "output": [_configured(spec) for spec in replica.signature.outputs],
        "instance_group": [{"name": served.name, "kind": "KIND_CPU", "count": 1}],
        "default_model_filename": "model.onnx",
        "model_transaction_policy": {"decoupled": False},
    }


def statistics(replicas: Sequence[Replica], totals: Mapping[str, Totals]) -> dict[str, Any]:
    """What these versions have answered so far: ``{"model_stats": [...]}``.

    Parameters
    ----------
    replicas : sequence of Replica
        The versions.
    totals : mapping of str to Totals
        Sums over all workers by ``name@version``, as `watch.counters.read_totals` gives them.

    Returns
    -------
    dict
        One entry a version in the words of Triton's statistics; `load` beside them is what was measured at load by
        the worker that is asked.
    """
    return {"model_stats": [_statistics(replica, totals.get(replica.label, _NONE)) for replica in replicas]}


def _statistics(replica: Replica, totals: Totals) -> dict[str, Any]:
    def spent(seconds: float) -> dict[str, int]:
        return {"count": totals.ok, "ns": round(seconds * _NS)}

    return {
        "name": replica.name,
        "version": str(replica.version),
        "last_inference": int(totals.last_s * _MS),
        "inference_count": totals.rows,
        "execution_count": totals.calls,
        "inference_stats": {
            "success": spent(totals.seconds),
            "fail": {"count": totals.invalid + totals.failed, "ns": round(totals.lost_s * _NS)},
            "queue": spent(totals.queue_s),
            "compute_input": spent(totals.decode_s),
            "compute_infer": spent(totals.infer_s),
            "compute_output": spent(totals.encode_s),
            "cache_hit": {"count": totals.hits, "ns": 0},
            "cache_miss": {"count": totals.misses, "ns": 0},
        },
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
        "load": replica.facts(),
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": str(spec.datatype), "shape": list(spec.shape)}


def _configured(spec: TensorSpec) -> dict[str, Any]:
    datatype = "STRING" if spec.datatype is Datatype.BYTES else str(spec.datatype)
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": list(spec.shape[1:])}


def _batch(inputs: Sequence[TensorSpec], body_bytes: int) -> int:
    """The most rows that a request's body has room for, as binary tensors with every other variable axis at one."""
    row_bytes = 0
    for spec in inputs:
        elements = 1
        for axis in spec.shape[1:]:
            elements *= 1 if axis == ANY else max(axis, 1)
        row_bytes += elements * (spec.datatype.size_bytes or _LENGTH_BYTES)
    return max(1, min(body_bytes // row_bytes, _BATCH_MAX))
