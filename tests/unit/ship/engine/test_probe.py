"""The model that images without one are tried with."""

from __future__ import annotations

from modelyard.model.golden import check
from modelyard.model.runtime import load
from modelyard.ship.engine.probe import probe


def test_it_answers_what_it_says() -> None:
    bundle = probe()
    assert check(load(bundle), bundle.samples, "probe") == 2
    assert probe().digest == bundle.digest
