"""A roll-out: waiting until a Deployment is what was applied, and telling how it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from modelyard.core.errors import RolloutFailed, TargetUnavailable
from modelyard.ship.cluster.kinds import KINDS
from modelyard.ship.cluster.namespace import Namespace, Object, tried
from modelyard.ship.cluster.pods import NAME, TRACK
from modelyard.ship.cluster.reasons import hopeless, reasons, refused
from modelyard.ship.deployment import State, Told

_LOOK_S = 1.0
_REFUSED_S = 10.0  # a quota may be free again in a moment
_SETTLED_S = 5.0  # of what was stuck before, a cluster says so still for a moment after something else was applied
_REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Parameters
    ----------
    ready, updated, wanted : int
        Replicas that answer, that are of the newest kind and answer, and that there should be.
    done : bool
        Whether it is what was applied.
    stuck : bool
        Whether the cluster says that it gets no further.
    """

    ready: int
    updated: int
    wanted: int
    done: bool
    stuck: bool

    @classmethod
    def of(cls, deployment: Object) -> Progress:
        """As the Deployment's status says; it says nothing as long as nobody has seen what was applied."""
        status, spec = deployment.get("status") or {}, deployment["spec"]
        wanted = int(spec.get("replicas", 1))
        counts = {key: int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
        seen = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
        done = seen and counts["updatedReplicas"] == counts["availableReplicas"] == counts["replicas"] == wanted
        conditions = status.get("conditions") or []
        stuck = seen and any(each["type"] == "Progressing" and each["status"] == "False" for each in conditions)
        ready = int(status.get("readyReplicas") or 0)
        before = counts["replicas"] - counts["updatedReplicas"]  # they may be all that is ready
        return cls(ready, max(0, ready - before), wanted, done, stuck)


def wait(namespace: Namespace, name: str, limit_s: float, told: Told) -> None:
    """Nothing, once the Deployment is what was applied.

    Raises
    ------
    RolloutFailed
        It is not, and will not be: why, in the cluster's words.
    """
    begun_s = time.monotonic()
    said, item = "", {}
    while True:
        item = _deployment(namespace, name)
        progress = Progress.of(item)
        if progress.done:
            return
        line = f"deployment/{name}: {progress.updated} of {progress.wanted} ready"
        if line != said:
            told(line)
            said = line
        passed_s = time.monotonic() - begun_s
        failed = partial(_failed, namespace, item)
        pods = newest(namespace, item)
        if (pods and all(map(hopeless, pods))) or (refused(item) and not pods and passed_s > _REFUSED_S):
            raise failed(pods, "it does not come up")
        if progress.stuck and passed_s > _SETTLED_S:
            raise failed(pods, "it made no progress in the time that it had")
        if passed_s > limit_s:
            raise failed(pods, f"{progress.updated} of {progress.wanted} are ready after {limit_s:g} s")
        time.sleep(_LOOK_S)


def state(progress: Progress, pods: list[Object], item: Object) -> State:
    """In one word."""
    if progress.done:
        return State.RUNNING
    bad = progress.stuck or bool(refused(item)) or any(map(hopeless, pods))
    if bad:
        return State.DEGRADED if progress.ready else State.FAILED
    return State.STARTING if progress.updated < progress.wanted or not progress.ready else State.DEGRADED


def newest(namespace: Namespace, deployment: Object) -> list[Object]:
    """Pods of what was applied last, and not those of before it."""
    labels = deployment["metadata"]["labels"]
    chosen = {key: labels[key] for key in (NAME, TRACK) if key in labels}
    sets = tried(namespace, KINDS["ReplicaSet"], chosen)
    revision = (deployment["metadata"].get("annotations") or {}).get(_REVISION)
    latest = [each for each in sets if (each["metadata"].get("annotations") or {}).get(_REVISION) == revision]
    hashes = {(each["metadata"].get("labels") or {}).get("pod-template-hash") for each in latest}
    pods = tried(namespace, KINDS["Pod"], chosen)
    return [
        pod
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and (not hashes or pod["metadata"]["labels"].get("pod-template-hash") in hashes)
    ]


def _deployment(namespace: Namespace, name: str) -> Object:
    found = namespace.get(KINDS["Deployment"], name)
    if found is None:
        what = f"deployment/{name} was removed while it was being rolled out"
        raise TargetUnavailable(target=namespace.target, what=what, hint="deploy it again")
    return found


def _failed(namespace: Namespace, item: Object, pods: list[Object], what: str) -> RolloutFailed:
    why = reasons(namespace, item, pods)
    # By the time that this is read its pods are gone, as what was there before is back; what happened to them is kept.
    hint = f"mend it and deploy it again; all that was seen: kubectl get events --namespace {namespace.name}"
    return RolloutFailed(
        deployment=item["metadata"]["labels"].get(NAME, item["metadata"]["name"]),
        target=namespace.target,
        what=what,
        cause="; ".join(why) or "nobody says why",
        hint=hint,
    )
