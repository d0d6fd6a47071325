"""Orders arrive as they were given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelyard.guard.tls import Files
from modelyard.serve.orders import Orders


def test_there_and_back() -> None:
    orders = Orders(
        worker=1,
        workers=2,
        parent=77,
        cores=3,
        plan=Path("/home/a b/'plan'.json"),
        run=Path("/tmp/ü"),
        contracts="usual,vertex",
        repository="none",
        drain_delay_s=0.5,
        grace_s=30.0,
    )
    assert Orders.from_json(orders.to_json()) == orders
    for tls in (Files(Path("/c"), Path("/k")), Files(Path("/c"), Path("/k"), Path("/a"), required=True, oldest="1.2")):
        assert Orders.from_json(replace(orders, tls=tls).to_json()).tls == tls
