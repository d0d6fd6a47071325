"""How a release takes its place under Compose: tried beside the one that runs, then put there, then asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from modelyard.core.errors import ModelyardError, NoEngine, RolloutFailed, StoreFull
from modelyard.core.release import Release
from modelyard.ship import yaml
from modelyard.ship.machine.composition import ADMIN, CONFIG_LABEL, FILE, GRAFANA, KEPT, PASSWORD, PROMETHEUS, SERVER
from modelyard.ship.machine.options import Options
from modelyard.ship.machine.project import Kept, Project
from modelyard.ship.machine.stack import Member, Stack

_NEXT = "compose.next.yaml"
_LOG_LINES, _FAILED_STOP_S = 12, 5
_POOLS = ("address pool", "pool overlaps")


@dataclass(frozen=True, kw_only=True)
class Handover:
    """One release on its way.

    Parameters
    ----------
    stack, project : Stack, Project
        The deployment's containers and folder; the folder is held.
    release, options : Release, Options
        What is to run, and how on this machine.
    text, secret : mapping
        Its files, see `composition.files` and `project.secret_files`.
    told : callable
        Told what is being done.
    """

    stack: Stack
    project: Project
    release: Release
    options: Options
    text: Mapping[str, str]
    secret: Mapping[str, bytes]
    told: Callable[[str], None]

    def make(self, place: int) -> None:
        """Have it so, or raise `RolloutFailed`; what is so already stays.

        Parameters
        ----------
        place : int
            Of the deployment among the target's, to be remembered.
        """
        self.stack.remove([member for member in self.stack.members() if member.trial])
        self.project.keep(Kept(place=place, applying=self.release.number))
        if changed := self.project.write(self.secret):
            self.told(f"write {len(changed)} secret files")
        live = self.stack.services().get(SERVER)
        if live is not None and live.runs and not is_as(live, self._wanted[SERVER]):
            try:
                self._try()
            except BaseException:
                self.project.keep(Kept(place=place))  # what runs was not touched
                raise
        self._write()
        self._put()
        self.project.keep(Kept(place=place))

    @property
    def _wanted(self) -> dict[str, Any]:
        services: dict[str, Any] = yaml.load(self.text[FILE])["services"]
        return services

    def _try(self) -> None:
        """See it come up where nobody is led to, so that what runs is not stopped for something that does not."""
        self.told(f"try release {self.release.number} beside what runs")
        self.project.write({_NEXT: self.text[FILE].encode()})
        member = None
        try:
            member = self._begin_trial()
            if why := self.stack.ready(member, self._deadline()):
                self._fail(f"{why}; what runs goes on answering", member)
        finally:
            if member is not None:
                self.stack.remove([member])
            (self.project.folder / _NEXT).unlink(missing_ok=True)

    def _begin_trial(self) -> Member:
        try:
            return self.stack.trial(_NEXT, limit_s=self.options.timeout_s)
        except ModelyardError as exc:
            self._translate(exc)

    def _write(self) -> None:
        """The files that nobody obeys before Compose is called."""
        self.project.write({name: text.encode() for name, text in self.text.items()})
        self.project.write({".env": f"COMPOSE_PROJECT_NAME={self.project.name}\n".encode()})
        self.project.tidy({**self.text, **self.secret})
        if self.options.monitoring:
            self.project.room(KEPT[PROMETHEUS])
        if self.options.with_grafana:
            self.project.room(KEPT[GRAFANA])
            if self.project.password():
                self.told(f"Grafana's admin has a password: {self.project.folder / ADMIN / PASSWORD}")

    def _put(self) -> None:
        """The server first; what watches it when it answers."""
        self._up([SERVER])
        if watching := [service for service in self._wanted if service != SERVER]:
            self._up(watching)

    def _up(self, services: Sequence[str]) -> None:
        self.told(f"start {' and '.join(services)}")
        try:
            self.stack.up(FILE, services, limit_s=self.options.timeout_s)
        except ModelyardError as exc:
            self._translate(exc)
        for service in services:
            self._expect(service)

    def _expect(self, service: str) -> None:
        member = self.stack.services().get(service)
        if member is None:
            self._fail(f"{service} was removed by somebody else", None)
        if why := self.stack.ready(member, self._deadline()):
            self._fail(why, member)

    def _deadline(self) -> float:
        return time.monotonic() + self.options.timeout_s

    def _fail(self, what: str, member: Member | None) -> NoReturn:
        """Say what it wrote, and do not have it started again and again."""
        said = ""
        if member is not None:
            said = self.stack.log(member, _LOG_LINES)
            if not member.trial:
                self.stack.stop([member], _FAILED_STOP_S)
        raise self._failed(what, said or "it wrote nothing")

    def _translate(self, exc: ModelyardError) -> NoReturn:
        if isinstance(exc, (NoEngine, StoreFull)):
            raise exc
        cause = exc.cause or exc.detail
        hint = ""
        if any(words in cause.lower() for words in _POOLS):
            hint = "name a free network: modelyard target add NAME compose subnet=10.89.7.0/24"
        raise self._failed("Compose could not bring it up", cause, hint) from exc

    def _failed(self, what: str, cause: str, hint: str = "") -> RolloutFailed:
        told = {"cause": cause, "hint": hint} if hint else {"cause": cause}
        return RolloutFailed(deployment=self.release.deployment, target=self.release.target, what=what, **told)


def is_as(member: Member, service: Mapping[str, Any]) -> bool:
    """Whether the container was made of this service of a compose file."""
    return bool(member.config == service["labels"][CONFIG_LABEL])
