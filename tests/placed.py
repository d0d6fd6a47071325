"""Releases and placements that tests of Kubernetes objects share."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.core.plan import Plan, PlannedModel, PlannedVersion
from modelyard.core.release import Capacity, Release, Shipped
from modelyard.ship import layout
from modelyard.ship.cluster.placement import Placement

DIGEST = "a" * 64
IMAGE = f"registry.example.com/models/churn@sha256:{'b' * 64}"
ACCESS = {"keys.json": b'{"keys": []}', "peppers/pepper-1": b"00" * 32, "metrics.key": b"my_live_scraper\n"}
#: One of every way in, with all that can be said of it.
PLACEMENTS = {
    "plain": Placement(namespace="ml"),
    "ingress": Placement(
        namespace="ml",
        route="ingress",
        host="api.example.com",
        tls_secret="api-tls",
        pull_secret="pull",
        monitoring=True,
        requests_per_second=50,
        callers="monitoring,ingress-nginx",
    ),
    "gateway": Placement(
        namespace="ml",
        route="gateway",
        gateway="infra/web",
        host="api.example.com",
        grpc_host="grpc.example.com",
        models="fetched",
        models_from="oci://registry.example.com:5000/models",
        pull_secret="pull",
        node_selector="disk=ssd,example.com/pool=serving",
    ),
    "buckets": Placement(namespace="ml", models="fetched", models_from="s3://bucket/models", models_secret="s3"),
}


def release(number: int = 1, canary: int = 0, source: str = "", **capacity: Any) -> Release:
    """A release of one model."""
    version = PlannedVersion(number, DIGEST, f"{layout.BUNDLES}/{DIGEST}")
    plan = layout.placed(Plan(models=(PlannedModel("churn", number, (version,)),)))
    return Release(
        deployment="churn",
        target="prod",
        number=number,
        models=(Shipped(name="churn", version=number, digest=DIGEST, source=source),),
        image=IMAGE,
        plan=plan,
        capacity=Capacity(**capacity),
        canary=canary,
    )


def fitting(placement: Placement, **more: Any) -> Release:
    """A release for this placement: with a source, where models are fetched."""
    source = f"{placement.fetched_from}/churn@sha256:{DIGEST}" if placement.fetched_from else ""
    return release(source=source, **more)


def other_plan(of: Release) -> Release:
    """The same with another plan for the same models."""
    limits = msgspec.structs.replace(of.plan.limits, body_bytes=1024)
    return msgspec.structs.replace(of, plan=msgspec.structs.replace(of.plan, limits=limits))
