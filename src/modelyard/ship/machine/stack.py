"""The containers of one Compose project as the engine has them, and what Compose is told to do with them."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.errors import BuildFailed, ModelyardError, NotFound
from modelyard.ship.engine.engines import Engine
from modelyard.ship.engine.refusals import clean
from modelyard.ship.machine.composition import CONFIG_LABEL, SERVER

_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_ONE_OFF = "com.docker.compose.oneoff"
_ENDED = {"exited", "dead", "removing", "created"}
_PAUSE_S, _TEST_S = 0.2, 20.0
_LOOKS = 5  # at containers that go while they are looked at
_MORE_S = 120.0  # for Compose itself, and for what it stops


@dataclass(frozen=True, kw_only=True)
class Member:
    """One container of a project.

    Parameters
    ----------
    id, service, image : str
        Which, of which service, and the id of its image.
    status, health : str
        In the engine's words; no health where there is no check.
    exit_code, restarts : int
        Of the last time that it ended, and how often it was started again.
    error : str
        Why it could not be started.
    oom_killed : bool
        Whether it was ended because it took more memory than it may.
    config : str
        Digest of what it was made of.
    trial : bool
        Whether it is there to be looked at only.
    test : tuple of str
        Its health check; without one it is enough that it runs.
    """

    id: str
    service: str
    image: str
    status: str
    health: str
    exit_code: int
    restarts: int
    error: str
    oom_killed: bool
    config: str
    trial: bool
    test: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it does, and has not ended just now to be started again."""
        return self.status == "running"

    @property
    def trouble(self) -> str:
        """Why it does not run; empty when it does."""
        if self.runs and self.health != "unhealthy":
            return ""
        if self.oom_killed:
            return f"{self.service} took more memory than it may, and was ended"
        if self.runs:
            return f"{self.service} runs and is not ready"
        return self.error or f"{self.service} is {self.status} (exit code {self.exit_code})"


class Stack:
    """A project.

    Parameters
    ----------
    engine : Engine
        Where it runs.
    name : str
        Of the project.
    folder : Path
        Where its files are.
    """

    def __init__(self, engine: Engine, name: str, folder: Path) -> None:
        self._engine = engine
        self._name = name
        self._folder = folder

    def members(self) -> list[Member]:
        """All its containers, those that have ended too, by service."""
        words = ("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={_PROJECT}={self._name}")
        for left in range(_LOOKS - 1, -1, -1):
            ids = self._engine.call(*words, doing="look for containers").split()
            if not ids:
                return []
            try:
                said = self._engine.call("container", "inspect", *ids, doing="look at containers")
            except (NotFound, BuildFailed):  # one has gone in this moment
                if not left:
                    raise
            else:
                return sorted(map(_member, json.loads(said)), key=lambda member: member.service)
        raise AssertionError("the last look returns or raises")

    def services(self) -> dict[str, Member]:
        """Its containers by service, without trials."""
        return {member.service: member for member in self.members() if not member.trial}

    def networks(self) -> list[str]:
        """Ids of its networks."""
        words = ("network", "ls", "--quiet", "--filter", f"label={_PROJECT}={self._name}")
        return self._engine.call(*words, doing="look for networks").split()

    def up(self, file: str, services: Sequence[str], *, limit_s: float) -> None:
        """Have these services run as the file says, and none that it does not speak of; what is so already stays."""
        words = ("up", "--detach", "--no-build", "--quiet-pull", "--no-deps", "--remove-orphans")
        self._compose(file, *words, *services, limit_s=limit_s)

    def trial(self, file: str, *, limit_s: float) -> Member:
        """Start another server as the file says, which nobody is led to."""
        words = ("run", "--detach", "--no-deps", "--no-TTY", SERVER)
        said = self._compose(file, *words, limit_s=limit_s).split()
        found = [member for member in self.members() if member.trial]
        return next((member for member in found if said and member.id.startswith(said[-1])), found[-1])

    def ready(self, member: Member, deadline: float) -> str:
        """Wait until the container passes its own test, sooner than the engine asks it; why it does not, or nothing."""
        before = member.restarts
        while True:
            if member.test and self.passes(member):
                return ""
            now = next((each for each in self.members() if each.id == member.id), None)
            if now is None:
                return f"{member.service} was removed by somebody else"
            if now.status in _ENDED or now.restarts > before:
                return now.trouble or f"{now.service} ended with exit code {now.exit_code}, again and again"
            if now.runs and not now.test:
                return ""
            if time.monotonic() > deadline:
                return f"{now.service} was not ready in time"
            time.sleep(_PAUSE_S)

    def log(self, member: Member, lines: int) -> str:
        """The last lines that it wrote."""
        words = ("logs", "--tail", str(lines), member.id)
        return clean(self._engine.call(*words, doing="read a container's log", merged=True)).rstrip("\n")

    def stop(self, members: Collection[Member], wait_s: int) -> None:
        """Ask them to end, and end them after that."""
        if ids := [member.id for member in members]:
            self._engine.call("stop", "-t", str(wait_s), *ids, doing="stop containers", limit_s=wait_s + _MORE_S)

    def remove(self, members: Collection[Member]) -> None:
        """Remove them, with what they kept nowhere else."""
        for member in members:
            with suppress(NotFound):
                self._engine.call("rm", "--force", "--volumes", member.id, doing=f"remove {member.service}")

    def remove_networks(self) -> int:
        """Remove its networks; how many there were."""
        ids = self.networks()
        for each in ids:
            self._engine.call("network", "rm", each, doing="remove a network")
        return len(ids)

    def passes(self, member: Member) -> bool:
        """Whether it passes its own test now; it has one."""
        try:
            self._engine.call("exec", member.id, *member.test[1:], doing="ask a container", limit_s=_TEST_S)
        except ModelyardError:
            return False
        return True

    def _compose(self, file: str, *words: str, limit_s: float) -> str:
        where = ("--project-name", self._name, "--project-directory", str(self._folder), "--file")
        call = ("compose", "--ansi", "never", *where, str(self._folder / file), *words)
        return self._engine.call(*call, doing=f"bring up {self._name}", limit_s=limit_s + _MORE_S)


def _member(said: dict[str, Any]) -> Member:
    state, labels = said["State"], said["Config"].get("Labels") or {}
    return Member(
        id=said["Id"],
        service=labels.get(_SERVICE, ""),
        image=said["Image"],
        status=state.get("Status", ""),
        health=(state.get("Health") or {}).get("Status", ""),
        exit_code=state.get("ExitCode", 0),
        restarts=said.get("RestartCount", 0),
        error=clean(state.get("Error") or ""),
        oom_killed=bool(state.get("OOMKilled")),
        config=labels.get(CONFIG_LABEL, ""),
        trial=labels.get(_ONE_OFF) == "True",
        test=tuple((said["Config"].get("Healthcheck") or {}).get("Test") or ()),
    )
