"""How a deployment stands in a cluster: told by its Deployments and routes, whoever has put them there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from modelyard.core.errors import Conflict
from modelyard.ship.cluster import rollout
from modelyard.ship.cluster.kinds import KINDS
from modelyard.ship.cluster.namespace import Namespace, Object, tried
from modelyard.ship.cluster.objects import shown
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import CANARY, CONTAINER, MANAGED_BY, NAME, RELEASE, STABLE, TRACK
from modelyard.ship.cluster.reasons import reasons
from modelyard.ship.cluster.routes import share, untaken, url
from modelyard.ship.deployment import State, Status

_LOOK_S = 1.0
_TAKEN_S = 10.0  # gateways take a second or two


def status(namespace: Namespace, deployment: str, placement: Placement, labels: Mapping[str, str]) -> Status:
    """Of the live release, and who else gets requests.

    Parameters
    ----------
    namespace : Namespace
        Where.
    deployment, placement : str, Placement
        What, and how it was put there.
    labels : mapping
        Of all that belongs to it.
    """
    found = {_label(item, TRACK): item for item in namespace.all(KINDS["Deployment"], labels)}
    item = found.get(STABLE)
    if item is None:
        return Status(state=State.ABSENT)
    progress = rollout.Progress.of(item)
    pods = [] if progress.done else rollout.newest(namespace, item)
    canary = found.get(CANARY)
    leads = [each for name in _routes(placement) for each in tried(namespace, KINDS[name], labels)]
    return Status(
        state=rollout.state(progress, pods, item),
        ready=progress.ready,
        wanted=progress.wanted,
        release=number(item),
        image=item["spec"]["template"]["spec"]["containers"][0]["image"],
        url=url(deployment, placement),
        canary=share(leads) if canary else 0,
        canary_release=number(canary) if canary else 0,
        reasons=(*filter(None, map(untaken, leads)), *(() if progress.done else reasons(namespace, item, pods))),
    )


def logs(namespace: Namespace, labels: Mapping[str, str], lines: int, container: str = CONTAINER) -> str:
    """The last lines of every pod that is not ready; of a container that waits to start again, what it wrote before.

    Pods that are ready have nothing to explain: they may be those of the release before.
    """
    found = tried(namespace, KINDS["Pod"], labels)
    pods = [pod for pod in found if not pod["metadata"].get("deletionTimestamp") and not ready(pod)]
    told = []
    for pod in pods:
        name = pod["metadata"]["name"]
        states = (pod.get("status") or {}).get("containerStatuses") or [{}]
        previous = "waiting" in (states[0].get("state") or {}) and bool(states[0].get("restartCount"))
        text = namespace.logs(name, container, lines=lines, previous=previous)
        if text:
            told.append(text if len(pods) == 1 else "\n".join(f"{name}  {line}" for line in text.splitlines()))
    return "\n".join(told)


def wait_for_routes(namespace: Namespace, leads: Iterable[Object]) -> None:
    """Until gateways lead requests in by these routes, or for a while: whether they do is told by `status`."""
    until_s = time.monotonic() + _TAKEN_S
    for lead in leads:
        while time.monotonic() < until_s:
            found = namespace.get(KINDS[lead["kind"]], lead["metadata"]["name"])
            if found is None or not untaken(found):
                break
            time.sleep(_LOOK_S)


def is_ours(item: Object, there: Object) -> bool:
    """Whether what is there says that it belongs to the deployment that `item` belongs to."""
    return all(_label(there, name) == _label(item, name) for name in (NAME, MANAGED_BY))


def check_ours(item: Object, there: Object | None, *, take_over: bool) -> None:
    """Nothing, where `item` may be put there; `Conflict` where somebody else has something of its name.

    To apply it would not be refused where no field is set to two values: it would become ours, and go with ours.
    """
    if there is None or take_over or is_ours(item, there):
        return
    hint = "deploy under another name: --name NAME; or remove it, or add the target again with take_over=true"
    owner = _label(there, MANAGED_BY)
    cause = f"its label {MANAGED_BY} says {owner!r}" if owner else "it has no label of ours"
    raise Conflict(what=f"{shown(item)} is there already, and is not this deployment's", cause=cause, hint=hint)


def ready(pod: Object) -> bool:
    """Whether it gets requests."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def number(item: Object) -> int:
    """Of the release that an object belongs to; 0 where it does not say."""
    text = _label(item, RELEASE)
    return int(text) if text.isdigit() else 0


def _label(item: Object, name: str) -> str:
    return str((item["metadata"].get("labels") or {}).get(name, ""))


def _routes(placement: Placement) -> Iterable[str]:
    more = ("GRPCRoute",) if placement.grpc_host else ()
    return {"gateway": ("HTTPRoute", *more), "ingress": ("Ingress",)}.get(placement.route, ())
