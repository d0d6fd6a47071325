"""What a server says of itself and its models in the words of protocol v2, over HTTP and gRPC alike."""

from __future__ import annotations

from typing import Any

import modelyard
from modelyard.core.signature import TensorSpec
from modelyard.serve.plane import ServedModel
from modelyard.serve.replica import Replica

EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "onnxruntime_onnx"


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


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": str(spec.datatype), "shape": list(spec.shape)}
