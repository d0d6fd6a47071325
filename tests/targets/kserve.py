"""A ground for KServe: the stand-in for the Kubernetes API with KServe on it, plain Deployments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from modelyard.ship.targets import kserve, open_target
from tests.kserved import SERVICE, KServeCluster
from tests.standin.schemas import BY_KIND
from tests.targets import Ground
from tests.targets.kubernetes import ACCESS, IMAGE, SPACE, _meddle, there

#: What KServe makes.
_MADE = ("Deployment/", "Revision/")


@contextmanager
def open_ground(folder: Path, mode: str = "standard") -> Iterator[Ground]:
    """The cluster runs as long as the ground is used."""
    with KServeCluster(SPACE, "default").running() as cluster, mock.patch.object(kserve, "_LOOK_S", 0.01):
        look = there(cluster)
        yield Ground(
            target=open_target("kserve", settings(cluster, folder, mode), folder),
            images=(IMAGE + "a" * 64, IMAGE + "b" * 64),
            broken="registry.example.com/models/missing@sha256:" + "c" * 64,
            there=lambda: {name: text for name, text in look().items() if not name.startswith(_MADE)},
            meddle=lambda name: _meddle(cluster, name),
            spoil=lambda name: _spoil(cluster, name),
            access=ACCESS,
        )


def settings(cluster: KServeCluster, folder: Path, mode: str) -> dict[str, str]:
    """Of a target on this cluster."""
    path, repository = str(cluster.kubeconfig(folder)), "registry.example.com/models"
    found = {"kubeconfig": path, "namespace": SPACE, "repository": repository, "mode": mode}
    return found | {"take_over": "true", "timeout_s": "60"}


def _spoil(cluster: KServeCluster, name: str) -> None:
    """Somebody has more of it be there by hand."""
    with cluster.store.lock:
        item = dict(cluster.store.find(BY_KIND["InferenceService"], SPACE, name).item)
        item["spec"] = {**item["spec"], "predictor": {**item["spec"]["predictor"], "maxReplicas": 9}}
        cluster.store.update(SERVICE, SPACE, name, item, "kubectl-edit")
