from __future__ import annotations

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.targets import read_options

GOOD = {"repository": "registry.example.com:5000/team/models", "namespace": "ml"}


@pytest.mark.parametrize(
    "settings",
    [
        {"namespace": ""},
        {"namespace": "My Space"},
        {"namespace": "a\nb"},
        {"repository": "https://registry.example.com/models"},
        {"repository": "registry.example.com/models:latest"},
        {"repository": "registry.example.com/models\n  x: y"},
        {"pull_secret": "Not A Name"},
        {"route": "magic"},
        {"route": "ingress"},
        {"route": "ingress", "host": "api_example"},
        {"route": "gateway"},
        {"route": "gateway", "gateway": "a/b/c"},
        {"route": "gateway", "gateway": "web", "host": "x.example.com", "grpc_host": "x.example.com"},
        {"grpc_host": "grpc.example.com"},
        {"callers": "*"},
        {"monitoring": "perhaps"},
        {"requests_per_second": "-1"},
        {"models": "somewhere"},
        {"models_from": "ftp://host/x"},
        {"models_from": "oci://user:secret@registry.example.com/x"},
        {"models_from": "oci://registry.example.com/x y"},
        {"node_selector": "disk"},
        {"node_selector": "disk=ssd\n"},
        {"timeout_s": "5"},
        {"nonsense": "1"},
    ],
)
def test_what_no_cluster_would_take_is_refused_by_name(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_options("kubernetes", GOOD | settings)
    said = f"{caught.value.detail} {caught.value.cause}"
    assert any(name in said or value in said for name, value in settings.items())


def test_settings_are_read_from_text() -> None:
    settings = {
        "monitoring": "true",
        "route": "gateway",
        "gateway": "infra/web",
        "timeout_s": "60",
        "take_over": "true",
    }
    options = read_options("kubernetes", GOOD | settings | {"node_selector": "disk=ssd,example.com/pool=a"})
    assert isinstance(options, Placement)
    assert (options.monitoring, dict(options.nodes)) == (True, {"disk": "ssd", "example.com/pool": "a"})


def test_models_come_from_the_repository_unless_said_otherwise() -> None:
    assert Placement(repository="r.example.com/m").fetched_from == ""
    assert Placement(repository="r.example.com/m", models="fetched").fetched_from == "oci://r.example.com/m"
    assert Placement(models="fetched", models_from="s3://b/x").fetched_from == "s3://b/x"


@pytest.mark.parametrize("name", ["models_from", "repository", "host"])
def test_a_password_that_somebody_typed_is_not_repeated(name: str) -> None:
    with pytest.raises(ValueError, match=r"…@registry\.example") as caught:
        Placement(**{"models": "fetched", name: "s3://me:hunter2@registry.example/ml"})
    assert "hunter2" not in str(caught.value)
