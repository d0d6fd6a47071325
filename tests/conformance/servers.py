"""The servers that checks are run against, each started once on demand, from its own copy of one home."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.control.actions.train import train
from modelyard.lab.recipe import Recipe
from tests.acceptance.serving import Served, home_with
from tests.lessons import HOUSES
from tests.models import brain_bundle, count_bundle, echo_bundle, image_bundle, linear_bundle, mixed_bundle


@dataclass(frozen=True)
class Start:
    """One way of starting a server: arguments of ``modelyard serve``, and its environment."""

    args: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)


SERVERS: dict[str, Start] = {
    "usual": Start(("--workers", "2")),
    "explicit": Start(("linear", "--repository", "explicit", "--workers", "2")),
    "openapi": Start(("mixed", "--contracts", "all")),
    "openapi of all": Start(("--contracts", "all")),
    "mixed alone": Start(("mixed",)),
    "mlflow target": Start(()),
    "multi-model": Start(("--workers", "2"), {"SAGEMAKER_MULTI_MODEL": "true"}),
}


class Servers:
    """The running servers of one session, below one folder. A context manager: whatever was started is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Served] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as all_of_them:  # an error of one leaves no other running
            for served in self._running.values():
                all_of_them.callback(served.stop)

    def get(self, name: str) -> Served:
        """The server of this name, running and ready."""
        if name not in self._running:
            start = SERVERS[name]
            home = self._folder / name
            shutil.copytree(self._home(), home)
            served = Served(home, *start.args, **start.environ)
            self._running[name] = served
            served.wait_for("ready")
        return self._running[name]

    def _home(self) -> Path:
        """A home with the usual models, made when it is first asked for."""
        path = self._folder / "home"
        if not path.exists():
            bundles = (linear_bundle(), mixed_bundle(), image_bundle(), count_bundle(), echo_bundle(), brain_bundle())
            home = home_with(path, *bundles)
            train(home, HOUSES, Recipe(target="heating", model="logistic"), name="heating")
        return path
