"""A real gRPC client in a process of its own: NVIDIA's, for answers that are checked, never for timing.

`python -m benchmarks.grpc_client FOLDER` reads a line of JSON for each job, ``{"port": 8081, "item": "w6",
"count": 64, "headers": {}}``, and prints one: ``{"answers": [...], "bytes": 120}`` or ``{"error": "..."}``.
`GrpcClient` is the harness's side of it. So the harness itself holds no page of grpcio, which it would share with the
servers that it weighs.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT
from benchmarks.items import OUTPUTS, Answer, Item, read


class GrpcClient:
    """The client's process, ready to ask at once."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.grpc_client", str(folder)]
        self._child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._line() == {"ready": True}

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.close()
        self._child.wait(10)

    def ask(self, port: int, item: Item, count: int, headers: dict[str, str]) -> tuple[list[Answer], int]:
        """The answers to the first `count` questions, and the bytes of one answer's message."""
        assert self._child.stdin is not None
        named = {name.lower(): value for name, value in headers.items()}
        job = {"port": port, "item": item.name, "count": count, "headers": named}
        self._child.stdin.write(json.dumps(job) + "\n")
        self._child.stdin.flush()
        found = self._line()
        if "error" in found:
            raise ConnectionError(found["error"])
        return found["answers"], found["bytes"]

    def _line(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        found: dict[str, Any] = json.loads(self._child.stdout.readline())
        return found


def body(folder: Path, item: Item) -> Path:
    """The file with the first question as gRPC frames it: no compression, length, message."""
    return folder / f"{item.name}.grpc"


def main(folder: Path) -> None:
    """Answer jobs until standard input ends."""
    import tritonclient.grpc as triton  # noqa: PLC0415 - the harness imports this module too, and stays light

    items = read(folder)
    for item in (one for one in items.values() if one.name == "w6"):
        message = _message(item)
        body(folder, item).write_bytes(struct.pack(">BI", 0, len(message)) + message)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        item = items[job["item"]]
        try:
            with triton.InferenceServerClient(f"127.0.0.1:{job['port']}") as client:
                asked = [[_input(triton, item, at)] for at in range(job["count"])]
                found = [client.infer(item.name, inputs, headers=job["headers"]) for inputs in asked]
            answers = [one.as_numpy(OUTPUTS[item.name]).ravel().tolist() for one in found]
        except (triton.InferenceServerException, AttributeError) as error:  # None where an answer lacks the output
            print(json.dumps({"error": str(error)}), flush=True)
            continue
        print(json.dumps({"answers": answers, "bytes": found[0].get_response().ByteSize()}), flush=True)


def _message(item: Item) -> bytes:
    """The first question as it travels: every gRPC client makes these bytes."""
    from tritonclient.grpc.service_pb2 import ModelInferRequest  # noqa: PLC0415 - as above

    row: list[float] = item.questions[0]  # type: ignore[assignment]
    request = ModelInferRequest(model_name=item.name)
    request.inputs.add(name="X", datatype="FP32", shape=[1, len(row)])
    request.raw_input_contents.append(struct.pack(f"<{len(row)}f", *row))
    raw: bytes = request.SerializeToString()
    return raw


def _input(triton: Any, item: Item, at: int) -> Any:
    import numpy as np  # noqa: PLC0415 - as above

    row = np.array([item.questions[at]], np.float32)
    tensor = triton.InferInput("X", list(row.shape), "FP32")
    tensor.set_data_from_numpy(row)
    return tensor


if __name__ == "__main__":
    main(Path(sys.argv[1]))
