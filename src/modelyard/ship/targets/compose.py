"""Docker Compose on one machine: a server in a container, with Prometheus and Grafana beside it where wanted."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from modelyard.core.errors import InvalidRequest, NotFound, TargetUnavailable
from modelyard.core.release import Release
from modelyard.ship import layout, yaml
from modelyard.ship.engine.engines import Engine
from modelyard.ship.machine import composition, differences, surroundings
from modelyard.ship.machine.composition import ADMIN, FILE, PASSWORD, SERVER
from modelyard.ship.machine.handover import Handover, is_as
from modelyard.ship.machine.options import Options as _Options
from modelyard.ship.machine.project import Project, places, secret_files
from modelyard.ship.machine.stack import Member, Stack
from modelyard.ship.targets import Access, Check, Delivery, Doing, State, Status, Step, Told, Wanted

Options = _Options

_PULL_S = 900.0
_LOG_LINES = 12
_HALF = "release {} was being put there, and whoever did so did not get to its end"


class Compose:
    """The target; its folder has one for each deployment.

    Parameters
    ----------
    options : Options
        Its settings.
    folder : Path
        Its own on this machine.
    """

    delivery = Delivery.ENGINE
    repository = ""
    canaries = False
    fetches = ""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._user = options.user or _user()
        self.monitors = options.monitoring and options.auth == "keys"

    def check(self) -> list[Check]:
        """What one more deployment would need."""
        return surroundings.checks(self._options.at(_free(places(self._folder).values())), self._user)

    def files(self, wanted: Wanted) -> dict[str, str]:
        """Every file that is not secret, by its path in the deployment's folder."""
        if wanted.canary is not None:
            raise InvalidRequest(
                what="a compose target has no canaries",
                cause="one port of one machine leads to one container",
                hint="deploy it beside the other, under a name and a port of its own: --name NAME",
            )
        release = wanted.release
        return composition.files(release, self._options.at(self._place(release.deployment)), self._user)

    def plan(self, wanted: Wanted, access: Access) -> list[Step]:
        """Files and containers that are not as they are to be; and what was cut off."""
        name = wanted.release.deployment
        text, project = self.files(wanted), self._project(name)
        options = self._options.at(self._place(name))
        secret = secret_files(options, access)
        stack = self._stack(surroundings.compose_engine("a compose target"), name)
        steps = [differences.text_step(project, each, new) for each, new in text.items()]
        steps += [differences.secret_step(project, each, new) for each, new in secret.items()]
        if options.with_grafana:
            password = f"{ADMIN}/{PASSWORD}"
            steps.append(Step(Doing.KEEP if project.read(password) else Doing.CREATE, password))
        steps += [Step(Doing.REMOVE, each) for each in project.strangers({**text, **secret})]
        steps.append(Step(Doing.KEEP if stack.networks() else Doing.CREATE, "network/default"))
        steps += differences.container_steps(yaml.load(text[FILE])["services"], stack.members())
        if (kept := project.kept) and kept.applying:
            steps.append(Step(Doing.CHANGE, "release", (_HALF.format(kept.applying),)))
        return steps

    def apply(self, wanted: Wanted, access: Access, told: Told) -> None:
        """Try it beside the release that runs, put it in its place, and wait until it answers."""
        release = wanted.release
        self.files(wanted)  # what cannot be is refused before anything is there
        engine = surroundings.compose_engine("a compose target")
        project, stack = self._project(release.deployment), self._stack(engine, release.deployment)
        place = self._place(release.deployment)
        options = self._options.at(place)
        secret = secret_files(options, access)
        self._require(engine, release, told)
        if not stack.members():
            surroundings.require_ports(options)
        with project.held():
            Handover(
                stack=stack,
                project=project,
                release=release,
                options=options,
                text=self.files(wanted),
                secret=secret,
                told=told,
            ).make(place)

    def status(self, deployment: str) -> Status:
        """As the engine sees its containers."""
        project = self._project(deployment)
        stack = self._stack(surroundings.compose_engine("a compose target"), deployment)
        members = [member for member in stack.members() if not member.trial]
        kept = project.kept
        if kept is None and not members:
            return Status(state=State.ABSENT)
        url = self._options.at(self._place(deployment)).url
        server = next((member for member in members if member.service == SERVER), None)
        if server is None:
            return Status(state=State.FAILED, wanted=1, url=url, reasons=("its container is gone: deploy again",))
        reasons = [member.trouble for member in members if member.trouble]
        if kept is not None and kept.applying:
            reasons.append(_HALF.format(kept.applying))
        if server.trouble:
            reasons += [line for line in stack.log(server, _LOG_LINES).splitlines() if line.strip()]
        state = _state(stack, server, members)
        return Status(
            state=state,
            ready=int(state in {State.RUNNING, State.DEGRADED}),
            wanted=1,
            release=_release_of(project, server),
            image=server.image,
            url=url,
            reasons=tuple(reasons),
        )

    def logs(self, deployment: str, lines: int = 20) -> str:
        """The last lines of the server."""
        stack = self._stack(surroundings.compose_engine("a compose target"), deployment)
        server = stack.services().get(SERVER)
        return stack.log(server, lines) if server else ""

    def destroy(self, deployment: str, told: Told) -> list[Step]:
        """Remove containers, network and folder. Images stay: their layers are those of other releases."""
        project = self._project(deployment)
        stack = self._stack(surroundings.compose_engine("a compose target"), deployment)
        members = stack.members()
        stack.stop(members, layout.STOP_S)
        stack.remove(members)
        steps = [Step(Doing.REMOVE, f"container/{member.service}") for member in members]
        steps += [Step(Doing.REMOVE, "network/default")] * stack.remove_networks()
        if project.remove():
            steps.append(Step(Doing.REMOVE, f"folder/{deployment}"))
        for step in steps:
            told(f"{step.what} is removed")
        return steps

    def _place(self, deployment: str) -> int:
        """Which of the target's ports it has, or would get."""
        there = places(self._folder)
        return there.get(deployment, _free(there.values()))

    def _project(self, deployment: str) -> Project:
        return Project(self._folder / deployment, self._user)

    def _stack(self, engine: Engine, deployment: str) -> Stack:
        project = self._project(deployment)
        return Stack(engine, project.name, project.folder)

    def _require(self, engine: Engine, release: Release, told: Told) -> None:
        """Compose and the images are here, and secrets can be given away, before anything is changed."""
        if not engine.has(release.image):
            raise NotFound(what="image", name=release.image, hint="deploy the models again: modelyard deploy MODEL")
        for check in (surroundings.compose(engine), surroundings.ownership(self._user)):
            if not check.ok:
                raise TargetUnavailable(target=release.target, what=check.what, hint=check.fix)
        images = [self._options.prometheus_image] if self._options.monitoring else []
        images += [self._options.grafana_image] if self._options.with_grafana else []
        for image in images:
            if not engine.has(image):
                told(f"pull {image}")
                engine.call("pull", "--quiet", image, doing=f"pull {image}", limit_s=_PULL_S)


def open_target(options: _Options, folder: Path) -> Compose:
    """The target with these settings."""
    return Compose(options, folder)


def _user() -> str:
    """Who containers run as: nobody else of this machine where that can be had, else whoever deploys."""
    return f"{layout.USER}:{layout.USER}" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


def _release_of(project: Project, server: Member) -> int:
    """Which release the container is of, by the file that it was made of; 0 where another file lies there."""
    raw = project.read(FILE)
    try:
        said = yaml.load(raw.decode(errors="replace")) if raw else {}
        found = said[composition.ABOUT]["release"] if is_as(server, said["services"][SERVER]) else 0
    except (InvalidRequest, KeyError, TypeError):  # somebody changed it by hand
        return 0
    return found if isinstance(found, int) else 0


def _free(taken: Collection[int]) -> int:
    """The first place that no deployment has."""
    return next(place for place in range(len(taken) + 1) if place not in taken)


def _state(stack: Stack, server: Member, members: Collection[Member]) -> State:
    """Of the whole: callers depend on the server alone."""
    if server.trouble:
        return State.FAILED
    if (
        server.test and server.health == "starting" and not stack.passes(server)
    ):  # the engine asks only every few seconds
        return State.STARTING
    return State.DEGRADED if any(member.trouble for member in members) else State.RUNNING
