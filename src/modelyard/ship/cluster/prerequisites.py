"""What a namespace has to have before a deployment can be put there: looked at, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from modelyard.core.errors import ModelyardError
from modelyard.ship.cluster.kinds import KINDS, OURS, Kind
from modelyard.ship.cluster.namespace import Namespace
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.deployment import Check

_OLDEST = (1, 27)  # since then new pods of a roll-out are spread among themselves
_VERBS = ("get", "list", "create", "patch", "delete")
#: What only explains: without it, failures are told with fewer words.
_READ = (("list", "Pod", ""), ("get", "Pod", "log"), ("list", "Event", ""), ("list", "ReplicaSet", ""))


def checks(find: Callable[[], Namespace], placement: Placement) -> list[Check]:
    """What is needed, in the order in which it is needed; it ends where nothing more can be found out.

    Parameters
    ----------
    find : callable
        Gives the namespace, or raises why there is no way to it.
    placement : Placement
        What is going to be put there.
    """
    found = [_repository(placement)]
    try:
        namespace = find()
        found += [_version(namespace), _space(namespace)]
        if all(check.ok for check in found[1:]):
            found += _rights(namespace, placement)
            found += _named(namespace, placement)
            found += _served(namespace, placement)
    except ModelyardError as exc:
        found.append(Check(ok=False, what=f"{exc.detail}{f': {exc.cause}' if exc.cause else ''}", fix=exc.hint))
    return found


def needed(placement: Placement) -> list[Kind]:
    """Kinds of objects that such a deployment is made of."""
    unused = {"Ingress", "HTTPRoute", "GRPCRoute", "ServiceMonitor"}
    unused -= {"ServiceMonitor"} if placement.monitoring else set()
    unused -= {"Ingress"} if placement.route == "ingress" else set()
    unused -= {"HTTPRoute"} if placement.route == "gateway" else set()
    unused -= {"GRPCRoute"} if placement.grpc_host else set()
    return [kind for kind in OURS if kind.name not in unused]


def _repository(placement: Placement) -> Check:
    if placement.repository:
        return Check(ok=True, what=f"images are pushed to {placement.repository}")
    fix = "add the target again with repository=REGISTRY/NAME, which the cluster can pull from"
    return Check(ok=False, what="the target has no repository that images are pushed to", fix=fix)


def _version(namespace: Namespace) -> Check:
    found = namespace.document("/version") or {}
    numbers = tuple(int("".join(filter(str.isdigit, str(found.get(part, "")))) or 0) for part in ("major", "minor"))
    what = f"{namespace.cluster.address} answers: Kubernetes {found.get('gitVersion', 'of an unknown version')}"
    fix = f"use a cluster of version {_OLDEST[0]}.{_OLDEST[1]} or newer"
    return Check(ok=numbers >= _OLDEST, what=what, fix="" if numbers >= _OLDEST else fix)


def _space(namespace: Namespace) -> Check:
    with suppress(ModelyardError):  # who may only look into the namespace may not look at it
        if namespace.document(f"/api/v1/namespaces/{namespace.name}") is None:
            fix = f"kubectl create namespace {namespace.name}"
            return Check(ok=False, what=f"there is no namespace {namespace.name}", fix=fix)
        return Check(ok=True, what=f"namespace {namespace.name} is there")
    return Check(ok=True, what=f"namespace {namespace.name} cannot be looked at, but perhaps be used")


def _rights(namespace: Namespace, placement: Placement) -> Iterator[Check]:
    """One line when all is well, else one for each kind."""
    missing = {kind.resource: [verb for verb in _VERBS if not namespace.may(verb, kind)] for kind in needed(placement)}
    for verb, name, part in _READ:
        if not namespace.may(verb, KINDS[name], part):
            resource = f"{KINDS[name].resource}{f'/{part}' if part else ''}"
            missing[resource] = [verb]
    lacking = {resource: verbs for resource, verbs in missing.items() if verbs}
    if not lacking:
        yield Check(ok=True, what=f"we may do all that is needed in namespace {namespace.name}")
    for resource, verbs in lacking.items():
        fix = f"ask for a role with {', '.join(verbs)} of {resource} in namespace {namespace.name}"
        yield Check(ok=False, what=f"we may not {', '.join(verbs)} {resource}", fix=fix)


def _named(namespace: Namespace, placement: Placement) -> Iterator[Check]:
    """Secrets that the settings speak of; who may not look at them is told nothing."""
    names = {
        placement.pull_secret: "to pull images with: kubectl create secret docker-registry",
        placement.tls_secret: "for TLS: kubectl create secret tls",
        placement.models_secret: "to fetch models with: kubectl create secret generic",
    }
    for name, how in names.items():
        if not name or not namespace.may("get", KINDS["Secret"]):
            continue
        there = namespace.get(KINDS["Secret"], name) is not None
        purpose, _, command = how.partition(": ")
        fix = "" if there else f"{command} {name} --namespace {namespace.name} ..."
        yield Check(ok=there, what=f"secret {name} {purpose} is {'' if there else 'not '}there", fix=fix)


def _served(namespace: Namespace, placement: Placement) -> Iterator[Check]:
    """Kinds and metrics that not every cluster has."""
    foreign = [kind for kind in needed(placement) if kind.name in {"HTTPRoute", "GRPCRoute", "ServiceMonitor"}]
    for kind in foreign:
        listed = (namespace.document(f"/apis/{kind.version}") or {}).get("resources") or []
        there = any(each.get("name") == kind.plural for each in listed)
        fix = "" if there else f"install what brings {kind.resource}, or change the target"
        yield Check(ok=there, what=f"the cluster {'knows' if there else 'does not know'} {kind.name}", fix=fix)
    if placement.requests_per_second:
        there = namespace.document("/apis/custom.metrics.k8s.io/v1beta1") is not None
        fix = "" if there else "install an adapter, see docs/deploy/kubernetes.md; or set requests_per_second=0"
        what = f"the cluster {'has' if there else 'has no'} custom metrics, which the autoscaler asks for"
        yield Check(ok=there, what=what, fix=fix)
