"""The data plane: which versions are served, and which of them answers. It obeys one plan and swaps whole rosters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.core.errors import ModelyardError, NotFound
from modelyard.core.plan import Plan, PlannedModel, PlannedVersion
from modelyard.core.trust import Policy, Trust
from modelyard.model.bundle import Bundle, open_bundle, read_signature
from modelyard.serve.replica import Replica
from modelyard.serve.repository import Repository
from modelyard.watch.counters import Counter

log = logging.getLogger("modelyard")


@dataclass(frozen=True)
class ServedModel:
    """One model's loaded versions, and which of them answers when none is named."""

    name: str
    default: int
    versions: Mapping[int, Replica]
    aliases: Mapping[str, int]

    def version(self, number: int | None = None) -> Replica:
        """The replica of this version, or of the default one."""
        wanted = self.default if number is None else number
        try:
            return self.versions[wanted]
        except KeyError:
            raise NotFound(
                what=f"served version of {self.name!r}:",
                name=str(wanted),
                cause=f"served: {', '.join(map(str, sorted(self.versions)))}",
                hint=f"serve it too: modelyard serve {self.name}@{wanted}",
            ) from None


@dataclass(frozen=True)
class Roster:
    """Everything served at one moment. Immutable: a new plan makes a new one, requests keep the one they met."""

    models: Mapping[str, ServedModel] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    plan: Plan = field(default_factory=lambda: Plan(models=()))

    def model(self, name: str) -> ServedModel:
        """The served model of this name, else `NotFound` naming the ones there are, unless not everybody may know."""
        try:
            return self.models[name]
        except KeyError:
            known = () if self.plan.access.keys else list(self.models)
            raise NotFound(what="model", name=name[:80], known=known, hint="see what is served: GET /models") from None

    def replicas(self) -> list[Replica]:
        """All loaded versions, by model and number."""
        return [self.models[name].versions[number] for name in self.models for number in self.models[name].versions]


class Plane:
    """What this worker serves right now, for every edge: HTTP and gRPC, both on the event loop.

    Parameters
    ----------
    roster : Roster
        Replaced whole; whoever read it keeps answering from what it met.
    ready : bool
        Whether new work is welcome: models are loaded and the worker is not stopping.
    repository : Repository
        Loads and unloads models on request, or refuses to.
    """

    def __init__(self) -> None:
        self.roster = Roster()
        self.ready = False
        self.repository = Repository()


class Loader:
    """Builds rosters from plans, keeping the replicas that did not change. Runs in a thread, never on the event loop.

    Parameters
    ----------
    counter : callable
        Gives the counter of a label ``name@version``.
    cores : int
        This worker's share of the machine's.
    """

    def __init__(self, counter: Callable[[str], Counter], cores: int = 1) -> None:
        self._cores = cores
        self._counter = counter

    def load(self, plan: Plan, old: Roster, *, strict: bool) -> Roster:
        """The roster that `plan` asks for.

        Parameters
        ----------
        plan : Plan
            What to serve.
        old : Roster
            What is served now; its replicas are used again where digest and version are the same.
        strict : bool
            Whether a model that cannot be loaded is an error. If not, it goes on being served as it was, and the
            reason stands in `Roster.troubles`, beside what the plan itself says was refused.
        """
        models: dict[str, ServedModel] = {}
        troubles = dict(plan.refused)
        for planned in plan.models:
            before = old.models.get(planned.name)
            try:
                models[planned.name] = self._model(planned, before, plan.signatures)
            except ModelyardError as exc:
                if strict:
                    raise
                log.error("keeping %s as it was: %s", planned.name, exc.detail)
                troubles[planned.name] = exc.detail
                if before is not None:
                    models[planned.name] = before
        return Roster(models=models, troubles=troubles, plan=plan)

    def _model(self, planned: PlannedModel, before: ServedModel | None, trust: Trust) -> ServedModel:
        versions = {version.version: self._replica(planned, version, before, trust) for version in planned.versions}
        return ServedModel(name=planned.name, default=planned.default, versions=versions, aliases=dict(planned.aliases))

    def _replica(
        self, model: PlannedModel, planned: PlannedVersion, before: ServedModel | None, trust: Trust
    ) -> Replica:
        running = before.versions.get(planned.version) if before else None
        if running is not None and (running.bundle.digest, running.tuning) == (planned.digest, model.tuning):
            _doubt(running.bundle, model.name, planned, trust)  # it may have been trusted when it was loaded
            return running
        bundle = open_bundle(Path(planned.path), digest=planned.digest)
        doubt = _doubt(bundle, model.name, planned, trust)
        counter = self._counter(f"{model.name}@{planned.version}")
        replica = Replica(bundle, model.name, planned.version, counter, model.tuning, cores=self._cores)
        if doubt:
            log.warning("%s %s", replica.label, doubt)
            replica.unheeded.append(doubt)
        return replica


def _doubt(bundle: Bundle, name: str, planned: PlannedVersion, trust: Trust) -> str:
    """What is wrong with the version's signature, as `guard.trust.check` says; it is read anew, for it may be newer."""
    if trust.policy is Policy.OFF:
        return ""
    from modelyard.guard.trust import check  # noqa: PLC0415 - brings cryptography

    signature = read_signature(Path(planned.path))
    return check(signature, bundle.manifest, name, trust, f"{name}@{planned.version}")
