"""The Helm chart of a deployment: the objects of `objects`, with values where releases and clusters differ. Pure."""

from __future__ import annotations

from functools import cache

import msgspec

import modelyard
from modelyard.core.plan import Limits, Plan
from modelyard.core.release import Capacity, Release, Shipped
from modelyard.ship import layout, yaml
from modelyard.ship.chart import charttexts
from modelyard.ship.chart.chartvalues import schema, values, values_file
from modelyard.ship.chart.templates import Code, Each, When, every, fold, marked, written
from modelyard.ship.cluster.objects import objects
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import CANARY, FEWEST_PROBES, STABLE, STARTUP_S, Object, plan_map, startup_probes
from modelyard.ship.cluster.routes import routes

Named = dict[tuple[str, str], Object]

_DEADLINE_S = 86399
#: Where models are fetched from with a Docker login, and where without.
_LOCKED, _OPEN = "oci://", "s3://"
_PLACE = Placement(
    namespace="mark-namespace",
    pull_secret="mark-pull-secret",  # noqa: S106 - the name of one
    route="gateway",
    host="mark-host",
    grpc_host="mark-grpc-host",
    gateway="mark-gateway-namespace/mark-gateway",
    callers="mark-callers",
    monitoring=True,
    requests_per_second=700_003,
    node_selector="mark=mark",
    models="fetched",
    models_from=f"{_LOCKED}mark:54321",
    models_secret="mark-models-secret",  # noqa: S106 - as above
)
_INGRESS = msgspec.structs.replace(
    _PLACE,
    route="ingress",
    grpc_host="",
    ingress_class="mark-ingress-class",
    tls_secret="mark-tls-secret",  # noqa: S106 - the name of one
)
_STABLE = Release(
    deployment="mark-name",
    target="mark",
    number=7_000_001,
    models=(Shipped(name="mark", version=1, digest="", source=f"{_LOCKED}mark-source"),),
    image="mark-image",
    plan=layout.placed(Plan(models=(), limits=Limits(body_bytes=16_777_259))),
    capacity=Capacity(replicas=911, max_replicas=977, workers=139),
)
_CANARY = msgspec.structs.replace(
    _STABLE,
    number=7_000_003,
    models=(Shipped(name="mark", version=1, digest="", source=f"{_LOCKED}mark-canary-source"),),
    image="mark-canary-image",
    plan=layout.placed(Plan(models=(), limits=Limits(body_bytes=16_777_213))),
    capacity=Capacity(replicas=907, workers=137),
    canary=37,
)
_SCALES = "gt (int .Values.maxReplicas) (int .Values.replicas)"


def chart(release: Release, canary: Release | None, placement: Placement, deadline_s: int) -> dict[str, str]:
    """The chart's files by their path. Its templates are the same for every release; its values are this one's."""
    about = {
        "apiVersion": "v2",
        "name": release.deployment,
        "description": f"Modelyard serves {', '.join(map(str, release.models)) or 'models'}",
        "type": "application",
        "version": f"1.0.{release.number}",
        "appVersion": str(release.number),
        "kubeVersion": ">=1.27.0-0",
        "keywords": ["modelyard", "model-serving", "inference"],
        "annotations": {"modelyard/version": modelyard.__version__},
    }
    return {
        "Chart.yaml": yaml.dump(about),
        "values.yaml": values_file(values(release, canary, placement, deadline_s)),
        "values.schema.json": msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n",
        **templates(),
        "templates/secrets.yaml": charttexts.SECRETS,
        "templates/NOTES.txt": charttexts.NOTES,
        "README.md": charttexts.readme(release.deployment),
        ".helmignore": charttexts.IGNORED,
    }


@cache
def templates() -> dict[str, str]:
    """The templates that are made of objects, by their path."""
    marks = _marks()
    by_gateway = _folded(_PLACE, _parts(_PLACE, _gateway_parts()))
    by_ingress = _folded(_INGRESS, _parts(_INGRESS, {".Values.ingress.tlsSecret": {"tls_secret": ""}}))
    found = by_gateway | {key: each for key, each in by_ingress.items() if key[0] == "Ingress"}
    files = {}
    for (kind, name), (when, item) in found.items():
        text = written(marked(item, marks))
        part = name.removeprefix(_STABLE.deployment).rpartition("plan-")[0] + "plan" if kind == "ConfigMap" else name
        stem = "-".join(filter(None, (kind.lower(), part.removeprefix(_STABLE.deployment).strip("-"))))
        files[f"templates/{stem}.yaml"] = f"{{{{- if {when} }}}}\n{text}{{{{- end }}}}\n" if when else text
    return files


def _gateway_parts() -> dict[str, dict[str, object]]:
    """What can be left out where a gateway leads in, by the condition under which it is there."""
    return {
        ".Values.monitoring": {"monitoring": False},
        ".Values.pullSecret": {"pull_secret": ""},
        ".Values.nodeSelector": {"node_selector": ""},
        ".Values.gateway.namespace": {"gateway": "mark-gateway"},
        ".Values.host": {"host": ""},
        ".Values.grpcHost": {"grpc_host": ""},
        ".Values.callers": {"callers": ""},
        ".Values.requestsPerSecond": {"requests_per_second": 0},
    }


def _parts(place: Placement, left_out: dict[str, dict[str, object]]) -> list[tuple[str, Named]]:
    """The objects without each part that can be left out."""
    alone = msgspec.structs.replace(_STABLE, capacity=msgspec.structs.replace(_STABLE.capacity, max_replicas=0))
    whole, outside = _named(_STABLE, _CANARY, place), {_key(item) for item in routes(_STABLE, _CANARY, place)}
    parts = [
        (f'eq .Values.route "{place.route}"', {key: item for key, item in whole.items() if key not in outside}),
        (".Values.canary.enabled", _named(_STABLE, None, place)),
        (_SCALES, _named(alone, _CANARY, place)),
        (".Values.fetch.enabled", _named(_sourced(_STABLE, ""), _sourced(_CANARY, ""), _baked(place))),
        (".Values.fetch.dockerSecret", _named(_STABLE, _CANARY, place, locked=False)),
    ]
    for condition, change in left_out.items():
        parts.append((condition, _named(_STABLE, _CANARY, msgspec.structs.replace(place, **change))))
    return parts


def _folded(place: Placement, parts: list[tuple[str, Named]]) -> dict[tuple[str, str], tuple[str, Object]]:
    """Every object with its parts marked, and the condition under which it is there at all."""
    found = {}
    for key, item in _named(_STABLE, _CANARY, place).items():
        missing = [condition for condition, without in parts if key not in without]
        inner = fold(item, [(condition, without[key]) for condition, without in parts if key in without])
        found[key] = (every(missing), inner)
    return found


def _named(release: Release, canary: Release | None, place: Placement, *, locked: bool = True) -> Named:
    """The objects by kind and name; those that are not `locked` fetch from where no Docker login is needed."""
    if locked:
        return {_key(item): _with_blocks(item) for item in objects(release, canary, place, _DEADLINE_S)}
    open_place = msgspec.structs.replace(place, models_secret="")
    other = canary and _sourced(canary, _OPEN)
    items = msgspec.json.encode(objects(_sourced(release, _OPEN), other, open_place, _DEADLINE_S))
    items = items.replace(_OPEN.encode(), _LOCKED.encode())  # nothing else is to differ
    return {_key(item): _with_blocks(item) for item in msgspec.json.decode(items, type=list[Object])}


def _sourced(release: Release, scheme: str) -> Release:
    """The same, its models fetched from there; with no scheme, they are in the image."""
    models = tuple(
        msgspec.structs.replace(model, source=scheme and model.source.replace(_LOCKED, scheme))
        for model in release.models
    )
    return msgspec.structs.replace(release, models=models)


def _baked(place: Placement) -> Placement:
    return msgspec.structs.replace(place, models="baked", models_from="", models_secret="")


def _key(item: Object) -> tuple[str, str]:
    return item["kind"], item["metadata"]["name"]


def _with_blocks(item: Object) -> Object:
    """Of a Deployment, what is a value as a whole: what its containers get, and which nodes may run it."""
    if item["kind"] != "Deployment":
        return item
    pod = item["spec"]["template"]["spec"]
    canary = ".canary" if item["metadata"]["name"].endswith(CANARY) else ""
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        container["resources"] = Code(f".Values{canary}.resources", block=True)
    if "nodeSelector" in pod:
        pod["nodeSelector"] = Code(".Values.nodeSelector", block=True)
    for fetch in pod.get("initContainers", ()):
        secret = [{"secretRef": {"name": "mark-environment-secret"}}]
        fetch["envFrom"] = When(".Values.fetch.environmentSecret", secret)
    return item


@cache
def _marks() -> dict[str, str | Each]:
    """What each mark stands for."""
    marks: dict[str, str | Each] = {
        "mark-name": ".Release.Name",
        "mark-namespace": ".Release.Namespace",
        "mark-name-access": 'default (printf "%s-access" .Release.Name) .Values.access.existingSecret',
        "mark-name-peppers": 'default (printf "%s-peppers" .Release.Name) .Values.access.existingPeppersSecret',
        "mark-name-metrics": 'default (printf "%s-metrics" .Release.Name) .Values.access.existingMetricsSecret',
        "mark-pull-secret": ".Values.pullSecret",
        "mark-host": ".Values.host",
        "mark-grpc-host": ".Values.grpcHost",
        "mark-gateway": ".Values.gateway.name",
        "mark-gateway-namespace": ".Values.gateway.namespace",
        "mark-ingress-class": ".Values.ingress.className",
        "mark-tls-secret": ".Values.ingress.tlsSecret",
        "mark-callers": Each(".Values.callers"),
        "mark-models-secret": ".Values.fetch.dockerSecret",
        "mark-environment-secret": ".Values.fetch.environmentSecret",
        "54321": ".Values.fetch.port",
        str(_PLACE.requests_per_second): ".Values.requestsPerSecond",
        str(_DEADLINE_S): ".Values.progressDeadlineSeconds",
        str(startup_probes(_DEADLINE_S)): f"(max {FEWEST_PROBES} (div .Values.progressDeadlineSeconds {STARTUP_S}))",
        str(_STABLE.capacity.max_replicas): ".Values.maxReplicas",
        str(_CANARY.canary): ".Values.canary.weight",
        str(100 - _CANARY.canary): "(sub 100 .Values.canary.weight)",
    }
    for release, track, where in ((_STABLE, STABLE, ".Values"), (_CANARY, CANARY, ".Values.canary")):
        plan = plan_map(release, _PLACE, track)
        marks |= {
            release.image: f"{where}.image",
            release.models[0].source: Each(f"{where}.sources"),
            str(release.number): f"{where}.release",
            str(release.capacity.replicas): f"{where}.replicas",
            str(release.capacity.workers): f"{where}.workers",
            str(release.plan.limits.body_bytes): f"{where}.maxBodyBytes",
            plan["data"][layout.PLAN.name]: f"{where}.plan",
            plan["metadata"]["name"].rpartition("-")[2]: f"{where}.plan | sha256sum | trunc 10",
        }
    return marks
