"""Models loaded and unloaded while the server runs: a worker asks, control writes a new plan, every worker obeys it.

The data plane opens no registry. A worker that is asked sends an event with a ticket to the supervisor's process; the
answer to the ticket is a small file in the run folder: the serial number of the new plan, or an error. Every worker
says in a file of its own which serial it obeys, so that whoever asked can wait until all do.
"""

from __future__ import annotations

import asyncio
import json
import secrets
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

#: What a server can be started with: nobody loads anything, or whoever may call it does.
MODES = ("none", "explicit")
#: Longest time from the question until every worker obeys.
WAIT_S = 60.0
_POLL_S = 0.01
_WAITING = 8  # questions of one worker that wait at once; further ones wait for their turn
_OBEYS = "obeys-"
_LONGEST = 3000  # of a name and a folder together: events are written whole up to 4096 bytes

Tell = Callable[[Mapping[str, Any]], None]


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

    def load(self, name: str, folder: str = "") -> None:
        """Serve this model in every worker, before this returns; for threads that may wait.

        Parameters
        ----------
        name : str
            A model of the registry: its newest state is served, in the versions that the bare name means (or that the
            operator asked for). One that is served already is looked at again.
        folder : str, optional
            A folder with an exported bundle, to be served under the name instead.

        Raises
        ------
        NotExplicit
            Not in this server.
        NotInRepository, LoadFailed, CorruptBundle, Conflict, StoreFull
            It cannot be loaded; what was served goes on being served.
        Timeout, NotReady
            Not every worker obeyed in time, or the server is stopping.
        """
        self._ask("load", name, folder)

    def unload(self, name: str) -> None:
        """Serve this model no longer, in any worker, once this returns; nothing happens when it was not served."""
        self._ask("unload", name, "")

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

    def _ask(self, action: str, name: str, folder: str) -> None:
        if self._tell is None or self._run is None:
            raise NotExplicit()
        if len(json.dumps([name, folder])) > _LONGEST:
            raise NotInRepository(what="model", name=name[:80], hint="its name or address is too long")
        ticket = secrets.token_hex(8)
        self._tell({"repository": action, "model": name, "folder": folder, "ticket": ticket})
        deadline = time.monotonic() + self._wait_s
        what = f"to {action} {name[:80]!r}"
        told = self._wait(what, deadline, lambda run: _taken(run / _ticket(ticket)))
        if "error" in told:
            raise from_wire(told["error"])
        troubles = self._wait(what, deadline, lambda run: _obeyed(run, int(told["serial"])))
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


def answer(run: Path, ticket: str, told: Mapping[str, Any]) -> None:
    """Answer a worker's ticket: ``{"serial": n}``, or ``{"error": ...}`` as `to_wire` makes it."""
    _put(run / _ticket(ticket), told)


def obey(run: Path, worker: int, serial: int, troubles: Mapping[str, str]) -> None:
    """Say that this worker obeys the plan with this serial, and which models it could not load."""
    _put(run / f"{_OBEYS}{worker}", {"serial": serial, "troubles": dict(troubles)})


def forget(run: Path, worker: int) -> None:
    """Nobody needs to wait for this worker any more: it is gone."""
    (run / f"{_OBEYS}{worker}").unlink(missing_ok=True)


def _ticket(ticket: str) -> str:
    return f"ticket-{ticket}.json"


def _taken(path: Path) -> Any:
    """What the file says, once; None while it is not there."""
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    path.unlink(missing_ok=True)
    return told


def _obeyed(run: Path, serial: int) -> dict[str, str] | None:
    """What the workers could not load, when all obey a plan at least that new; a starting one reads the newest."""
    troubles: dict[str, str] = {}
    for path in run.glob(f"{_OBEYS}*[0-9]"):
        try:
            said = json.loads(path.read_bytes())
        except FileNotFoundError:  # it died just now
            continue
        if said["serial"] < serial:
            return None
        troubles |= said["troubles"]
    return troubles


def _put(path: Path, document: Mapping[str, Any]) -> None:
    """Written aside and renamed, so that nobody reads half of it. Gone with the server: nothing is synced."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(json.dumps(document, default=str).encode())
    aside.replace(path)
