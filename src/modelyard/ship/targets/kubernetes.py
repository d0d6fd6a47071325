"""Kubernetes: plain objects, put there by server-side apply, and waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from modelyard.core.errors import Conflict, Denied, InvalidRequest, RolloutFailed
from modelyard.core.release import Release
from modelyard.ship import layout, yaml
from modelyard.ship.cluster import kinds, objects, prerequisites, rollout, standing
from modelyard.ship.cluster.cluster import Cluster
from modelyard.ship.cluster.fields import differences, shortened
from modelyard.ship.cluster.kinds import KINDS, OURS
from modelyard.ship.cluster.namespace import Namespace, Object
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import MANAGED_BY, MANAGER, NAME, name_of, tracks
from modelyard.ship.cluster.routes import routes
from modelyard.ship.targets import Access, Check, Delivery, Doing, Status, Step, Told, Wanted

_AUTOSCALER = "HorizontalPodAutoscaler"
_LOOK_S = 1.0
_ATTEMPTS = 3  # the autoscaler may say another number of replicas between a look and an apply


class Options(Placement, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a Kubernetes target, beside those of `Placement`.

    Parameters
    ----------
    context, kubeconfig : str
        Which cluster, as ``kubectl`` knows it; empty for the one that ``kubectl`` would use.
    take_over : bool
        Whether fields of our objects that somebody else has set are set back, and ours from then on.
    timeout_s : int
        How long a roll-out may take, 30 to 3600.
    """

    context: str = ""
    kubeconfig: str = ""
    take_over: bool = False
    timeout_s: int = objects.DEADLINE_S

    def __post_init__(self) -> None:
        Placement.__post_init__(self)
        if not 30 <= self.timeout_s <= 3600:
            raise ValueError(f"timeout_s is {self.timeout_s}, and has to be 30 to 3600")


class Kubernetes:
    """One namespace of one cluster.

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

    @cached_property
    def _namespace(self) -> Namespace:
        options = self._options
        return Namespace(Cluster(self._name, options.kubeconfig, options.context), options.namespace)

    def check(self) -> list[Check]:
        """Whether the cluster answers, the namespace is there, we may do what we do, and what is named is there."""
        return prerequisites.checks(lambda: self._namespace, self._options)

    def files(self, wanted: Wanted) -> dict[str, str]:
        """A file for each object but the Secrets."""
        items = objects.objects(wanted.release, wanted.canary, self._options, self._options.timeout_s)
        return {name: yaml.dump(item) for name, item in objects.by_file(items).items()}

    def plan(self, wanted: Wanted, access: Access) -> list[Step]:
        """What the cluster says would come of applying each object, compared with what is there."""
        steps = []
        items = self._items(wanted, access)
        for item in items:
            before = self._there(item)
            standing.check_ours(item, before, take_over=self._options.take_over)
            doing, changes = Doing.CREATE, tuple(_summary(item))
            after = self._apply(item, before, wanted.release, dry=True)
            if before is not None:
                changes = differences(before, after)
                doing = Doing.CHANGE if changes else Doing.KEEP
            steps.append(Step(doing, objects.shown(item), changes))
        return [*steps, *(Step(Doing.REMOVE, objects.shown(item)) for item in self._surplus(wanted.release, items))]

    def apply(self, wanted: Wanted, access: Access, told: Told) -> None:
        """First what answers, then, once it does, what leads requests there; then what is no longer wanted goes."""
        items = self._items(wanted, access)
        leads = routes(wanted.release, wanted.canary, self._options)
        for item in items[: len(items) - len(leads)]:
            self._put(item, wanted.release, told)
        for item in self._surplus(wanted.release, items, [KINDS[_AUTOSCALER]]):
            self._remove(item, told)  # at once: it would go on saying how many replicas there are
        for track, release in tracks(wanted.release, wanted.canary):
            rollout.wait(self._namespace, name_of(release, track), self._options.timeout_s, told)
        for item in leads:
            self._put(item, wanted.release, told)
        standing.wait_for_routes(self._namespace, leads)
        for item in self._surplus(wanted.release, items):
            self._remove(item, told)

    def status(self, deployment: str) -> Status:
        """Of the live release, and who else gets requests."""
        return standing.status(self._namespace, deployment, self._options, _ours(deployment))

    def logs(self, deployment: str, lines: int = 20) -> str:
        """Of every pod; of a container that is waiting to start again, what it wrote before."""
        return standing.logs(self._namespace, _ours(deployment), lines)

    def destroy(self, deployment: str, told: Told) -> list[Step]:
        """All that carries our labels, routes first; it is gone when its pods have finished what they were at."""
        found = [item for kind in reversed(OURS) for item in self._mine(kind, deployment)]
        for item in found:
            self._remove(item, told)
        waited_s = time.monotonic() + layout.STOP_S + self._options.timeout_s
        while any(self._there(item) for item in found if item["kind"] == "Deployment"):
            if time.monotonic() > waited_s:
                what = "its pods do not end"
                raise RolloutFailed(deployment=deployment, target=self._name, what=what, cause="see their nodes")
            time.sleep(_LOOK_S)
        return [Step(Doing.REMOVE, objects.shown(item)) for item in found]

    def _items(self, wanted: Wanted, access: Access) -> list[Object]:
        """Everything, in the order in which it is put there."""
        options = self._options
        if not options.repository and not wanted.release.image:
            raise InvalidRequest(what=f"target {self._name} has no repository that images are pulled from")
        secrets = objects.secrets(wanted.release, options, access)
        return [*secrets, *objects.objects(wanted.release, wanted.canary, options, options.timeout_s)]

    def _put(self, item: Object, release: Release, told: Told) -> None:
        before = self._there(item)
        standing.check_ours(item, before, take_over=self._options.take_over)
        after = self._apply(item, before, release)
        if before is None:
            told(f"{objects.shown(item)} created")
        elif before["metadata"].get("resourceVersion") != after["metadata"].get("resourceVersion"):
            told(f"{objects.shown(item)} changed")

    def _apply(self, item: Object, before: Object | None, release: Release, *, dry: bool = False) -> Object:
        """Server-side apply. Where an autoscaler says how many replicas there are, they stay as many.

        To say nothing of a number that was ours once would make it 1 for a moment; to say another than the
        autoscaler's would be a conflict, so it is looked at again when there is one. From an autoscaler of ours that is
        no longer wanted the number is taken back.
        """
        scaled = item["kind"] == "Deployment" and "replicas" not in item["spec"]
        force = self._options.take_over
        if not scaled and before is not None and self._was_scaled(item):
            held = {**item, "spec": {**item["spec"], "replicas": before["spec"].get("replicas", 1)}}
            self._namespace.apply(held, dry=True, force=force)  # what else somebody manages is still a conflict
            force = True
        for attempt in range(1, _ATTEMPTS + 1):
            if scaled:
                least = release.capacity.replicas
                there = before["spec"].get("replicas", 1) if before else 0
                item = {**item, "spec": {**item["spec"], "replicas": max(least, there)}}
            try:
                return self._namespace.apply(item, dry=dry, force=force)
            except Conflict:
                if not scaled or attempt == _ATTEMPTS:
                    raise
                before = self._there(item)
        raise AssertionError("the last attempt returns or raises")

    def _there(self, item: Object) -> Object | None:
        return self._namespace.get(KINDS[item["kind"]], item["metadata"]["name"])

    def _was_scaled(self, item: Object) -> bool:
        """Whether an autoscaler of ours says until now how many replicas of this Deployment there are."""
        if item["kind"] != "Deployment":
            return False
        found = self._namespace.get(KINDS[_AUTOSCALER], item["metadata"]["name"])
        return found is not None and standing.is_ours(item, found)

    def _surplus(self, release: Release, items: list[Object], among: Sequence[kinds.Kind] = OURS) -> Iterator[Object]:
        """What is ours there, and not among these: routes first."""
        kept = {(item["kind"], item["metadata"]["name"]) for item in items}
        for kind in reversed(among):
            for item in self._mine(kind, release.deployment):
                if (item["kind"], item["metadata"]["name"]) not in kept:
                    yield item

    def _mine(self, kind: kinds.Kind, deployment: str) -> list[Object]:
        """All of a kind that carries our labels. What we may not even look at, we have not put there."""
        try:
            return self._namespace.all(kind, _ours(deployment))
        except Denied:
            if kind.group in _FOREIGN:
                return []
            raise

    def _remove(self, item: Object, told: Told) -> None:
        if self._namespace.delete(KINDS[item["kind"]], item["metadata"]["name"]):
            told(f"{objects.shown(item)} removed")


#: Groups that come with something that not every cluster has.
_FOREIGN = frozenset({KINDS["ServiceMonitor"].group, KINDS["HTTPRoute"].group})


def open_target(options: Options, folder: Path) -> Kubernetes:
    """The target with these settings; its folder bears its name."""
    return Kubernetes(options, folder.name)


def _ours(deployment: str) -> dict[str, str]:
    return {NAME: deployment, MANAGED_BY: MANAGER}


def _summary(item: Object) -> Iterator[str]:
    """The little that one wants to know of an object that is not there yet."""
    if item["kind"] != "Deployment":
        return
    spec = item["spec"]
    container = spec["template"]["spec"]["containers"][0]
    resources = container["resources"]
    yield f"image: {shortened(container['image'])}"
    cpu, memory = resources["requests"]["cpu"], resources["limits"]["memory"]
    yield f"replicas: {spec.get('replicas', 'as the autoscaler says')}, each {cpu} CPU, {memory}"
