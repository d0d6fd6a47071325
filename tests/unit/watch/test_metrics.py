"""Metrics as Prometheus reads them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.watch.counters import BUCKETS_S, OTHERS, UNROUTED, Totals
from modelyard.watch.metrics import exposition

BUCKETS = [1] * (len(BUCKETS_S) + 1)
SERVED = Totals(ok=17, invalid=2, failed=1, rows=123_456_789_012, seconds=123456.789012345, buckets=BUCKETS)
REFUSED = Totals(ok=0, invalid=5, failed=0, rows=0, seconds=0.0, buckets=[0] * len(BUCKETS))


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_what_was_counted() -> None:
    gauges = {"modelyard_connections": ("Open connections.", 12_345_678)}
    text = exposition({"price-2@3": SERVED, UNROUTED: REFUSED, "churn@1": REFUSED}, gauges)
    found = samples(text)
    price = (("model", "price-2"), ("version", "3"))
    assert found["modelyard_rows_total", price] == 123_456_789_012
    assert found["modelyard_request_seconds_sum", price] == 123456.789012345
    assert found["modelyard_request_seconds_count", price] == 17
    for outcome, value in (("ok", 17), ("invalid", 2), ("failed", 1)):
        assert found["modelyard_requests_total", tuple(sorted((*price, ("outcome", outcome))))] == value
    assert found["modelyard_unrouted_requests_total", (("outcome", "invalid"),)] == 5
    assert found["modelyard_connections", ()] == 12_345_678
    assert ("modelyard_requests_total", (("model", "-"), ("outcome", "ok"), ("version", ""))) not in found


def test_looks_into_the_cache_are_told() -> None:
    looked = Totals(ok=9, invalid=0, failed=0, rows=9, seconds=1.0, buckets=BUCKETS, hits=5, misses=4)
    found = samples(exposition({"a@1": looked, "b@1": SERVED}, {}))
    for name, label, value in (("hits", "a", 5), ("misses", "a", 4), ("hits", "b", 0), ("misses", "b", 0)):
        assert found[f"modelyard_cache_{name}_total", (("model", label), ("version", "1"))] == value


def test_histograms_are_cumulative() -> None:
    families = {family.name: family for family in text_string_to_metric_families(exposition({"a@1": SERVED}, {}))}
    histogram = families["modelyard_request_seconds"]
    buckets = [sample for sample in histogram.samples if sample.name.endswith("_bucket")]
    assert [sample.value for sample in buckets] == list(range(1, 18))
    assert [float(sample.labels["le"]) for sample in buckets] == [*BUCKETS_S, float("inf")]
    assert {family.type for family in families.values()} == {"counter", "histogram"}
    assert all(family.documentation for family in families.values())


@pytest.mark.parametrize("totals", [{}, {OTHERS: SERVED}, {UNROUTED: REFUSED}])
def test_odd_labels_are_readable(totals: dict[str, Totals]) -> None:
    text = exposition(totals, {})
    assert text.endswith("\n")
    samples(text)
    assert samples(exposition({OTHERS: SERVED}, {}))["modelyard_rows_total", (("model", "others"), ("version", ""))]
