"""Models loaded and unloaded while the server runs: a worker asks, control writes a new plan, every worker obeys it.

The data plane opens no registry. A worker that is asked sends an event with a ticket to the supervisor's process, and
waits for the ticket's answer, then until all workers obey: see `serve.tickets`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelyard.core.errors import (
    Internal,
    InvalidRequest,
    LoadFailed,
    ModelyardError,
    NotExplicit,
    NotInRepository,
    NotReady,
    Timeout,
    Unsupported,
    from_wire,
)
from modelyard.core.identity import LOCAL, Principal
from modelyard.serve import tickets

#: Longest time from the question until every worker obeys.
WAIT_S = 60.0
_POLL_S = 0.01
_WAITING = 8  # questions of one worker that wait at once; further ones wait for their turn
_LONGEST = 3500  # of all that is asked together: events are written whole up to 4096 bytes
_NAME = 255  # of an asker's name, as much as is recorded

Tell = Callable[[Mapping[str, Any]], None]
#: Who wants something, and from where; for the record of it.
By = tuple[Principal, str]


class Repository:
    """What a worker's edges ask for models to be loaded and unloaded; safe in threads.

    Parameters
    ----------
    run : Path, optional
        Folder of the workers' small files; without it everything is refused.
    tell : callable, optional
        Sends one event to the supervisor.
    wait_s : float
        Longest time until every worker obeys.
    """

    def __init__(self, run: Path | None = None, tell: Tell | None = None, *, wait_s: float = WAIT_S) -> None:
        self._run = run
        self._tell = tell
        self._wait_s = wait_s
        self._stopping = False
        self._threads = ThreadPoolExecutor(_WAITING, thread_name_prefix="repository")

    @property
    def explicit(self) -> bool:
        """Whether models may be loaded and unloaded."""
        return self._tell is not None

    def load(self, name: str, folder: str = "", *, by: By = (LOCAL, "")) -> None:
        """Serve this model in every worker, before this returns; for threads that may wait.

        Parameters
        ----------
        name : str
            A model of the registry: its newest state is served, in the versions that the bare name means (or that the
            operator asked for). One that is served already is looked at again.
        folder : str, optional
            A folder with an exported bundle, to be served under the name instead.
        by : tuple of Principal and str
            Who wants it, and from where.

        Raises
        ------
        NotExplicit
            Not in this server.
        NotInRepository, LoadFailed, CorruptBundle, Conflict, StoreFull
            It cannot be loaded; what was served goes on being served.
        Timeout, NotReady
            Not every worker obeyed in time, or the server is stopping.
        """
        self._ask("load", name, folder, by)

    def unload(self, name: str, *, by: By = (LOCAL, "")) -> None:
        """Serve this model no longer, in any worker, once this returns; nothing happens when it was not served."""
        self._ask("unload", name, "", by)

    def submit(self, call: Callable[[], None], reply: Callable[[ModelyardError | None], None]) -> None:
        """Run one of the calls above in a thread; `reply` is called once, on the event loop, which must be running."""
        loop = asyncio.get_running_loop()

        def work() -> None:
            error: ModelyardError | None = None
            try:
                call()
            except ModelyardError as exc:
                error = exc
            except Exception as exc:  # noqa: BLE001 - the thread's border: without an answer the caller would wait for ever
                error = Internal(cause=type(exc).__name__)
            loop.call_soon_threadsafe(reply, error)

        self._threads.submit(work)

    def close(self) -> None:
        """The server is stopping: whoever waits is told so."""
        self._stopping = True

    def _ask(self, action: str, name: str, folder: str, by: By) -> None:
        if self._tell is None or self._run is None:
            raise NotExplicit()
        who, source = by
        asker = [who.name[:_NAME], who.method, source]
        if len(json.dumps([name, folder, asker])) > _LONGEST:
            raise NotInRepository(what="model", name=name[:80], hint="its name or address is too long")
        ticket = os.urandom(8).hex()
        self._tell({"repository": action, "model": name, "folder": folder, "ticket": ticket, "by": asker})
        deadline = time.monotonic() + self._wait_s
        what = f"to {action} {name[:80]!r}"
        told = self._wait(what, deadline, lambda run: tickets.taken(run, ticket))
        if "error" in told:
            raise from_wire(told["error"])
        troubles = self._wait(what, deadline, lambda run: tickets.obeyed(run, int(told["serial"])))
        if action == "load" and name in troubles:
            raise LoadFailed(model=name, what=troubles[name])

    def _wait(self, what: str, deadline: float, look: Callable[[Path], Any]) -> Any:
        """The first thing that `look` sees in the run folder."""
        assert self._run is not None
        while (seen := look(self._run)) is None:
            if self._stopping:
                raise NotReady(what="the server is stopping")
            if time.monotonic() > deadline:
                raise Timeout(what=what, limit_s=self._wait_s)
            time.sleep(_POLL_S)
        return seen


def check_load(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of a request to load: a model's configuration and files never come with a request."""
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise Unsupported(
                what=f"load parameter {name[:80]!r}",
                cause="models come from the registry of this server, never from a request",
                hint="publish it first: modelyard import FILE",
            )
        raise InvalidRequest(what=f"unknown load parameter {name[:80]!r}")


def check_unload(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of a request to unload, but ``unload_dependents``: no model depends on another."""
    for name, value in parameters.items():
        if name != "unload_dependents" or not isinstance(value, bool):
            raise InvalidRequest(
                what=f"unload parameter {name[:80]!r}", hint="the only one is unload_dependents: true or false"
            )
