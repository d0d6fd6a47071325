"""Real servers for acceptance tests: a home, published bundles, `modelyard serve` in its own process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.core.manifest import MODEL, SAMPLES, Manifest, Source, Task
from modelyard.core.plan import MEASURED, Limits, Plan, PlannedModel, PlannedVersion, Tuning
from modelyard.core.settings import Settings
from modelyard.core.signature import Feature, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.bundle import Bundle, seal
from tests.watched import Watch

START_S = 30.0


class Served:
    """One `modelyard serve` process and its workers."""

    VERB = "serve"
    PORT: tuple[str, ...] = ("--port", "0")

    def __init__(self, home: Path, *args: str, **environ: str) -> None:
        self.watch = Watch()
        env = self.watch.environ({**os.environ, "MODELYARD_HOME": str(home), "PYTHONUNBUFFERED": "1", **environ})
        self.home = home
        command = [sys.executable, "-m", "modelyard", self.VERB, "--json", *self.PORT, *args]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.events: list[dict[str, Any]] = []
        self.output = ""
        self._queue: Queue[dict[str, Any]] = Queue()
        self.stderr = ""
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Served:
        self.wait_for("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if line.startswith("{") and line.rstrip().endswith("}"):
                event = json.loads(line)
                self.events.append(event)
                self._queue.put(event)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr += line

    def wait_for(self, key: str, timeout_s: float = START_S) -> dict[str, Any]:
        """The next event that has `key`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                event = self._queue.get(timeout=0.1)
            except Empty:
                if self.process.poll() is not None and self._queue.empty():
                    break
                continue
            if key in event:
                return event
        raise AssertionError(f"no {key!r} event; events {self.events}, stderr {self.stderr}")

    @property
    def port(self) -> int:
        return next(int(event["listening"][1]) for event in self.events if "listening" in event)

    @property
    def grpc_port(self) -> int:
        """The port of gRPC, once a worker has said that it answers there."""
        deadline = time.monotonic() + START_S
        while not any("grpc" in event for event in self.events):
            assert time.monotonic() < deadline, f"no gRPC; events {self.events}, stderr {self.stderr}"
            time.sleep(0.01)
        return next(int(event["grpc"]) for event in self.events if "grpc" in event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers in lower case, body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response: HTTPResponse = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def post(self, path: str, document: Any) -> tuple[int, Any]:
        status, _, body = self.ask("POST", path, json.dumps(document), {"content-type": "application/json"})
        return status, json.loads(body)

    def raw(self, data: bytes, timeout_s: float = 10.0) -> bytes:
        """Everything the server says to these bytes until it closes or is silent for a moment."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as sock:
            sock.sendall(data)
            return receive(sock)

    def stop(self, number: int = signal.SIGINT, timeout_s: float = 40.0) -> int:
        """Stop it and give its exit code; an error when it did what no server may do (`tests.watched`)."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            for child in self.workers():
                child.kill()
            self.process.kill()
            raise
        for reader in self._readers:
            reader.join(5)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        self.watch.done()
        return code


def receive(sock: socket.socket, quiet_s: float = 0.5) -> bytes:
    """What arrives until the other side closes or says nothing for `quiet_s`."""
    sock.settimeout(quiet_s)
    found = b""
    try:
        while chunk := sock.recv(65536):
            found += chunk
    except TimeoutError:
        pass
    except ConnectionResetError:
        pass
    return found


def home_with(path: Path, *bundles: Bundle) -> Home:
    """A home with these bundles published, in order."""
    home = open_home(Settings(home=path))
    for bundle in bundles:
        publish(home, bundle)
    return home


def plan_of(
    folder: Path,
    bundles: Sequence[Bundle],
    limits: Limits | None = None,
    tunings: Mapping[str, Tuning] | None = None,
) -> Path:
    """A plan file that serves these bundles, each laid out beside it, with these limits and tunings by name."""
    models = []
    for bundle in bundles:
        place = folder / bundle.digest[:12]
        place.mkdir()
        bundle.write(place)
        name, version = bundle.manifest.name, PlannedVersion(1, bundle.digest, str(place))
        models.append(PlannedModel(name, 1, (version,), tuning=(tunings or {}).get(name, MEASURED)))
    path = folder / "plan.json"
    path.write_bytes(Plan(models=tuple(models), limits=limits or Limits()).to_bytes())
    return path


def slow_bundle(name: str = "slow", size: int = 900, products: int = 3) -> Bundle:
    """A model that takes a noticeable time: ``products`` matrix products of ``size`` x ``size``, then zero times that.

    ``prediction = feature + 0 * sum(A @ A ...)`` with ``A = feature * ones``: nothing of it can be folded at load.
    """
    nodes = [
        helper.make_node("ReduceMax", ["input"], ["scalar"], keepdims=0),
        helper.make_node("Mul", ["ones", "scalar"], ["p0"]),
        *[helper.make_node("MatMul", [f"p{at}", "ones"], [f"p{at + 1}"]) for at in range(products)],
        helper.make_node("ReduceSum", [f"p{products}"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["input", "nothing"], ["prediction"]),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["rows", 1])],
        [
            numpy_helper.from_array(np.full((size, size), 1e-3, dtype=np.float32), "ones"),
            numpy_helper.from_array(np.array(0.0, dtype=np.float32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    signature = Signature(
        inputs=(TensorSpec(name="input", datatype=Datatype.FP32, shape=(-1, 1), features=(Feature(name="feature"),)),),
        outputs=(TensorSpec(name="prediction", datatype=Datatype.FP32, shape=(-1, 1)),),
        prediction="prediction",
    )
    samples = b'{"rows":[{"feature":1.0}],"outputs":{"prediction":[[1.0]]}}'
    manifest = Manifest(name=name, task=Task.REGRESSION, signature=signature, files={}, source=Source(format="onnx"))
    return seal(manifest, {MODEL: model.SerializeToString(), SAMPLES: samples})
