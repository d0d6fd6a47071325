"""The client processes of a load test, as whoever directs them sees them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from queue import Empty, Queue

import msgspec

from modelyard.client.load.step import Place, Question, Step
from modelyard.client.load.tally import Tally, together
from modelyard.client.load.worker import Told, Work
from modelyard.core.errors import Internal, Timeout

_SPARE_S = 30.0  # beyond what a step may take
_END_S = 5.0

Progress = Callable[[float, float], None]


class Clients:
    """So many processes that ask the same questions of one server. End them with `close`, or use it as a context.

    Parameters
    ----------
    place : Place
        The server.
    questions : sequence of Question
        Asked in turn, over and over.
    count : int
        Processes.
    """

    def __init__(self, place: Place, questions: Sequence[Question], count: int = 1) -> None:
        self._lines: Queue[tuple[int, bytes]] = Queue()
        self._processes = [_start() for _ in range(count)]
        for number, process in enumerate(self._processes):
            threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
            self._say(number, Work(place, tuple(questions)))

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End them, whatever they are doing."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(_END_S)
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def run(self, step: Step, on_progress: Progress = lambda done, total: None) -> Tally:
        """Load the server as this step says, all clients at once.

        Parameters
        ----------
        step : Step
            Shared among the clients.
        on_progress : callable
            Told how many seconds of how many have passed.

        Raises
        ------
        Internal, Timeout
            A client process ended, or hangs.
        """
        parts = list(step.parts(len(self._processes)))
        for number, part in enumerate(parts):
            self._say(number, part)
        for _ in parts:
            self._hear(step.timeout_s + _SPARE_S)  # each is ready
        for number in range(len(parts)):
            self._say(number, True)  # noqa: FBT003 - any line: now
        tallies: list[Tally] = []
        while len(tallies) < len(parts):
            told = self._hear(step.patience_s + _SPARE_S)
            if told.tally is not None:
                tallies.append(told.tally)
            else:
                on_progress(min(told.passed_s, step.duration_s), step.duration_s)
        on_progress(step.duration_s, step.duration_s)
        return together(tallies)

    def _say(self, number: int, line: object) -> None:
        pipe = self._processes[number].stdin
        assert pipe is not None
        try:
            pipe.write(msgspec.json.encode(line) + b"\n")
            pipe.flush()
        except BrokenPipeError as exc:
            raise Internal(cause="a client process ended") from exc

    def _hear(self, limit_s: float) -> Told:
        try:
            number, line = self._lines.get(timeout=limit_s)
        except Empty as exc:
            raise Timeout(what="a client process", limit_s=limit_s) from exc
        if not line:
            code = self._processes[number].wait(_END_S)
            raise Internal(cause=f"a client process ended with code {code}")
        return msgspec.json.decode(line, type=Told)

    def _listen(self, number: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # closed while this reads
            for line in process.stdout:
                self._lines.put((number, line))
        self._lines.put((number, b""))


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "modelyard.client.load.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches whoever directs them, who ends them
    )
