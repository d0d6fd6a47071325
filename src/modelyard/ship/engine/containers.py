"""Containers: how one is started, always locked in, and what can be asked of one that runs. `engines` makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from modelyard.core.errors import InvalidRequest, Unavailable
from modelyard.ship import layout
from modelyard.ship.engine.refusals import clean

_LOOPBACK = "127.0.0.1"
_ENDED = {"exited", "dead", "removing", "stopped"}


class Call(Protocol):
    """One call of the engine's client; what it prints."""

    def __call__(self, *words: str, doing: str, limit_s: float = 60.0, merged: bool = False) -> str:
        """Run it, or raise what `refusals` makes of its failure."""
        ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a container runs, beside what all of ours have in common: nothing can be written but /tmp, no rights.

    Parameters
    ----------
    memory_mib, pids, tmp_mib : int
        The most memory, processes and threads, and room in /tmp.
    cpus : float
        The most of the processor; 0 for all of it.
    ports : mapping of int to int
        Port inside to port of this machine's loopback; 0 for a free one.
    mounts : mapping of PurePosixPath to Path
        Folder or file inside to that of this machine; read-only.
    environ, labels : mapping of str to str
        More of both.
    name : str
        Empty for one of the engine's choice.
    """

    memory_mib: int = 512
    pids: int = 256
    tmp_mib: int = 64
    cpus: float = 0
    ports: Mapping[int, int] = field(default_factory=lambda: {layout.HTTP_PORT: 0})
    mounts: Mapping[PurePosixPath, Path] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def flags(self) -> list[str]:
        """The same for ``docker run`` and ``podman run``."""
        words = ["--read-only", "--tmpfs", f"/tmp:rw,noexec,nosuid,nodev,size={self.tmp_mib}m"]  # noqa: S108 - inside
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        words += ["--pids-limit", str(self.pids), "--memory", f"{self.memory_mib}m"]
        words += ["--cpus", f"{self.cpus:g}"] if self.cpus else []
        words += ["--name", self.name] if self.name else []
        for inside, outside in self.ports.items():
            words += ["-p", f"{_LOOPBACK}:{outside or ''}:{inside}"]
        for place, path in self.mounts.items():
            if "," in f"{place}{path}":
                raise InvalidRequest(what=f"{path.name[:80]!r} cannot be mounted: its path has a comma in it")
            words += ["--mount", f"type=bind,source={path.absolute()},target={place},readonly"]
        for flag, pairs in (("--env", self.environ), ("--label", self.labels)):
            for key, value in pairs.items():
                words += [flag, f"{key}={value}"]
        return words


@dataclass(frozen=True, kw_only=True)
class State:
    """How a container is now.

    Parameters
    ----------
    status : str
        The engine's word: ``running``, ``exited``, ...
    exit_code : int
        Of one that has ended.
    oom_killed : bool
        Whether it was ended because it took more memory than it may.
    pid : int
        Of its first process, on the engine's machine; 0 when there is none.
    health : str
        ``healthy``, ``starting``, ``unhealthy``; empty where the image has no check.
    error : str
        Why it could not be started.
    """

    status: str
    exit_code: int = 0
    oom_killed: bool = False
    pid: int = 0
    health: str = ""
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in _ENDED


@dataclass(frozen=True)
class Container:
    """One container that was started here. Whoever started it removes it.

    Parameters
    ----------
    id : str
        The engine's name for it.
    call : callable
        Of its engine.
    """

    id: str
    call: Call

    def state(self) -> State:
        """How it is now."""
        raw = self.call("container", "inspect", "--format", "{{json .State}}", self.id, doing="look at a container")
        said = json.loads(raw)
        health = said.get("Health") or said.get("Healthcheck") or {}
        return State(
            status=said.get("Status", ""),
            exit_code=said.get("ExitCode", 0),
            oom_killed=said.get("OOMKilled", False),
            pid=said.get("Pid", 0),
            health=health.get("Status", "") or "",
            error=clean(said.get("Error", "") or ""),
        )

    def health(self) -> str:
        """What the engine's own health check says; empty where the image has none."""
        return self.state().health

    def port(self, inside: int = layout.HTTP_PORT) -> int:
        """Where this port of it is on this machine's loopback."""
        said = self.call("port", self.id, f"{inside}/tcp", doing="look at a container's ports")
        for line in said.splitlines():
            host, _, port = line.strip().rpartition(":")
            if host == _LOOPBACK and port.isdigit():
                return int(port)
        raise Unavailable(what=f"port {inside} of the container is not on this machine")

    def logs(self, lines: int = 40) -> str:
        """The last lines that it wrote, cleaned."""
        return clean(self.call("logs", "--tail", str(lines), self.id, doing="read a container's log", merged=True))

    def stop(self, wait_s: int = layout.STOP_S) -> int:
        """SIGTERM, and SIGKILL when it still runs after `wait_s`; its exit code."""
        self.call("stop", "-t", str(wait_s), self.id, doing="stop a container", limit_s=wait_s + 60.0)
        return self.state().exit_code

    def remove(self) -> None:
        """End it and remove it, with what it wrote."""
        self.call("rm", "-f", "-v", self.id, doing="remove a container")
