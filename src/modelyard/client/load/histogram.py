"""Times, counted in buckets that grow with them: a fixed size whatever their number, and a stated resolution."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

_BITS = 7
_HALF = 1 << _BITS
_LONGEST_NS = (1 << 43) - 1  # 2.4 hours
_SIZE = (43 - _BITS - 1) * _HALF + 2 * _HALF

#: Largest relative error of a percentile: half of the widest bucket.
RESOLUTION = 1 / (2 * _HALF)


class Histogram:
    """Times in nanoseconds. Below 256 ns each has a bucket of its own; above, a bucket is 1/128 of its time wide.

    `count`, `total_ns` and `longest_ns` are exact, percentiles are within `RESOLUTION` (0.4 %).

    References
    ----------
    .. [1] G. Tene, *HdrHistogram: a high dynamic range histogram*, 2012: the same layout of buckets.
    """

    __slots__ = ("_counts", "count", "longest_ns", "total_ns")

    def __init__(self) -> None:
        self._counts = [0] * _SIZE
        self.count = 0
        self.total_ns = 0
        self.longest_ns = 0

    def add(self, ns: int) -> None:
        """Count one time."""
        if ns > self.longest_ns:
            self.longest_ns = ns
        if ns > _LONGEST_NS:
            ns = _LONGEST_NS
        self.count += 1
        self.total_ns += ns
        shift = ns.bit_length() - _BITS - 1
        # The upper 8 bits of the time, and how many bits lie below them.
        self._counts[(shift << _BITS) + (ns >> shift) if shift > 0 else ns] += 1

    def percentile(self, share: float) -> float:
        """The time in nanoseconds that a share (0 to 1) of all times does not pass: the nearest rank; 0 of none.

        Parameters
        ----------
        share : float
            0.5 for the median, 0.99 for p99.

        Returns
        -------
        float
            Nanoseconds: the middle of the bucket where that rank lies, never above the longest time.
        """
        rank = min(self.count, max(1, ceil(share * self.count)))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return min(_middle(index), float(self.longest_ns))
        return 0.0

    @property
    def mean_ns(self) -> float:
        """The mean; 0 of none."""
        return self.total_ns / self.count if self.count else 0.0

    def counts(self) -> dict[int, int]:
        """Buckets that are not empty."""
        return {index: count for index, count in enumerate(self._counts) if count}

    def merge(self, counts: Mapping[int, int], total_ns: int, longest_ns: int) -> None:
        """Add the times of another histogram."""
        for index, count in counts.items():
            self._counts[index] += count
            self.count += count
        self.total_ns += total_ns
        self.longest_ns = max(self.longest_ns, longest_ns)


def _middle(index: int) -> float:
    if index < 2 * _HALF:
        return float(index)
    shift = (index >> _BITS) - 1
    low = (index - (shift << _BITS)) << shift
    return low + ((1 << shift) - 1) / 2
