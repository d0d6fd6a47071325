"""Lend: a server of one version on a free port of this machine, for as long as somebody needs it and not longer.

It is the server of `modelyard serve` in a process of its own. That process ends when its standard input does, so it
outlives nobody, however its borrower ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import Any

import psutil

from modelyard.core.errors import Internal, ModelyardError, Timeout, from_wire
from modelyard.core.settings import Settings
from modelyard.serve.supervisor import Event, Options

_START_S = 120.0
_STOP_S = 10.0


@dataclass
class Lent:
    """A server that is lent.

    Parameters
    ----------
    url : str
        ``http://127.0.0.1:port``.
    loaded : dict
        What its first worker reported of the model: ``load_s``, ``first_row_s``, ``policy``, ...
    pid : int
        Of the supervisor.
    """

    url: str
    loaded: Event = field(default_factory=dict)
    pid: int = 0

    def cpu_s(self) -> float:
        """What the workers have computed so far, in seconds; workers that ended since do not count."""
        spent = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in psutil.Process(self.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    spent += sum(worker.cpu_times()[:2])
        return spent


@contextlib.contextmanager
def lend(settings: Settings, reference: str, *, workers: int = 1) -> Iterator[Lent]:
    """Serve this reference while the block runs.

    Raises
    ------
    ModelyardError
        Whatever `serve` raises.
    Timeout
        It is not ready after two minutes.
    """
    command = [sys.executable, "-P", "-m", "modelyard.control.actions.lend"]
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [*command, str(settings.home), reference, str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the borrower, who gives it back
    )
    try:
        yield _ready(child, workers)
    finally:
        _give_back(child)


def _ready(child: subprocess.Popen[bytes], workers: int) -> Lent:
    """Wait until all its workers answer."""
    events: Queue[dict[str, Any] | None] = Queue()
    threading.Thread(target=_listen, args=(child, events), daemon=True).start()
    lent = Lent(url="", pid=child.pid)
    deadline = time.monotonic() + _START_S
    while True:
        try:
            event = events.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty as exc:
            raise Timeout(what="the start of a server for this model", limit_s=_START_S) from exc
        if event is None:
            raise Internal(cause=f"the server for this model stopped with code {child.wait(_STOP_S)}")
        if "failed" in event:
            raise from_wire(event["failed"])
        if "listening" in event:
            host, port = event["listening"]
            lent.url = f"http://{host}:{port}"
        if "loaded" in event:
            lent.loaded = lent.loaded or event
        workers -= "ready" in event
        if not workers:
            return lent


def _listen(child: subprocess.Popen[bytes], events: Queue[dict[str, Any] | None]) -> None:
    assert child.stdout is not None
    with contextlib.suppress(ValueError):  # closed while this reads
        for line in child.stdout:
            events.put(json.loads(line))
    events.put(None)


def _give_back(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()
    try:
        child.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        for process in [*psutil.Process(child.pid).children(recursive=True), child]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        child.wait()
    child.stdout.close()


def main(home: str, reference: str, workers: str) -> int:
    """The lent server's own process: events on standard output, one line of JSON each."""
    from modelyard.control.actions.serve import serve  # noqa: PLC0415 - the borrower has no use for it

    threading.Thread(target=_end_with_borrower, daemon=True).start()
    settings = Settings.from_environ({**os.environ, "MODELYARD_HOME": home})  # noqa: TID251 - a process of its own
    options = Options(port=0, workers=int(workers), drain_delay_s=0.0, grace_s=1.0)
    try:
        serve(settings, [reference], options, None, _tell)
    except ModelyardError as exc:
        _tell({"failed": exc.to_wire()})
        return 1
    except KeyboardInterrupt:  # given back before it was ready
        return 0
    return 0


def _end_with_borrower() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written there: this returns when the other end is closed
    os.kill(os.getpid(), signal.SIGINT)


def _tell(event: Event) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(dict(event)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
