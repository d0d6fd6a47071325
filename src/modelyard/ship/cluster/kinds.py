"""Kinds of Kubernetes objects: what a deployment is made of, and what is read to tell how it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Parameters
    ----------
    name, version, plural : str
        ``Deployment``, ``apps/v1``, ``deployments``.
    """

    name: str
    version: str
    plural: str

    @property
    def group(self) -> str:
        """Of the API; empty for the core."""
        return self.version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """As ``kubectl`` takes it: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_GATEWAY = "gateway.networking.k8s.io/v1"
#: What a deployment can be made of, in the order in which it is put there; it is taken away in the other.
OURS = tuple(
    Kind(*each)
    for each in (
        ("ServiceAccount", "v1", "serviceaccounts"),
        ("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        ("Secret", "v1", "secrets"),
        ("ConfigMap", "v1", "configmaps"),
        ("Service", "v1", "services"),
        ("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
        ("Deployment", "apps/v1", "deployments"),
        ("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers"),
        ("ServiceMonitor", "monitoring.coreos.com/v1", "servicemonitors"),
        ("Ingress", "networking.k8s.io/v1", "ingresses"),
        ("HTTPRoute", _GATEWAY, "httproutes"),
        ("GRPCRoute", _GATEWAY, "grpcroutes"),
    )
)
_READ = tuple(
    Kind(*each) for each in (("ReplicaSet", "apps/v1", "replicasets"), ("Pod", "v1", "pods"), ("Event", "v1", "events"))
)
#: Of KServe, and of Knative below it.
KSERVE = (
    Kind("InferenceService", "serving.kserve.io/v1beta1", "inferenceservices"),
    Kind("Revision", "serving.knative.dev/v1", "revisions"),
)
#: All of them by name.
KINDS = {kind.name: kind for kind in (*OURS, *_READ, *KSERVE)}
