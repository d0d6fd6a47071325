"""Trials of what really serves: a server of this machine stands for the container, and is asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelyard.core.errors import BuildFailed
from modelyard.core.manifest import Samples
from modelyard.core.plan import Plan, PlannedModel, PlannedVersion
from modelyard.core.release import Shipped
from modelyard.model.bundle import Bundle
from modelyard.ship.engine import trial
from modelyard.ship.engine.containers import Container
from modelyard.ship.engine.engines import Engine
from modelyard.ship.engine.trial import try_image
from modelyard.ship.shipment import Shipment
from tests.models import image_bundle, linear_bundle, mixed_bundle


@dataclass(frozen=True)
class Local(Engine):
    """An engine whose containers are processes of this machine."""

    command: list[str] = field(default_factory=list)
    folder: Path = Path()
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def call(self, *words: str, doing: str, limit_s: float = 60.0, merged: bool = False) -> str:
        self.done.append(words[0])
        return {"run": self.start, "port": self.port, "logs": self.log}.get(
            words[0], getattr(self, f"on_{words[0]}", str)
        )()

    def start(self) -> str:
        with (self.folder / "log").open("wb") as log:
            self.processes.append(subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder))
        return "c0ffee" * 11

    def port(self) -> str:
        return f"127.0.0.1:{self.command[-1]}\n"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def on_container(self) -> str:
        code = self.processes[-1].poll()
        state = {
            "Status": "running" if code is None else "exited",
            "ExitCode": code or 0,
            "Pid": self.processes[-1].pid,
        }
        return json.dumps(state)

    def on_stats(self) -> str:
        return "23.5MiB / 512MiB\n"

    def on_stop(self) -> str:
        self.processes[-1].send_signal(signal.SIGTERM)
        self.processes[-1].wait(20)
        return ""

    def on_rm(self) -> str:
        self.processes[-1].kill()
        self.processes[-1].wait()
        return ""


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[Local]]:
    made: list[Local] = []
    yield made
    for engine in made:
        for process in engine.processes:
            process.kill()
            process.wait()


def lay_out(folder: Path, *bundles: Bundle) -> Shipment:
    """A shipment of these bundles, each version 1 of its name."""
    models, places = [], {}
    for bundle in bundles:
        place = folder / bundle.digest
        place.mkdir(parents=True)
        bundle.write(place)
        places[bundle.digest] = place
        models.append(Shipped(name=bundle.manifest.name, version=1, digest=bundle.digest))
    return Shipment("churn", tuple(models), places, Plan(models=()))


def serving(engines: list[Local], folder: Path, shipment: Shipment) -> Local:
    """An engine that serves the shipment."""
    planned = tuple(
        PlannedModel(each.name, 1, (PlannedVersion(1, each.digest, str(shipment.bundles[each.digest])),))
        for each in shipment.models
    )
    (folder / "plan.json").write_bytes(Plan(models=planned).to_bytes())
    words = ["-m", "modelyard", "serve", "--plan", str(folder / "plan.json"), "--no-grpc", *trial.ARGS]
    return running(engines, folder, [sys.executable, *words])


def running(engines: list[Local], folder: Path, command: list[str]) -> Local:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    engines.append(Local("docker", "docker", "1", "linux/amd64", [*command, "--port", str(port)], folder))
    return engines[-1]


def test_every_golden_row_of_every_model_is_asked(engines: list[Local], tmp_path: Path) -> None:
    shipment = lay_out(tmp_path, linear_bundle(), mixed_bundle(), image_bundle())
    engine = serving(engines, tmp_path, shipment)
    told: list[str] = []
    tried = try_image(engine, "churn:7", shipment, told.append)
    assert tried.rows == sum(len(each.samples.rows) for each in (linear_bundle(), mixed_bundle(), image_bundle())) > 5
    assert 0 < tried.ready_s < tried.answered_s < 60
    assert tried.memory_bytes == int(23.5 * 2**20)  # of a process that is in no container, the engine is asked
    assert engine.done[-2:] == ["container", "rm"]
    assert told == ["start churn:7"]
    assert f"golden rows {tried.rows}/{tried.rows}" in str(tried)


def test_a_bundle_that_answers_otherwise_is_found(engines: list[Local], tmp_path: Path) -> None:
    """The image has a model of another slope under the same name: what a mixed-up layer would be."""
    wrong = lay_out(tmp_path / "there", linear_bundle(slope=3.0))
    right = lay_out(tmp_path / "here", linear_bundle())
    with pytest.raises(BuildFailed, match="another bundle than the one that was put there"):
        try_image(serving(engines, tmp_path, wrong), "churn:7", right, print)
    assert engines[-1].done[-1] == "rm"


def test_answers_that_differ_are_found(engines: list[Local], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = linear_bundle()
    samples = bundle.samples
    moved = Samples(rows=samples.rows, outputs={"prediction": [y + 0.01 for y in samples.outputs["prediction"]]})
    shipment = lay_out(tmp_path, bundle)
    monkeypatch.setattr(Bundle, "samples", moved)
    with pytest.raises(BuildFailed, match=r"linear@1 answers its golden rows differently .*'prediction'") as caught:
        try_image(serving(engines, tmp_path, shipment), "churn:7", shipment, print)
    assert "its log ends" in caught.value.cause


def test_a_golden_row_that_is_refused_is_found(
    engines: list[Local], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = linear_bundle()
    monkeypatch.setattr(Bundle, "samples", Samples(rows=[{"featur": 3.0}], outputs={"prediction": [6.0]}))
    shipment = lay_out(tmp_path, bundle)
    with pytest.raises(BuildFailed, match="with 400: no input 'featur'"):
        try_image(serving(engines, tmp_path, shipment), "churn:7", shipment, print)


def test_a_damaged_bundle_is_named_by_the_log(engines: list[Local], tmp_path: Path) -> None:
    shipment = lay_out(tmp_path, linear_bundle())
    engine = serving(engines, tmp_path, shipment)
    model = next(iter(shipment.bundles.values())) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(BuildFailed, match=r"ended with exit code \d+ before it was ready") as caught:
        try_image(engine, "churn:7", shipment, print)
    assert "model.onnx was changed" in caught.value.cause
    assert engine.done[-1] == "rm"


def test_an_image_for_another_machine_is_named(engines: list[Local], tmp_path: Path) -> None:
    engine = running(engines, tmp_path, ["sh", "-c", "echo exec /usr/bin/python3: exec format error; exit 1"])
    with pytest.raises(BuildFailed, match="for another architecture") as caught:
        try_image(engine, "churn:7", lay_out(tmp_path, linear_bundle()), print)
    assert "--base" in caught.value.hint


def test_what_never_gets_ready_is_not_waited_for(
    engines: list[Local], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_READY_S", 1.0)
    engine = running(engines, tmp_path, ["sh", "-c", "echo waiting for nothing; sleep 60"])
    with pytest.raises(BuildFailed, match="not ready within 1 s") as caught:
        try_image(engine, "churn:7", lay_out(tmp_path, linear_bundle()), print)
    assert "waiting for nothing" in caught.value.cause
    assert engine.processes[0].poll() is not None


def test_a_server_that_does_not_stop_well_is_found(engines: list[Local], tmp_path: Path) -> None:
    shipment = lay_out(tmp_path, linear_bundle())
    serve = serving(engines, tmp_path, shipment)
    script = "trap 'kill $!; exit 3' TERM; \"$@\" & wait"
    engine = replace(serve, command=["sh", "-c", script, "sh", *serve.command], processes=[], done=[])
    engines.append(engine)
    with pytest.raises(BuildFailed, match="ended with exit code 3 when it was told to stop"):
        try_image(engine, "churn:7", shipment, print)


def test_memory_is_read_from_processes_only_where_they_are_the_containers(tmp_path: Path) -> None:
    engine = Local("docker", "docker", "1", "linux/amd64", ["sleep", "60", "1"], tmp_path)
    engine.start()
    try:
        here = Container(os.urandom(32).hex(), engine.call)
        assert trial.memory(here) == (int(23.5 * 2**20), 0)
    finally:
        engine.on_rm()


@pytest.mark.parametrize(("text", "size"), [("23.5MiB ", 24641536), ("1.5GB", 1_500_000_000), ("0B", 0), ("-- ", 0)])
def test_sizes_are_read_as_engines_print_them(text: str, size: int) -> None:
    assert trial._size(text) == size


def test_texts_in_base64_are_read() -> None:
    assert trial._text("label_bytes", [{"b64": "w6k="}, {"b64": "YQ=="}]) == ["é", "a"]
    assert trial._text("label", {"b64": "YQ=="}) == {"b64": "YQ=="}
