"""Why pods do not run: in the words of the registry, the scheduler, the kubelet, and of the container itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard.core.errors import ModelyardError
from modelyard.ship.cluster.kinds import KINDS
from modelyard.ship.cluster.namespace import Namespace, Object

#: A pod that waits for one of these does not come up by waiting longer, once it was tried this often.
_HOPELESS = {"InvalidImageName": 0, "ImagePullBackOff": 0, "CrashLoopBackOff": 2, "CreateContainerConfigError": 0}
_PULL = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"})
_LINES = 8
_SHOWN = 500


def reasons(namespace: Namespace, deployment: Object, pods: list[Object]) -> tuple[str, ...]:
    """What is the matter, the most telling first; nothing where nobody says anything.

    Parameters
    ----------
    namespace : Namespace
        Where.
    deployment : dict
        As it is.
    pods : list of dict
        Those that should come up.
    """
    found: list[str] = []
    for pod in pods:
        found += _of_pod(namespace, pod)
    found += _of_deployment(deployment)
    return tuple(dict.fromkeys(found))


def hopeless(pod: Object) -> bool:
    """Whether it is no use to wait longer for this pod."""
    return any(
        status.get("restartCount", 0) >= _HOPELESS[reason]
        for _, status in _statuses(pod)
        if (reason := _waiting(status).get("reason", "")) in _HOPELESS
    )


def refused(deployment: Object) -> str:
    """Why the cluster does not even make pods: a quota, a rule of admission; empty where it does."""
    condition = _condition(deployment, "ReplicaFailure")
    return _line(condition.get("message", "")) if condition.get("status") == "True" else ""


def _of_deployment(deployment: Object) -> Iterator[str]:
    if why := refused(deployment):
        quota = "the namespace's quota is used up: " if "exceeded quota" in why else "no pod can be made: "
        yield quota + why
    progress = _condition(deployment, "Progressing")
    if progress.get("status") == "False":
        yield _line(progress.get("message") or progress.get("reason") or "")


def _of_pod(namespace: Namespace, pod: Object) -> Iterator[str]:
    name = pod["metadata"]["name"]
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"no node takes pod {name}: {_line(scheduled.get('message', ''))}"
        return
    if pod.get("status", {}).get("reason") == "Evicted":
        yield f"pod {name} was moved away: {_line(pod['status'].get('message', ''))}"
        return
    for part, status in _statuses(pod):
        if status.get("ready") or _terminated_well(status):
            continue
        yield from _of_container(namespace, name, part, status)


def _of_container(namespace: Namespace, pod: str, container: str, status: Object) -> Iterator[str]:
    waiting, last = _waiting(status), (status.get("lastState") or {}).get("terminated") or {}
    last = (status.get("state") or {}).get("terminated") or last
    reason = waiting.get("reason", "")
    if reason in _PULL:
        yield f"the image of pod {pod} cannot be pulled: {_pulled(namespace, pod, waiting.get('message', ''))}"
    elif last:
        why = "it used more memory than it may (OOMKilled)" if last.get("reason") == "OOMKilled" else ""
        code = f"code {last.get('exitCode')}"
        yield f"{container} of pod {pod} ended ({code}), {status.get('restartCount', 0)} times: " + (
            why or _log(namespace, pod, container, previous="waiting" in (status.get("state") or {}))
        )
    elif reason and reason not in {"PodInitializing", "ContainerCreating"}:
        yield f"pod {pod}: {reason}: {_line(waiting.get('message', ''))}"
    elif "running" in (status.get("state") or {}):
        probe = _event(namespace, pod, "Unhealthy")
        log = _log(namespace, pod, container, previous=False)
        yield f"{container} of pod {pod} runs and is not ready: {'; its log: '.join(filter(None, (probe, log)))}"
    elif mount := _event(namespace, pod, "FailedMount"):
        yield f"pod {pod}: {mount}"


def _pulled(namespace: Namespace, pod: str, message: str) -> str:
    """In the registry's own words, which the event has."""
    return _event(namespace, pod, "Failed", "Failed to pull") or _line(message)


def _event(namespace: Namespace, pod: str, reason: str, begins: str = "") -> str:
    """What the newest event of the pod with this reason says."""
    try:
        events = namespace.all(KINDS["Event"], {}, f"involvedObject.name={pod}")
    except ModelyardError:
        return ""  # events only explain; not everybody may read them
    said = [each for each in events if each.get("reason") == reason and each.get("message", "").startswith(begins)]
    newest = max(said, key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime") or ""), default={})
    return _line(newest.get("message", ""))


def _log(namespace: Namespace, pod: str, container: str, *, previous: bool) -> str:
    """Its last lines; those of its last life, where it is waiting for the next."""
    text = namespace.logs(pod, container, lines=_LINES, previous=previous)
    return " | ".join(line.strip() for line in text.splitlines() if line.strip()) or "it wrote nothing"


def _statuses(pod: Object) -> Iterator[tuple[str, Object]]:
    """Every container of the pod by name, init containers first."""
    status = pod.get("status") or {}
    for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        yield each["name"], each


def _waiting(status: Object) -> Object:
    found: Object = (status.get("state") or {}).get("waiting") or {}
    return found


def _terminated_well(status: Object) -> bool:
    """Whether it did what it is for: an init container."""
    ended = (status.get("state") or {}).get("terminated")
    return ended is not None and ended.get("exitCode") == 0


def _condition(item: Object, name: str) -> Object:
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == name), {})


def _line(text: Any) -> str:
    return " ".join(str(text).split())[:_SHOWN]
