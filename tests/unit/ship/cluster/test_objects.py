from __future__ import annotations

import base64
from typing import Any

import kubernetes_validate
import pytest

from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.ship.cluster.objects import by_file, objects, secrets, shown
from modelyard.ship.cluster.pods import MANAGED_BY, NAME, RELEASE
from tests.placed import ACCESS, PLACEMENTS, fitting, release
from tests.standin.schemas import check

Item = dict[str, Any]


def items(name: str) -> list[Item]:
    """All objects of this placement, with a canary where one can be."""
    placement = PLACEMENTS[name]
    first = fitting(placement, replicas=2, max_replicas=6, cpus=0.5)
    canary = None if placement.route == "none" else fitting(placement, number=2, canary=10)
    return [*secrets(first, placement, ACCESS), *objects(first, canary, placement)]


@pytest.mark.parametrize("version", ["1.27", "1.31", "1.34", "1.37"])
@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_object_is_what_kubernetes_schemas_say(name: str, version: str) -> None:
    for item in items(name):
        check(item, version)


def test_the_published_validator_agrees() -> None:
    """`tests.standin` reads its schemas; this is the program itself."""
    for item in items("ingress"):
        if item["kind"] != "ServiceMonitor":
            assert kubernetes_validate.validate(item, "1.34", strict=True) == "1.34"
    wrong = {**items("plain")[0], "spec": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_object_says_whose_it_is(name: str) -> None:
    for item in items(name):
        labels = item["metadata"]["labels"]
        assert (labels[NAME], labels[MANAGED_BY]) == ("churn", "modelyard")
        assert labels[RELEASE] in {"1", "2"}
        assert item["metadata"]["namespace"] == "ml"


def test_objects_come_in_the_order_in_which_they_need_each_other() -> None:
    kinds = [item["kind"] for item in items("ingress")]
    assert kinds[:3] == ["Secret"] * 3
    assert kinds.index("ConfigMap") < kinds.index("Deployment") < kinds.index("HorizontalPodAutoscaler")
    assert kinds[-2:] == ["Ingress", "Ingress"]
    names = [shown(item) for item in items("gateway")]
    assert len(set(names)) == len(names)
    assert list(by_file(items("plain"))) == sorted(by_file(items("plain")))


def test_what_lets_callers_in_is_in_secrets_and_the_scrapers_key_in_its_own() -> None:
    found = {item["metadata"]["name"]: item["data"] for item in secrets(release(), PLACEMENTS["ingress"], ACCESS)}
    plain = {name: {key: base64.b64decode(text) for key, text in data.items()} for name, data in found.items()}
    assert plain == {
        "churn-access": {"keys.json": b'{"keys": []}'},
        "churn-peppers": {"pepper-1": b"00" * 32},
        "churn-metrics": {"metrics.key": b"my_live_scraper"},  # a line's end would be part of the key
    }
    assert len(secrets(release(), PLACEMENTS["plain"], ACCESS)) == 2
    with pytest.raises(InvalidRequest, match="no key that may read metrics"):
        secrets(release(), PLACEMENTS["ingress"], {"keys.json": b"{}"})
    with pytest.raises(InvalidRequest, match="where no Secret can put it"):
        secrets(release(), PLACEMENTS["plain"], {"deep/er/file": b""})


def test_there_are_more_replicas_only_where_there_may_be() -> None:
    kinds = [item["kind"] for item in objects(release(replicas=2), None, PLACEMENTS["plain"])]
    assert "HorizontalPodAutoscaler" not in kinds
    scaled = {item["kind"]: item for item in objects(release(replicas=2, max_replicas=4), None, PLACEMENTS["ingress"])}
    spec = scaled["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
    assert [metric["type"] for metric in spec["metrics"]] == ["Resource", "Pods"]
    assert spec["metrics"][1]["pods"]["target"] == {"type": "AverageValue", "averageValue": "50"}
    assert "replicas" not in scaled["Deployment"]["spec"]


def test_the_scraper_asks_with_its_key_and_meets_every_pod() -> None:
    monitor = next(item for item in items("ingress") if item["kind"] == "ServiceMonitor")
    endpoint = monitor["spec"]["endpoints"][0]
    assert endpoint["authorization"]["credentials"] == {"name": "churn-metrics", "key": "metrics.key"}
    services = [item for item in items("ingress") if item["kind"] == "Service"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert len(services) == 2
    assert all(wanted.items() <= item["metadata"]["labels"].items() for item in services)
    assert all(endpoint["port"] in {port["name"] for port in item["spec"]["ports"]} for item in services)


def test_a_canary_needs_a_route() -> None:
    with pytest.raises(Conflict, match="cannot run a canary") as caught:
        objects(release(), release(2, canary=10), PLACEMENTS["plain"])
    assert "route=gateway" in caught.value.hint
