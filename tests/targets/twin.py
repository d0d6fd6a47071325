"""The twin: a target whose objects are lines of one file. It does what real targets do, and can be told to fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec

from modelyard.core.errors import RolloutFailed
from modelyard.core.release import Release
from modelyard.ship import layout
from modelyard.ship.targets import Access, Check, Delivery, Doing, State, Status, Step, Told, Wanted
from tests.targets import Ground

#: A release of an image that begins so does not come up.
BROKEN = "broken"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a twin."""

    repository: str = ""
    canaries: bool = True
    fetches: str = ""
    monitoring: bool = False


class Twin:
    """A place in one JSON file: objects by name, each with its owner and text."""

    def __init__(self, options: Options, folder: Path, tick: Callable[[str], None] = lambda what: None) -> None:
        self._path = folder / "twin.json"
        self.delivery = Delivery.REGISTRY if options.repository else Delivery.ENGINE
        self.repository = options.repository
        self.canaries = options.canaries
        self.fetches = options.fetches
        self.monitors = options.monitoring
        self.tick = tick

    def check(self) -> list[Check]:
        return [Check(ok=True, what="the file can be written")]

    def files(self, wanted: Wanted) -> dict[str, str]:
        return {f"{name}.json": text for name, text in self._objects(wanted, {}).items() if "secret" not in name}

    def plan(self, wanted: Wanted, access: Access) -> list[Step]:
        mine, steps = self._mine(wanted.release.deployment), []
        objects = self._objects(wanted, access)
        for name, text in objects.items():
            before = mine.get(name)
            doing = Doing.CREATE if before is None else Doing.KEEP if before == text else Doing.CHANGE
            changes = ("its text: other",) if doing is Doing.CHANGE else ()
            steps.append(Step(doing, name, changes))
        return steps + [Step(Doing.REMOVE, name) for name in mine if name not in objects]

    def apply(self, wanted: Wanted, access: Access, told: Told) -> None:
        owner = wanted.release.deployment
        objects = self._objects(wanted, access)
        for name, text in objects.items():
            if self._mine(owner).get(name) != text:
                self.put(owner, name, text)
                told(f"{name} is put")
        for name in [name for name in self._mine(owner) if name not in objects]:
            self.put(owner, name, None)
        for release in filter(None, (wanted.release, wanted.canary)):
            if release.image.startswith(BROKEN):
                raise RolloutFailed(
                    deployment=owner,
                    target=release.target,
                    what="it does not become ready",
                    cause=f"{release.image} ended with code 1: no module named nothing",
                )

    def status(self, deployment: str) -> Status:
        mine = self._mine(deployment)
        live, canary = (json.loads(mine.get(name, "null")) for name in (_live(deployment), _canary(deployment)))
        if not mine:
            return Status(state=State.ABSENT)
        if live is None:
            return Status(state=State.FAILED, reasons=("half of it is there",))
        broken = [each["image"] for each in (live, canary) if each and each["image"].startswith(BROKEN)]
        return Status(
            state=State.FAILED if broken else State.RUNNING,
            ready=0 if broken else live["replicas"],
            wanted=live["replicas"],
            release=live["release"],
            image=live["image"],
            canary=canary["share"] if canary else 0,
            canary_release=canary["release"] if canary else 0,
            reasons=tuple(f"{image} ended with code 1: no module named nothing" for image in broken),
        )

    def logs(self, deployment: str, lines: int = 20) -> str:
        return "\n".join(["no module named nothing"][:lines]) if self._mine(deployment) else ""

    def destroy(self, deployment: str, told: Told) -> list[Step]:
        steps = [Step(Doing.REMOVE, name) for name in self._mine(deployment)]
        for step in steps:
            self.put(deployment, step.what, None)
            told(f"{step.what} is removed")
        return steps

    def everything(self) -> dict[str, tuple[str, str]]:
        """Owner and text by name."""
        return {name: (owner, text) for name, (owner, text) in self._read().items()}

    def put(self, owner: str, name: str, text: str | None) -> None:
        """One object, in one step."""
        self.tick(f"before {name}")
        found = self._read() | {name: (owner, text)}
        aside = self._path.with_suffix(".new")
        aside.write_text(json.dumps({name: each for name, each in found.items() if each[1] is not None}))
        aside.replace(self._path)
        self.tick(f"after {name}")

    def _read(self) -> dict[str, tuple[str, str]]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def _mine(self, deployment: str) -> dict[str, str]:
        return {name: text for name, (owner, text) in self._read().items() if owner == deployment}

    def _objects(self, wanted: Wanted, access: Access) -> dict[str, str]:
        name = wanted.release.deployment
        secret = {each: raw.hex() for each, raw in access.items() if each != "metrics.key"}
        objects = {f"secret/{name}": json.dumps(secret, sort_keys=True), _live(name): _text(wanted.release)}
        if wanted.canary is not None:
            objects[_canary(name)] = _text(wanted.canary)
        if self.monitors:
            objects[f"monitor/{name}"] = access["metrics.key"].decode() if access else ""
        return objects | {f"service/{name}": "8080"}


def open_target(options: Options, folder: Path) -> Twin:
    """As a door's backend does."""
    return Twin(options, folder)


def open_ground(folder: Path) -> Ground:
    """A twin of its own."""
    twin = Twin(Options(), folder)

    def meddle(deployment: str) -> str:
        twin.put("somebody", f"deployment/{deployment}-else", "theirs")
        return f"deployment/{deployment}-else"

    return Ground(
        target=twin,
        images=("sha256:even", "sha256:odd"),
        broken=f"{BROKEN}:1",
        there=lambda: {name: f"{owner}: {text}" for name, (owner, text) in twin.everything().items()},
        meddle=meddle,
        spoil=lambda deployment: twin.put(deployment, _live(deployment), twin.everything()[_live(deployment)][1] + " "),
        access={layout.KEYS: b"{}", f"{layout.PEPPERS}/pepper-1": b"00\n"},
    )


def _live(deployment: str) -> str:
    return f"deployment/{deployment}"


def _canary(deployment: str) -> str:
    return f"deployment/{deployment}-canary"


def _text(release: Release) -> str:
    return json.dumps(
        {
            "image": release.image,
            "release": release.number,
            "replicas": release.capacity.replicas,
            "share": release.canary,
            "plan": release.plan.to_bytes().decode(),
        },
        sort_keys=True,
    )
