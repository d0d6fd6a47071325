"""Workers on their way: each imports what all need, then waits for its orders and for what it is to work with.

So a process can be started before it is known what for, which is most of the time that starting takes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

# Unless the operator says otherwise: numpy's BLAS would start a thread for every core, in every worker.
_LIBRARIES = {"OPENBLAS_NUM_THREADS": "1"}
# What opens everything that is stored is the control plane's; see `core.settings`.
_KEPT_BACK = frozenset({"MODELYARD_MASTER_KEY"})
_MOST_BYTES = 65536
_MOST_FDS = 8


class Recruit:
    """One process that waits. It ends by itself when nobody is there any more who could give it orders."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-P", "-m", "modelyard.serve", str(theirs.fileno())],
                env={**_LIBRARIES, **_handed_on()},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then drains its workers
            )

    def begin(self, orders: str, fds: Sequence[int]) -> subprocess.Popen[bytes]:
        """Give it its orders, one line, and these open files; the process is the caller's from now on."""
        assert self._process is not None
        process, self._process = self._process, None
        with self._line, contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died; its exit code tells
            socket.send_fds(self._line, [orders.encode() + b"\n"], fds)
        return process

    def dismiss(self) -> None:
        """It is not needed; nothing happens when it has its orders."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._line.close()


def _handed_on() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _KEPT_BACK}  # noqa: TID251 - not read here


def receive(fd: int) -> tuple[str, list[int]] | None:
    """In a recruit: the orders and open files that `begin` gave it; None when nobody will give any."""
    with socket.socket(fileno=fd) as line:
        raw, fds, _, _ = socket.recv_fds(line, _MOST_BYTES, _MOST_FDS)
        while raw and not raw.endswith(b"\n"):
            more = line.recv(_MOST_BYTES)
            raw = raw + more if more else b""
    return (raw.decode(), list(fds)) if raw else None
