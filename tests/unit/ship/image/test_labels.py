"""What an image says of itself."""

from __future__ import annotations

import modelyard
from modelyard.core.plan import Plan
from modelyard.core.release import Shipped
from modelyard.ship.image.labels import labels_of, version_of
from modelyard.ship.shipment import Shipment

ONE = Shipped(name="churn", version=7, digest="a" * 64)
OTHER = Shipped(name="price", version=3, digest="b" * 64)


def shipment(*models: Shipped) -> Shipment:
    return Shipment("shop", models, {}, Plan(models=()))


def test_its_own_and_the_operators() -> None:
    found = labels_of(shipment(ONE, OTHER), {"team": "risk"}, base="python:3.11-slim", base_digest="sha256:ab")
    assert found == {
        "org.opencontainers.image.title": "shop",
        "org.opencontainers.image.version": version_of(shipment(ONE, OTHER)),
        "org.opencontainers.image.description": "Modelyard serves churn@7, price@3",
        "org.opencontainers.image.base.name": "python:3.11-slim",
        "org.opencontainers.image.base.digest": "sha256:ab",
        "team": "risk",
    }


def test_what_nobody_knows_is_left_out_and_the_operator_has_the_last_word() -> None:
    found = labels_of(shipment(ONE), {"org.opencontainers.image.title": "Churn"})
    assert found["org.opencontainers.image.title"] == "Churn"
    assert "org.opencontainers.image.base.name" not in found
    assert version_of(shipment(ONE)) == found["org.opencontainers.image.version"] == "7"
    assert version_of(shipment()) == modelyard.__version__
