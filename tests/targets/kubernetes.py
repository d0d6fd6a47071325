"""A ground for Kubernetes: the stand-in of ``tests/standin``, with a namespace in which somebody else has something."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from modelyard.ship.cluster import rollout
from modelyard.ship.cluster import standing as standing_module
from modelyard.ship.targets import kubernetes, open_target
from tests.standin import Cluster
from tests.standin.schemas import BY_KIND
from tests.standin.store import Item
from tests.targets import Ground

SPACE = "ml"
IMAGE = "registry.example.com/models/churn@sha256:"
#: What the cluster itself makes, and what it writes into objects.
_MADE = frozenset({"Pod", "ReplicaSet", "Event", "Namespace"})
_WRITTEN = ("uid", "resourceVersion", "generation", "creationTimestamp", "annotations")
ACCESS = {"keys.json": b'{"keys": []}', "peppers/pepper-1": b"00" * 32, "metrics.key": b"my_live_of_the_scraper"}


@contextmanager
def open_ground(folder: Path) -> Iterator[Ground]:
    """The cluster runs as long as the ground is used."""
    with standing(folder) as (cluster, settings):
        target = open_target(
            "kubernetes", {**settings, "route": "gateway", "gateway": "web", "monitoring": "true"}, folder
        )
        yield Ground(
            target=target,
            images=(IMAGE + "a" * 64, IMAGE + "b" * 64),
            broken="registry.example.com/models/missing@sha256:" + "c" * 64,
            there=there(cluster),
            meddle=lambda name: _meddle(cluster, name),
            spoil=lambda name: _spoil(cluster, name),
            access=ACCESS,
        )


@contextmanager
def standing(folder: Path) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """A cluster that is looked at often, and settings of a target on it."""
    often = (mock.patch.object(module, "_LOOK_S", 0.01) for module in (rollout, kubernetes, standing_module))
    with Cluster(SPACE, "default").running() as cluster, next(often), next(often), next(often):
        path = str(cluster.kubeconfig(folder))
        yield cluster, {"kubeconfig": path, "namespace": SPACE, "repository": "registry.example.com/models"}


def there(cluster: Cluster) -> Callable[[], Mapping[str, str]]:
    """What is in the cluster, but for what it makes and writes itself."""

    def look() -> Mapping[str, str]:
        with cluster.store.lock:
            entries = [entry.item for key, entry in cluster.store.entries.items() if key[0] not in _MADE]
            return {
                f"{item['kind']}/{item['metadata']['name']}": json.dumps(_bare(item), sort_keys=True)
                for item in entries
            }

    return look


def _bare(item: Item) -> Item:
    item = {key: value for key, value in copy.deepcopy(item).items() if key != "status"}
    item["metadata"] = {key: value for key, value in item["metadata"].items() if key not in _WRITTEN}
    return item


def _meddle(cluster: Cluster, name: str) -> str:
    """Somebody's own Service for our pods, with our name label, but not made by us."""
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "somebody"}
    spec = {"selector": {"app.kubernetes.io/name": name}, "ports": [{"port": 80, "protocol": "TCP"}]}
    item = {"metadata": {"name": f"{name}-theirs", "labels": labels}, "spec": spec}
    with cluster.store.lock:
        cluster.store.update(BY_KIND["Service"], SPACE, f"{name}-theirs", item, "kubectl-create")
    return f"Service/{name}-theirs"


def _spoil(cluster: Cluster, name: str) -> None:
    """Somebody takes the rules of the network policy away, so that pods may connect to everybody."""
    with cluster.store.lock:
        item = copy.deepcopy(cluster.store.find(BY_KIND["NetworkPolicy"], SPACE, name).item)
        del item["spec"]["policyTypes"]
        cluster.store.update(BY_KIND["NetworkPolicy"], SPACE, name, item, "kubectl-edit")
