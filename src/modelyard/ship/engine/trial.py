"""Trial: an image is started, asked the golden rows of every bundle that is in it, and stopped, before anybody has it.

What is compared is what callers get: the answers come over HTTP, out of a container that is locked in like any other.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from modelyard.core.errors import BuildFailed, ModelyardError
from modelyard.core.release import Shipped
from modelyard.core.signature import Signature
from modelyard.model import golden
from modelyard.model.bundle import Bundle, open_bundle
from modelyard.ship import layout
from modelyard.ship.deployment import Told
from modelyard.ship.engine.containers import Container, Options
from modelyard.ship.engine.engines import Engine
from modelyard.ship.engine.probe import NAME, lend
from modelyard.ship.shipment import Shipment

#: What a container of a trial is started with: nobody but this machine reaches it, and nobody has to be waited for.
ARGS = ("--trusted-network", "--drain-delay", "0")
_READY_S, _ANSWER_S, _STOP_S = 90.0, 30.0, 20
_PAUSE_S, _LOOK_S = 0.05, 0.5
_TYPE = {"content-type": "application/json"}
_HTTP_OK = 200
_MOST_BYTES = 64 << 20
#: Memory of a trial: for the server, and for each byte of a model, which may be there twice while it is loaded.
_LEAST_MIB, _TIMES = 512, 4
_UNITS = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


@dataclass(frozen=True, kw_only=True)
class Tried:
    """How a trial went: well.

    Parameters
    ----------
    rows : int
        Golden rows that were answered rightly.
    ready_s : float
        From the start of the container until it said that it is ready.
    answered_s : float
        From there until the first golden rows were answered rightly: a cold start.
    memory_bytes : int
        What all its processes have of the memory: proportional set size, or what the engine counts.
    worker_bytes : int
        The same of the process that has most; 0 where only the engine could be asked.
    stop_s : float
        From SIGTERM until it had ended.
    """

    rows: int
    ready_s: float
    answered_s: float
    memory_bytes: int
    worker_bytes: int
    stop_s: float

    def __str__(self) -> str:
        asked = f"golden rows {self.rows}/{self.rows}" if self.rows else "no golden rows to ask"
        return f"started in {self.answered_s:.1f} s, {asked}, {self.memory_bytes / 2**20:.0f} MiB, stopped"


def try_image(engine: Engine, image: str, shipment: Shipment, told: Told, options: Options | None = None) -> Tried:
    """Start the image, ask it, stop it; nothing of it runs afterwards, however it goes.

    Parameters
    ----------
    engine : Engine
        Has the image.
    image : str
        Its name or id.
    shipment : Shipment
        What is in it.
    told : callable
        Told what is being done.
    options : Options, optional
        How the container is to run; by default locked in, with a free port.

    Raises
    ------
    BuildFailed
        It does not come up, answers otherwise than its bundles say, or does not stop when it is told to.
    """
    told(f"start {image[:19] if image.startswith('sha256:') else image}")
    if shipment.models:
        return _run(engine, image, _Expected(shipment.models, shipment.bundles), options)
    with TemporaryDirectory(prefix="modelyard-probe-") as name:
        foreign = "convert" in shipment.extras
        whole, mounted = lend(Path(name), foreign=foreign)
        model = Shipped(name=NAME, version=1, digest=open_bundle(whole).digest)
        expected = _Expected((model,), {model.digest: whole}, exact=not foreign)
        options = options or _options(expected.bundles)
        options = replace(options, mounts={**options.mounts, layout.MOUNTED: mounted})
        return _run(engine, image, expected, options)


def memory(container: Container) -> tuple[int, int]:
    """Memory of all processes of a container, and of the one with most; (counted by the engine, 0) from elsewhere."""
    with suppress(psutil.Error, OSError):
        found = [process.memory_full_info().pss for process in _processes(container)]
        if found:
            return sum(found), max(found)
    said = container.call(
        "stats", "--no-stream", "--format", "{{.MemUsage}}", container.id, doing="measure a container"
    )
    return _size(said.partition("/")[0]), 0


@dataclass(frozen=True)
class _Expected:
    """What should answer; `exact` unless the image makes a bundle of its own of what is mounted."""

    models: tuple[Shipped, ...]
    bundles: Mapping[str, Path]
    exact: bool = True


def _run(engine: Engine, image: str, expected: _Expected, options: Options | None) -> Tried:
    began = time.monotonic()
    container = engine.run(image, ARGS, options or _options(expected.bundles))
    try:
        return _tried(container, expected, began)
    finally:
        with suppress(ModelyardError):  # what went wrong before is what has to be said
            container.remove()


def _options(bundles: Mapping[str, Path]) -> Options:
    """With memory for what is to be loaded, and a name that says what it is."""
    size = sum(file.stat().st_size for folder in bundles.values() for file in folder.iterdir())
    name = f"modelyard-trial-{secrets.token_hex(6)}"
    return Options(name=name, memory_mib=_LEAST_MIB + _TIMES * (size >> 20))


def _tried(container: Container, expected: _Expected, began: float) -> Tried:
    link = _Link(container, container.port())
    link.wait_until_ready(time.monotonic() + _READY_S)
    ready = time.monotonic()
    rows, answered = 0, 0.0
    for model in expected.models:
        rows += _compare(link, model, open_bundle(expected.bundles[model.digest], digest=model.digest), expected)
        answered = answered or time.monotonic()
    total, most = memory(container)
    stopping = time.monotonic()
    code = container.stop(_STOP_S)
    if code:
        raise link.failed(f"it ended with exit code {code} when it was told to stop, not with 0")
    return Tried(
        rows=rows,
        ready_s=ready - began,
        answered_s=(answered or ready) - began,
        memory_bytes=total,
        worker_bytes=most,
        stop_s=time.monotonic() - stopping,
    )


def _compare(link: _Link, model: Shipped, bundle: Bundle, expected: _Expected) -> int:
    """What answers is this very bundle, and it answers its golden rows as it did when it was made; how many."""
    samples, signature = bundle.samples, bundle.manifest.signature
    said = link.ask("GET", f"/models/{model.name}/versions/{model.version}")
    if expected.exact and said.get("digest") != model.digest:
        raise link.failed(f"{model} in the image is another bundle than the one that was put there")
    if not samples.rows:
        return 0
    question = {"instances": samples.rows}
    given = link.ask("POST", f"/v1/models/{model.name}/versions/{model.version}:predict", question)
    different = golden.differing(signature, samples, _answers(signature, given.get("predictions", [])))
    if different:
        raise link.failed(f"{model} answers its golden rows differently in the container (output {different!r})")
    return len(samples.rows)


def _answers(signature: Signature, predictions: list[Any]) -> dict[str, list[Any]]:
    """Answers by output. One output is answered bare, several as objects by their names."""
    names = [spec.name for spec in signature.outputs]
    if len(names) == 1:
        return {names[0]: [_text(names[0], row) for row in predictions]}
    return {name: [_text(name, row.get(name)) for row in predictions if isinstance(row, dict)] for name in names}


def _text(name: str, value: Any) -> Any:
    """Texts of outputs whose names end so come in base64: the protocol wants it."""
    if isinstance(value, list):
        return [_text(name, item) for item in value]
    if name.endswith("_bytes") and isinstance(value, dict):
        with suppress(binascii.Error, UnicodeDecodeError, TypeError):
            return base64.b64decode(value.get("b64", ""), validate=True).decode()
    return value


class _Link:
    """A container of a trial, and the way to ask it."""

    def __init__(self, container: Container, port: int) -> None:
        self._container = container
        self._port = port

    def wait_until_ready(self, deadline: float) -> None:
        """Until /readyz says so; `BuildFailed` when it has ended before, or takes too long."""
        look = time.monotonic() + _LOOK_S
        while True:
            with suppress(OSError, HTTPException):
                if self._exchange("GET", "/readyz", None, 2.0)[0] == _HTTP_OK:
                    return
            now = time.monotonic()
            if now > look:
                look = now + _LOOK_S
                self._check_alive()
            if now > deadline:
                raise self.failed(
                    f"it was not ready within {_READY_S:g} s",
                    hint="if the engine runs on another machine, make an archive and load it there:"
                    " modelyard build --format oci",
                )
            time.sleep(_PAUSE_S)

    def ask(self, method: str, path: str, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that answers; `BuildFailed` for anything else."""
        body = None if question is None else json.dumps(question).encode()
        try:
            status, raw = self._exchange(method, path, body, _ANSWER_S)
            said = json.loads(raw)
        except (OSError, HTTPException, ValueError) as exc:
            self._check_alive()
            raise self.failed(f"it does not answer {path} ({type(exc).__name__})") from exc
        if status != _HTTP_OK or not isinstance(said, dict):
            why = said.get("detail") or said.get("error") if isinstance(said, dict) else ""
            raise self.failed(f"it answers {path} with {status}{f': {why}' if why else ''}")
        return said

    def failed(self, what: str, hint: str = "") -> BuildFailed:
        """The error, with the last lines of the container's log."""
        with suppress(ModelyardError):
            if log := self._container.logs(12).strip():
                return BuildFailed(what=f"the image does not work: {what}", cause=f"its log ends\n{log}", hint=hint)
        return BuildFailed(what=f"the image does not work: {what}", hint=hint)

    def _check_alive(self) -> None:
        state = self._container.state()
        if state.ended and "exec format error" in self._container.logs():
            raise BuildFailed(
                what="the image is for another architecture than the machine that it was started on",
                hint="name a base image that there is for this machine: --base IMAGE",
            )
        if state.oom_killed:
            raise self.failed("it takes more memory than four times the size of its models")
        if state.ended:
            raise self.failed(state.error or f"it ended with exit code {state.exit_code} before it was ready")

    def _exchange(self, method: str, path: str, body: bytes | None, limit_s: float) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=limit_s)
        try:
            connection.request(method, path, body, _TYPE if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read(_MOST_BYTES)
        finally:
            connection.close()


def _processes(container: Container) -> list[psutil.Process]:
    """Processes of the container, where they are this machine's; a number alone may be anybody's here."""
    pid = container.state().pid
    if not pid or container.id[:12] not in _group(pid):
        return []
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def _group(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:  # noqa: PTH123 - not a file that lies anywhere
        return file.read()


def _size(text: str) -> int:
    """``23.5MiB`` in bytes; 0 when it cannot be read."""
    number = text.strip().rstrip("BbiIkKmMgG")
    try:
        return int(float(number) * _UNITS[text.strip()[len(number) :].lower()])
    except (ValueError, KeyError):
        return 0
