"""KServe: a release as an InferenceService, its models in the image; canaries by plain Deployments or by Knative."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from modelyard.core.errors import Conflict, ModelyardError, RolloutFailed
from modelyard.core.release import Release
from modelyard.ship import yaml
from modelyard.ship.cluster import objects, standing
from modelyard.ship.cluster.cluster import Cluster
from modelyard.ship.cluster.fields import differences
from modelyard.ship.cluster.kinds import KINDS, Kind
from modelyard.ship.cluster.namespace import Namespace, Object, tried
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import CANARY, MANAGED_BY, MANAGER, NAME, RELEASE, STABLE, plan_map
from modelyard.ship.cluster.predicted import Predicted, canary_number, number
from modelyard.ship.cluster.predictors import KSERVE_CONTAINER, SERVICE_LABEL, Predicting, inference_service
from modelyard.ship.cluster.reasons import hopeless, reasons
from modelyard.ship.targets import Access, Check, Delivery, Doing, State, Status, Step, Told, Wanted

_LOOK_S = 1.0
_SERVICE = KINDS["InferenceService"]
#: What it is made of, in the order in which it is put there.
_KINDS = (KINDS["ServiceAccount"], KINDS["Secret"], KINDS["ConfigMap"], _SERVICE)
_VERBS = ("get", "list", "create", "patch", "delete")


class Options(Predicting, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a KServe target, beside those of `Predicting`.

    Parameters
    ----------
    namespace, repository, pull_secret, node_selector : str
        As in `Placement`.
    context, kubeconfig : str
        Which cluster, as ``kubectl`` knows it; empty for the one that ``kubectl`` would use.
    take_over : bool
        Whether fields of our objects that somebody else has set are set back, and ours from then on.
    timeout_s : int
        How long a roll-out may take, 30 to 3600.
    """

    namespace: str = "modelyard"
    repository: str = ""
    pull_secret: str = ""
    node_selector: str = ""
    context: str = ""
    kubeconfig: str = ""
    take_over: bool = False
    timeout_s: int = objects.DEADLINE_S

    def __post_init__(self) -> None:
        _ = self.placement
        if not 30 <= self.timeout_s <= 3600:
            raise ValueError(f"timeout_s is {self.timeout_s}, and has to be 30 to 3600")
        if not 0 <= self.scale_target <= 1_000_000:
            raise ValueError(f"scale_target is {self.scale_target}, and has to be 0 to 1000000")
        allowed = {"standard": {"", "cpu", "memory"}, "knative": {"", "concurrency", "rps"}}[self.mode]
        if self.scale_metric not in allowed:
            named = ", ".join(sorted(filter(None, allowed)))
            raise ValueError(
                f"scale_metric is {self.scale_metric!r}, and with mode={self.mode} has to be one of {named}"
            )
        if self.scale_to_zero and self.mode != "knative":
            raise ValueError("scale_to_zero needs mode=knative")

    @property
    def placement(self) -> Placement:
        """Where the objects are put."""
        return Placement(
            namespace=self.namespace,
            repository=self.repository,
            pull_secret=self.pull_secret,
            node_selector=self.node_selector,
        )


class KServe:
    """One namespace of a cluster with KServe.

    Parameters
    ----------
    options : Options
        Which, and how.
    target : str
        Its name, for errors.
    """

    delivery = Delivery.REGISTRY
    canaries = True
    fetches = ""
    monitors = False

    def __init__(self, options: Options, target: str) -> None:
        self._options, self._name = options, target
        self._placement = options.placement
        self.repository = options.repository

    @cached_property
    def _namespace(self) -> Namespace:
        options = self._options
        return Namespace(Cluster(self._name, options.kubeconfig, options.context), options.namespace)

    def check(self) -> list[Check]:
        """Whether the cluster answers and has KServe, the namespace is there, and we may do what we do."""
        repository = self._options.repository
        fix = (
            "" if repository else "add the target again with repository=REGISTRY/NAME, which the cluster can pull from"
        )
        what = f"images are pushed to {repository}" if repository else "the target has no repository for images"
        found = [Check(ok=bool(repository), what=what, fix=fix)]
        try:
            found += self._cluster_checks()
        except ModelyardError as exc:
            found.append(Check(ok=False, what=f"{exc.detail}{f': {exc.cause}' if exc.cause else ''}", fix=exc.hint))
        return found

    def _cluster_checks(self) -> Iterator[Check]:
        space = self._namespace
        version = (space.document("/version") or {}).get("gitVersion", "of an unknown version")
        yield Check(ok=True, what=f"{space.cluster.address} answers: Kubernetes {version}")
        needed = [_SERVICE.version, *(["serving.knative.dev/v1"] if self._options.mode == "knative" else [])]
        for api in needed:
            there = space.document(f"/apis/{api}") is not None
            fix = "" if there else "install KServe, and for mode=knative Knative Serving; or use a kubernetes target"
            yield Check(ok=there, what=f"the cluster {'knows' if there else 'does not know'} {api}", fix=fix)
        for kind in _KINDS:
            missing = [verb for verb in _VERBS if not space.may(verb, kind)]
            if missing:
                fix = f"ask for a role with {', '.join(missing)} of {kind.resource} in namespace {space.name}"
                yield Check(ok=False, what=f"we may not {', '.join(missing)} {kind.resource}", fix=fix)

    def files(self, wanted: Wanted) -> dict[str, str]:
        """A file for each object but the Secrets."""
        return {name: yaml.dump(item) for name, item in objects.by_file(self._items(wanted)).items()}

    def plan(self, wanted: Wanted, access: Access) -> list[Step]:
        """What the cluster says would come of applying each object, compared with what is there."""
        items = self._items(wanted, access)
        steps = []
        for item in items:
            before, after = self._applied(item, dry=True)
            changes = () if before is None else differences(before, after)
            doing = Doing.CREATE if before is None else Doing.CHANGE if changes else Doing.KEEP
            steps.append(Step(doing, objects.shown(item), changes))
        surplus = self._surplus(wanted.release.deployment, items)
        return [*steps, *(Step(Doing.REMOVE, objects.shown(item)) for item in surplus)]

    def apply(self, wanted: Wanted, access: Access, told: Told) -> None:
        """What the pods need, then the InferenceService; what is no longer wanted goes once that answers.

        Knative gives a canary its share beside whatever got all requests before: that has to be the live release.
        """
        release, canary = wanted.release, wanted.canary
        if canary and self._options.mode == "knative" and self._live_number(release.deployment) != release.number:
            self._roll(Wanted(release=release), access, told)
        self._roll(wanted, access, told)
        for item in self._surplus(release.deployment, self._items(wanted, access)):
            self._remove(item, told)

    def status(self, deployment: str) -> Status:
        """As KServe says, and its pods."""
        item = self._service(deployment)
        if item is None:
            return Status(state=State.ABSENT)
        predicted = Predicted.of(item)
        knative = self._options.mode == "knative"
        live = (self._live_number(deployment) if knative else 0) or number(item)
        canary = number(item) if knative else canary_number(item)
        pods = self._pods(deployment, live)
        wanted = int(item["spec"]["predictor"].get("minReplicas", 1))
        ready = sum(map(standing.ready, pods))
        why = () if predicted.done else (*reasons(self._namespace, {}, self._pods(deployment)), *predicted.reasons)
        bad = predicted.stuck or any(map(hopeless, self._pods(deployment)))
        failed = State.DEGRADED if ready else State.FAILED
        return Status(
            state=State.RUNNING if predicted.done else failed if bad else State.STARTING,
            ready=min(ready, wanted),
            wanted=wanted,
            release=live,
            image=_image(pods) or item["spec"]["predictor"]["containers"][0]["image"],
            url=predicted.url,
            canary=predicted.percent,
            canary_release=canary if predicted.percent else 0,
            reasons=tuple(dict.fromkeys(why)),
        )

    def logs(self, deployment: str, lines: int = 20) -> str:
        """Of every pod."""
        return standing.logs(self._namespace, {SERVICE_LABEL: deployment}, lines, KSERVE_CONTAINER)

    def destroy(self, deployment: str, told: Told) -> list[Step]:
        """The InferenceService first, then what its pods needed."""
        found = [item for kind in reversed(_KINDS) for item in self._mine(kind, deployment)]
        for item in found:
            self._remove(item, told)
        return [Step(Doing.REMOVE, objects.shown(item)) for item in found]

    def _items(self, wanted: Wanted, access: Access | None = None) -> list[Object]:
        """Everything, in the order in which it is put there; Secrets where there is something to put into them."""
        release, canary, place = wanted.release, wanted.canary, self._placement
        found = [] if access is None or self._options.auth == "mesh" else objects.secrets(release, place, access)
        found += [item for item in objects.settled(release, None, place) if item["kind"] == "ServiceAccount"]
        track = STABLE if self._options.mode == "knative" else CANARY
        plans = [plan_map(release, place, STABLE), *([plan_map(canary, place, track)] if canary else [])]
        found += {item["metadata"]["name"]: item for item in plans}.values()
        return [*found, inference_service(release, canary, place, self._options, self._options.timeout_s)]

    def _roll(self, wanted: Wanted, access: Access, told: Told) -> None:
        for item in self._items(wanted, access):
            before, after = self._applied(item)
            if before is None or before["metadata"].get("resourceVersion") != after["metadata"].get("resourceVersion"):
                told(f"{objects.shown(item)} {'changed' if before else 'created'}")
        self._wait(wanted, told)

    def _wait(self, wanted: Wanted, told: Told) -> None:
        """Nothing, once KServe says that it answers; `RolloutFailed` once it does not, with the reason."""
        name = wanted.release.deployment
        newest = (wanted.canary or wanted.release).number
        begun_s, said = time.monotonic(), ""
        while True:
            item = self._service(name) or {"metadata": {}, "spec": {"predictor": {}}}
            predicted, pods = Predicted.of(item), self._pods(name, newest)
            if predicted.done:
                return
            line = f"inferenceservice/{name}: {sum(map(standing.ready, pods))} of {len(pods)} pods ready"
            if line != said:
                told(line)
                said = line
            passed_s = time.monotonic() - begun_s
            if predicted.stuck or (pods and all(map(hopeless, pods))):
                raise self._failed(wanted.release, "it does not come up", pods, predicted)
            if passed_s > self._options.timeout_s:
                raise self._failed(wanted.release, f"it is not ready after {passed_s:.0f} s", pods, predicted)
            time.sleep(_LOOK_S)

    def _failed(self, release: Release, what: str, pods: list[Object], predicted: Predicted) -> RolloutFailed:
        why = dict.fromkeys((*reasons(self._namespace, {}, pods), *predicted.reasons))
        name, space = release.deployment, self._options.namespace
        return RolloutFailed(
            deployment=name,
            target=self._name,
            what=what,
            cause="; ".join(why) or "nobody says why",
            hint=f"kubectl describe inferenceservice {name} --namespace {space}",
        )

    def _applied(self, item: Object, *, dry: bool = False) -> tuple[Object | None, Object]:
        """The object as it was, and as it is then."""
        before = self._there(item)
        standing.check_ours(item, before, take_over=self._options.take_over)
        return before, self._apply(item, dry=dry)

    def _apply(self, item: Object, *, dry: bool = False) -> Object:
        try:
            return self._namespace.apply(item, dry=dry, force=self._options.take_over)
        except ModelyardError as exc:
            unknown = "not declared in schema" in exc.cause or "Additional properties" in exc.cause
            if unknown and "canary" in (item.get("spec") or {}):
                what = "this KServe runs no canary beside plain Deployments: version 0.20 or newer does"
                raise Conflict(what=what, cause=exc.cause, hint="upgrade KServe, or use mode=knative") from exc
            raise

    def _live_number(self, deployment: str) -> int:
        """Number of the release that got all requests last, as Knative's revision of it says; 0 where nobody knows."""
        item = self._service(deployment)
        revision = Predicted.of(item).live if item else ""
        return number(self._namespace.get(KINDS["Revision"], revision)) if revision else 0

    def _service(self, deployment: str) -> Object | None:
        return self._namespace.get(_SERVICE, deployment)

    def _there(self, item: Object) -> Object | None:
        return self._namespace.get(KINDS[item["kind"]], item["metadata"]["name"])

    def _pods(self, deployment: str, release: int = 0) -> list[Object]:
        chosen = {SERVICE_LABEL: deployment} | ({RELEASE: str(release)} if release else {})
        return [
            pod for pod in tried(self._namespace, KINDS["Pod"], chosen) if not pod["metadata"].get("deletionTimestamp")
        ]

    def _mine(self, kind: Kind, deployment: str) -> list[Object]:
        return self._namespace.all(kind, {NAME: deployment, MANAGED_BY: MANAGER})

    def _surplus(self, deployment: str, items: list[Object]) -> list[Object]:
        """What is ours there, and not among these."""
        kept = {objects.shown(item) for item in items}
        return [
            item
            for kind in reversed(_KINDS)
            for item in self._mine(kind, deployment)
            if objects.shown(item) not in kept
        ]

    def _remove(self, item: Object, told: Told) -> None:
        if self._namespace.delete(KINDS[item["kind"]], item["metadata"]["name"]):
            told(f"{objects.shown(item)} removed")


def open_target(options: Options, folder: Path) -> KServe:
    """The target with these settings; its folder bears its name."""
    return KServe(options, folder.name)


def _image(pods: list[Object]) -> str:
    return str(pods[0]["spec"]["containers"][0]["image"]) if pods else ""
