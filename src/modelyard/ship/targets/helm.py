"""Helm: the objects of a Kubernetes target as a release of Helm, for clusters that are kept that way.

Secrets are not Helm's: they are put beside its release, so that ``helm rollback`` brings no revoked key back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from modelyard.core.errors import Conflict, ModelyardError, RolloutFailed
from modelyard.core.release import Release
from modelyard.ship.chart.charts import chart
from modelyard.ship.chart.helm import Helm, Installed, Stopped
from modelyard.ship.cluster import objects, prerequisites, rollout, standing
from modelyard.ship.cluster.cluster import Cluster
from modelyard.ship.cluster.fields import differences
from modelyard.ship.cluster.kinds import KINDS
from modelyard.ship.cluster.namespace import Namespace, Object
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import MANAGED_BY, MANAGER, NAME, RELEASE, STABLE, name_of, scales, tracks
from modelyard.ship.cluster.reasons import hopeless, reasons, refused
from modelyard.ship.cluster.routes import routes
from modelyard.ship.targets import Access, Check, Delivery, Doing, State, Status, Step, Told, Wanted

#: What Helm makes of the label `MANAGED_BY` of all that it puts there.
_HELM = "Helm"
_AUTOSCALER = "HorizontalPodAutoscaler"


class Options(Placement, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a Helm target, beside those of `Placement`.

    Parameters
    ----------
    helm : str
        The program, or where it is.
    context, kubeconfig : str
        Which cluster, as ``kubectl`` knows it; empty for the one that ``kubectl`` would use.
    take_over : bool
        Whether fields of our objects that somebody else has set are set back, and Helm's from then on.
    timeout_s : int
        How long a roll-out may take, 30 to 3600.
    """

    helm: str = "helm"
    context: str = ""
    kubeconfig: str = ""
    take_over: bool = False
    timeout_s: int = objects.DEADLINE_S

    def __post_init__(self) -> None:
        Placement.__post_init__(self)
        if not 30 <= self.timeout_s <= 3600:
            raise ValueError(f"timeout_s is {self.timeout_s}, and has to be 30 to 3600")
        if not self.helm or self.helm.startswith("-"):
            raise ValueError(f"helm is {self.helm[:80]!r}, and has to be a program")


class HelmTarget:
    """One namespace of one cluster, whose releases Helm keeps.

    Parameters
    ----------
    options : Options
        Which, and how.
    target : str
        Its name, for errors.
    """

    delivery = Delivery.REGISTRY

    def __init__(self, options: Options, target: str) -> None:
        self._options, self._name = options, target
        self.repository = options.repository
        self.canaries = options.route != "none"
        self.fetches = options.fetched_from
        self.monitors = options.monitoring
        self._helm = Helm(target, options.helm, options.namespace, options.kubeconfig, options.context)

    @cached_property
    def _namespace(self) -> Namespace:
        options = self._options
        return Namespace(Cluster(self._name, options.kubeconfig, options.context), options.namespace)

    def check(self) -> list[Check]:
        """Whether Helm is there, and what a Kubernetes target needs."""
        try:
            major, minor = self._helm.version
        except ModelyardError as exc:
            found = Check(ok=False, what=exc.detail, fix=exc.hint)
        else:
            found = Check(ok=True, what=f"Helm {major}.{minor} is there")
        return [found, *prerequisites.checks(lambda: self._namespace, self._options)]

    def files(self, wanted: Wanted) -> dict[str, str]:
        """The chart."""
        return chart(wanted.release, wanted.canary, self._options, self._options.timeout_s)

    def plan(self, wanted: Wanted, access: Access) -> list[Step]:
        """What Helm makes of the chart, compared with what is there; and what it has there that is no longer wanted."""
        secrets = objects.secrets(wanted.release, self._options, access)
        installed = self._ours(wanted.release.deployment)
        return [*map(self._step, secrets), *self._steps(wanted, installed)]

    def apply(self, wanted: Wanted, access: Access, told: Told) -> None:
        """First the Secrets, then Helm, which waits, and puts back what was there before when it does not come up.

        A canary that is not there yet gets its share once it is up.
        """
        release, canary = wanted.release, wanted.canary
        installed = self._recovered(release.deployment, told)
        for item in objects.secrets(release, self._options, access):
            if differences(self._there(item) or {}, self._namespace.apply(item, force=self._options.take_over)):
                told(f"{objects.shown(item)} put there")
        if installed and installed.status == "deployed" and self._is_so(wanted, installed):
            return
        shares = [canary.canary] if canary else [0]
        if canary and self._namespace.get(KINDS["Deployment"], name_of(canary, "canary")) is None:
            shares.insert(0, 0)
        with self._replicas_held(release), self._chart(wanted) as folder:
            for share in shares:
                self._upgrade(wanted, folder, [f"--set=canary.weight={share}"] if canary else [], told)
        standing.wait_for_routes(self._namespace, routes(release, canary, self._options))

    def status(self, deployment: str) -> Status:
        """As the cluster has it, and what Helm says where it is not done."""
        found = standing.status(self._namespace, deployment, self._options, _labels(deployment))
        installed = None if found.state is State.ABSENT else self._helm.installed(deployment)
        if installed is None or installed.status == "deployed":
            return found
        said = f"Helm says: {installed.status} (revision {installed.revision})"
        return Status(**{**vars(found), "reasons": (said, *found.reasons)})

    def logs(self, deployment: str, lines: int = 20) -> str:
        """Of every pod."""
        return standing.logs(self._namespace, {NAME: deployment}, lines)

    def destroy(self, deployment: str, told: Told) -> list[Step]:
        """The release of Helm, and the Secrets beside it."""
        steps = []
        installed = self._ours(deployment)
        if installed:
            self._helm.uninstall(deployment, self._options.timeout_s)
            steps = [Step(Doing.REMOVE, objects.shown(item)) for item in installed.items]
            told(f"release {deployment} of Helm removed")
        for item in self._namespace.all(KINDS["Secret"], {NAME: deployment, MANAGED_BY: MANAGER}):
            if self._namespace.delete(KINDS["Secret"], item["metadata"]["name"]):
                steps.append(Step(Doing.REMOVE, objects.shown(item)))
                told(f"{objects.shown(item)} removed")
        return steps

    @contextmanager
    def _replicas_held(self, release: Release) -> Iterator[None]:
        """While an autoscaler begins or ceases to say how many replicas there are, their number is ours.

        A chart that says it no longer would make it 1 until the autoscaler has looked; one that says it again would be
        in conflict with the autoscaler. So we say the number that is to be, beside Helm.
        """
        there = self._namespace.get(KINDS["Deployment"], name_of(release, STABLE))
        autoscaled = self._namespace.get(KINDS[_AUTOSCALER], release.deployment) is not None
        meta = {"name": name_of(release, STABLE), "namespace": self._options.namespace}
        bare: Object = {"apiVersion": KINDS["Deployment"].version, "kind": "Deployment", "metadata": meta}
        if there is None or (not autoscaled and not scales(release.capacity) and not _is_held(there)):
            yield
        elif scales(release.capacity):
            if not autoscaled:  # the number stays ours until the autoscaler says another one
                number = there["spec"].get("replicas", 1)
                self._namespace.apply({**bare, "spec": {"replicas": number}}, force=True)
            yield
        else:
            self._namespace.delete(KINDS[_AUTOSCALER], release.deployment)
            self._namespace.apply({**bare, "spec": {"replicas": release.capacity.replicas}}, force=True)
            yield
            self._namespace.apply(bare)  # it is Helm's now

    @contextmanager
    def _chart(self, wanted: Wanted) -> Iterator[Path]:
        """The chart in a folder, for as long as Helm needs it."""
        with tempfile.TemporaryDirectory(prefix="modelyard-chart-") as folder:
            for name, text in self.files(wanted).items():
                path = Path(folder) / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
            yield Path(folder)

    def _upgrade(self, wanted: Wanted, folder: Path, settings: list[str], told: Told) -> None:
        release = wanted.release
        settings = [*settings, "--description", f"modelyard release {release.number}"]
        settings += ["--force-conflicts"] if self._options.take_over and self._helm.version >= (4, 0) else []
        watch = _Watch(self._namespace, wanted, told)
        try:
            self._helm.upgrade(release.deployment, folder, settings, self._options.timeout_s, watch.hopeless)
        except Stopped as exc:
            space = self._options.namespace
            raise RolloutFailed(
                deployment=release.deployment,
                target=self._name,
                what="it does not come up; Helm has put back what was there before",
                cause="; ".join(watch.why) or str(exc),
                hint=f"helm history {release.deployment} --namespace {space}",
            ) from exc

    def _steps(self, wanted: Wanted, installed: Installed | None) -> list[Step]:
        """What becomes of the objects that are Helm's."""
        with self._chart(wanted) as folder:
            items = self._helm.template(wanted.release.deployment, folder)
        kept = {objects.shown(item) for item in items}
        gone = [objects.shown(item) for item in installed.items] if installed else []
        steps = [self._step(_as_helm_has_it(item)) for item in items]
        return [*steps, *(Step(Doing.REMOVE, name) for name in gone if name not in kept)]

    def _is_so(self, wanted: Wanted, installed: Installed) -> bool:
        """Whether Helm has nothing to do: the release's number too is there already."""
        numbers = {str(each.number) for _, each in tracks(wanted.release, wanted.canary)}
        known = {item["metadata"]["labels"].get(RELEASE) for item in installed.items if item["kind"] == "Deployment"}
        return numbers == known and all(step.doing is Doing.KEEP for step in self._steps(wanted, installed))

    def _step(self, item: Object) -> Step:
        before = self._there(item)
        if before is None:
            return Step(Doing.CREATE, objects.shown(item))
        changes = differences(before, self._namespace.apply(item, dry=True, force=True))
        return Step(Doing.CHANGE if changes else Doing.KEEP, objects.shown(item), changes)

    def _there(self, item: Object) -> Object | None:
        return self._namespace.get(KINDS[item["kind"]], item["metadata"]["name"])

    def _ours(self, deployment: str) -> Installed | None:
        """The release of Helm of this name; `Conflict` where it is of another chart."""
        found = self._helm.installed(deployment)
        if found and not any(RELEASE in (item["metadata"].get("labels") or {}) for item in found.items):
            what = f"Helm has a release {deployment!r} in namespace {self._options.namespace!r} that is not Modelyard's"
            raise Conflict(what=what, hint="deploy under another name: --name NAME")
        return found

    def _recovered(self, deployment: str, told: Told) -> Installed | None:
        """The release as Helm has it; what was cut off while it was put there is undone first."""
        found = self._ours(deployment)
        if found is None or not found.pending:
            return found
        good = [revision for revision, state in self._helm.history(deployment) if state in {"deployed", "superseded"}]
        if good:
            told(f"an earlier deployment was cut off: back to revision {good[-1]} of Helm")
            self._helm.rollback(deployment, good[-1], self._options.timeout_s)
        else:
            told("an earlier deployment was cut off: what there is of it is removed")
            self._helm.uninstall(deployment, self._options.timeout_s)
        return self._ours(deployment)


class _Watch:
    """Looks at the Deployments while Helm waits: says how far they are, and why they get no further."""

    def __init__(self, namespace: Namespace, wanted: Wanted, told: Told) -> None:
        self._namespace, self._told = namespace, told
        self._tracks = tracks(wanted.release, wanted.canary)
        self._said: dict[str, str] = {}
        self.why: tuple[str, ...] = ()

    def hopeless(self) -> bool:
        """Whether it is no use to wait any longer."""
        for track, release in self._tracks:
            item = self._namespace.get(KINDS["Deployment"], name_of(release, track))
            if item is None or item["metadata"]["labels"].get(RELEASE) != str(release.number):
                continue  # Helm is not there yet
            progress = rollout.Progress.of(item)
            line = f"{objects.shown(item)}: {progress.updated} of {progress.wanted} ready"
            if self._said.get(track) != line:
                self._told(line)
                self._said[track] = line
            if progress.done:
                continue
            pods = rollout.newest(self._namespace, item)
            self.why = reasons(self._namespace, item, pods) or self.why
            if progress.stuck or (refused(item) and not pods) or (pods and all(map(hopeless, pods))):
                return True
        return False


def open_target(options: Options, folder: Path) -> HelmTarget:
    """The target with these settings; its folder bears its name."""
    return HelmTarget(options, folder.name)


def _is_held(there: Object) -> bool:
    """Whether the number of replicas is ours beside Helm's."""
    managers = there["metadata"].get("managedFields") or []
    ours = [each.get("fieldsV1") or {} for each in managers if each.get("manager") == MANAGER]
    return any("f:replicas" in (fields.get("f:spec") or {}) for fields in ours)


def _labels(deployment: str) -> Mapping[str, str]:
    return {NAME: deployment, MANAGED_BY: _HELM}


def _as_helm_has_it(item: Object) -> Object:
    """With the label that Helm sets on all that is its own."""
    meta = item["metadata"]
    return {**item, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), MANAGED_BY: _HELM}}}
