from __future__ import annotations

import sys

import numpy as np
import pytest

from modelyard.client.load.histogram import RESOLUTION, Histogram

SHARES = (0.01, 0.5, 0.9, 0.99, 0.999, 1.0)


def _of(times: np.ndarray) -> Histogram:
    found = Histogram()
    for ns in times.tolist():
        found.add(ns)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.lognormal(12, 1.5, 4_999),
        lambda rng: 50_000 * (1 + rng.pareto(1.2, 4_999)),
        lambda rng: rng.uniform(1, 1e9, 4_999),
        lambda rng: rng.integers(0, 700, 4_999),
        lambda rng: np.full(17, 123_456_789),
    ],
    ids=["lognormal", "pareto", "uniform", "tiny", "one"],
)
def test_percentiles_are_numpys_within_the_resolution(draw, seed) -> None:  # type: ignore[no-untyped-def]
    times = draw(np.random.default_rng(seed)).astype(np.int64)
    found = _of(times)
    for share in SHARES:
        wanted = float(np.percentile(times, share * 100, method="inverted_cdf"))
        assert found.percentile(share) == pytest.approx(wanted, rel=RESOLUTION, abs=0.5), share
    assert found.longest_ns == times.max()
    assert found.mean_ns == pytest.approx(times.mean())
    assert found.count == len(times)


def test_every_bucket_is_as_narrow_as_promised() -> None:
    for power in range(1, 43):
        for ns in (2**power - 1, 2**power, 2**power + 1, 3 * 2 ** (power - 1)):
            one = Histogram()
            one.add(ns)
            one.longest_ns = 2**60  # so that the bucket's middle shows
            assert one.percentile(0.5) == pytest.approx(ns, rel=RESOLUTION)


def test_times_beyond_the_last_bucket_are_in_it() -> None:
    found = Histogram()
    found.add(10**15)
    found.add(10**14)
    assert found.longest_ns == 10**15
    assert found.percentile(0.5) == pytest.approx(2**43, rel=2 * RESOLUTION)


def test_memory_is_bounded() -> None:
    found = _of(np.random.default_rng(0).lognormal(14, 4, 20_000).astype(np.int64))
    assert sys.getsizeof(found._counts) < 50_000


def test_none() -> None:
    assert (Histogram().percentile(0.99), Histogram().mean_ns, Histogram().counts()) == (0.0, 0.0, {})


def test_merged_is_as_counted_together() -> None:
    times = np.random.default_rng(1).lognormal(12, 1, 2_000).astype(np.int64)
    parts = [_of(times[:500]), _of(times[500:])]
    whole = Histogram()
    for part in parts:
        whole.merge(part.counts(), part.total_ns, part.longest_ns)
    other = _of(times)
    assert whole.counts() == other.counts()
    assert (whole.count, whole.total_ns, whole.longest_ns) == (other.count, other.total_ns, other.longest_ns)
