from __future__ import annotations

import base64
import copy
from typing import Any

from modelyard.ship.cluster.fields import differences
from modelyard.ship.cluster.objects import secrets
from modelyard.ship.cluster.pods import STABLE, deployment
from tests.placed import ACCESS, PLACEMENTS, release


def there() -> dict[str, Any]:
    """A Deployment as a cluster gives it back."""
    item = copy.deepcopy(deployment(release(), PLACEMENTS["plain"], STABLE, 300))
    item["metadata"] |= {"uid": "1", "resourceVersion": "7", "generation": 2, "managedFields": [{}]}
    item["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "3"}
    item["status"] = {"replicas": 1}
    return item


def test_what_the_cluster_writes_and_the_number_of_a_release_are_no_difference() -> None:
    after = there()
    after["metadata"] |= {"resourceVersion": "8", "generation": 3, "managedFields": []}
    after["metadata"]["labels"]["modelyard/release"] = "2"
    after["spec"]["template"]["spec"]["nodeSelector"] = {}
    assert differences(there(), after) == ()


def test_fields_are_told_shortly_by_the_names_of_what_they_are_in() -> None:
    after = there()
    container = after["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "other@sha256:1"
    container["args"] = [*container["args"], "--no-grpc"]
    container["readinessProbe"]["periodSeconds"] = 9
    after["spec"]["replicas"] = 3
    after["spec"]["template"]["spec"]["volumes"].pop()
    lines = differences(there(), after)
    assert f"image: registry.example.com/models/churn@sha256:{'b' * 12}… -> other@sha256:1" in lines
    assert "replicas: 1 -> 3" in lines
    assert "readinessProbe.periodSeconds: 2 -> 9" in lines
    assert any(line.startswith("pod.volumes[tmp].") and line.endswith("-> (none)") for line in lines)
    assert any(line.endswith("--workers 1 --no-grpc") for line in lines)


def test_of_a_secret_only_that_it_is_another_one() -> None:
    before = secrets(release(), PLACEMENTS["plain"], ACCESS)[0]
    after = secrets(release(), PLACEMENTS["plain"], {**ACCESS, "keys.json": b"my_live_other", "tokens.json": b"{}"})[0]
    lines = differences(before, after)
    assert len(lines) == 2
    assert all("sha256 " in line for line in lines)
    for raw in (b"my_live_other", ACCESS["keys.json"]):
        assert raw.decode() not in str(lines)
        assert base64.b64encode(raw).decode() not in str(lines)


def test_many_differences_are_counted() -> None:
    after = there()
    after["metadata"]["annotations"] |= {f"key-{number}": "x" for number in range(40)}
    lines = differences(there(), after)
    assert len(lines) == 13
    assert lines[-1] == "... and 28 more"
