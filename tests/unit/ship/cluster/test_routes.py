from __future__ import annotations

from typing import Any

import pytest

from modelyard.ship.cluster.routes import network_policy, routes, service, share, url
from tests.placed import PLACEMENTS, fitting, release


def backends(route: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [(each["name"], each["port"], each["weight"]) for each in route["spec"]["rules"][0]["backendRefs"]]


def test_a_gateway_shares_requests_out_by_weights() -> None:
    placement = PLACEMENTS["gateway"]
    alone = routes(release(), None, placement)
    assert [item["kind"] for item in alone] == ["HTTPRoute", "GRPCRoute"]
    assert [backends(item) for item in alone] == [[("churn", 8080, 100)], [("churn", 8081, 100)]]
    assert alone[0]["spec"]["parentRefs"][0]["namespace"] == "infra"
    both = routes(release(), release(2, canary=10), placement)
    assert backends(both[0]) == [("churn", 8080, 90), ("churn-canary", 8080, 10)]
    assert (share(alone), share(both[:1])) == (0, 10)


def test_an_ingress_has_another_one_for_a_canary() -> None:
    placement = PLACEMENTS["ingress"]
    alone = routes(release(), None, placement)
    assert [item["spec"]["rules"][0]["host"] for item in alone] == ["api.example.com"]
    assert alone[0]["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/proxy-body-size": "16777216"}
    both = routes(release(), release(2, canary=25), placement)
    assert [item["metadata"]["name"] for item in both] == ["churn", "churn-canary"]
    assert both[0] == alone[0]
    assert both[1]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "25"
    assert (share(alone), share(both)) == (0, 25)
    assert alone[0]["spec"]["tls"] == [{"hosts": ["api.example.com"], "secretName": "api-tls"}]


def test_pods_connect_to_nobody_unless_models_are_fetched() -> None:
    plain = network_policy(release(), PLACEMENTS["plain"])["spec"]
    assert plain["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in plain
    assert plain["ingress"][0]["from"] == [{"namespaceSelector": {}}]
    assert [each["port"] for each in plain["ingress"][0]["ports"]] == [8080, 8081]
    fetched = network_policy(fitting(PLACEMENTS["gateway"]), PLACEMENTS["gateway"])["spec"]["egress"]
    assert [each["port"] for rule in fetched for each in rule["ports"]] == [53, 53, 5000]
    bucket = network_policy(fitting(PLACEMENTS["buckets"]), PLACEMENTS["buckets"])["spec"]["egress"]
    assert bucket[1]["ports"][0]["port"] == 443


def test_the_gateway_and_the_scraper_may_each_have_a_namespace_of_their_own() -> None:
    (rule,) = network_policy(release(), PLACEMENTS["ingress"])["spec"]["ingress"][0]["from"]
    (chosen,) = rule["namespaceSelector"]["matchExpressions"]
    assert (chosen["key"], chosen["operator"]) == ("kubernetes.io/metadata.name", "In")
    assert chosen["values"] == ["ingress-nginx", "monitoring"]


def test_a_service_tells_gateways_that_grpc_comes_without_tls() -> None:
    ports = {port["name"]: port for port in service(release(), PLACEMENTS["plain"], "stable")["spec"]["ports"]}
    assert ports["grpc"]["appProtocol"] == "kubernetes.io/h2c"
    assert ports["http"]["targetPort"] == "http"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("plain", "http://churn.ml.svc:8080"),
        ("ingress", "https://api.example.com"),
        ("gateway", "https://api.example.com"),
    ],
)
def test_where_it_answers(name: str, where: str) -> None:
    assert url("churn", PLACEMENTS[name]) == where
