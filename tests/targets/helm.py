"""A ground for Helm: the real program, and the stand-in for the Kubernetes API that it gets along with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelyard.ship.targets import open_target
from tests.helmed import HelmCluster
from tests.targets import Ground
from tests.targets.kubernetes import ACCESS, IMAGE, SPACE, _meddle, _spoil, there
from tests.tools import tool

#: Where Helm keeps its releases, which count up.
_KEPT = "Secret/sh.helm.release."


@contextmanager
def open_ground(folder: Path) -> Iterator[Ground]:
    """The cluster runs as long as the ground is used."""
    with HelmCluster(SPACE, "default").running() as cluster:
        look = there(cluster)
        yield Ground(
            target=open_target("helm", settings(cluster, folder), folder),
            images=(IMAGE + "a" * 64, IMAGE + "b" * 64),
            broken="registry.example.com/models/missing@sha256:" + "c" * 64,
            there=lambda: _without_helms_own(look()),
            meddle=lambda name: _meddle(cluster, name),
            spoil=lambda name: _spoil(cluster, name),
            access=ACCESS,
        )


def settings(cluster: HelmCluster, folder: Path) -> Mapping[str, str]:
    """Of a target on this cluster."""
    return {
        "kubeconfig": str(cluster.kubeconfig(folder)),
        "namespace": SPACE,
        "repository": "registry.example.com/models",
        "helm": tool("helm"),
        "route": "gateway",
        "gateway": "web",
        "monitoring": "true",
        "take_over": "true",
        "timeout_s": "30",
    }


def _without_helms_own(found: Mapping[str, str]) -> Mapping[str, str]:
    return {name: text for name, text in found.items() if not name.startswith(_KEPT)}
