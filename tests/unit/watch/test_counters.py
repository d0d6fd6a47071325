"""Counters in shared memory: many processes, no lost count; a successor goes on where its predecessor died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.watch.counters import BUCKETS_S, OTHERS, SLOTS, UNROUTED, Page, Totals, read_totals

WRITER = """
import sys
from pathlib import Path
from modelyard.watch.counters import Page
page = Page(Path(sys.argv[1]), int(sys.argv[2]))
first, second = page.counter("a@1"), page.counter("b@2")
for at in range(int(sys.argv[3])):
    first.ok(3, [0.0003])
    second.invalid()
    second.failed()
"""


def totals(**counts: int) -> dict[str, int]:
    return {"ok": 0, "invalid": 0, "failed": 0, "rows": 0, **counts}


def counts(found: Totals) -> dict[str, int]:
    return {"ok": found.ok, "invalid": found.invalid, "failed": found.failed, "rows": found.rows}


def test_many_processes_add_up(tmp_path: Path) -> None:
    times = 4_000
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(worker), str(times)]) for worker in range(4)
    ]
    while any(writer.poll() is None for writer in writers):
        for found in read_totals(tmp_path).values():  # reading meanwhile disturbs nobody
            assert 0 <= found.ok <= 4 * times
    assert [writer.returncode for writer in writers] == [0] * 4
    sums = read_totals(tmp_path)
    assert counts(sums["a@1"]) == totals(ok=4 * times, rows=12 * times)
    assert counts(sums["b@2"]) == totals(invalid=4 * times, failed=4 * times)
    assert sums["a@1"].seconds == pytest.approx(4 * times * 0.0003)
    assert sum(sums["a@1"].buckets) == sums["a@1"].buckets[2] == 4 * times


def test_a_successor_goes_on(tmp_path: Path) -> None:
    for generation in range(1, 4):
        page = Page(tmp_path, 0)  # never closed, as a killed worker would leave it
        page.counter("a@1").ok(1, [0.5])
        page.counter(f"new@{generation}").invalid()
        assert read_totals(tmp_path)["a@1"].ok == generation
    assert [read_totals(tmp_path)[f"new@{generation}"].invalid for generation in (1, 2, 3)] == [1, 1, 1]


def test_one_label_is_one_counter(tmp_path: Path) -> None:
    page = Page(tmp_path, 0)
    page.counter("a@1").failed()
    page.counter("a@1").failed()
    page.counter(UNROUTED).invalid()
    sums = read_totals(tmp_path)
    assert list(sums) == ["a@1", UNROUTED]
    assert sums["a@1"].failed == 2


def test_what_no_longer_fits_is_counted_together(tmp_path: Path) -> None:
    page = Page(tmp_path, 0)
    for _ in range(2):
        for at in range(300):
            page.counter(f"model@{at}").ok(1, [0.1])
    for place in (tmp_path, tmp_path):
        sums = read_totals(place)
        assert len(sums) == SLOTS
        assert {label: found.ok for label, found in sums.items() if found.ok != 2} == {OTHERS: 2 * (300 - SLOTS + 1)}
    again = Page(tmp_path, 0)
    again.counter("model@0").ok(1, [0.1])
    again.counter("model@299").ok(1, [0.1])
    assert read_totals(tmp_path)["model@0"].ok == 3
    assert read_totals(tmp_path)[OTHERS].ok == 2 * (300 - SLOTS + 1) + 1


def test_a_long_label_is_cut_and_harms_no_neighbour(tmp_path: Path) -> None:
    page = Page(tmp_path, 0)
    for label in ("a@1", "x" * 500, "é" * 100, "b@1"):
        page.counter(label).ok(1, [0.1])
    sums = read_totals(tmp_path)
    assert [found.ok for found in sums.values()] == [1, 1, 1, 1]
    assert {"a@1", "b@1"} < set(sums)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.0001, 0), (0.00011, 1), (10.0, len(BUCKETS_S) - 1), (11.0, len(BUCKETS_S))]
)
def test_a_time_falls_into_the_bucket_that_bounds_it(tmp_path: Path, seconds: float, bucket: int) -> None:
    Page(tmp_path, 0).counter("a@1").ok(1, [seconds])
    assert read_totals(tmp_path)["a@1"].buckets[bucket] == 1


@pytest.mark.parametrize(
    "seconds",
    [
        [0.0003],
        [0.0003, 0.0003, 0.00026],  # one bucket
        [0.0, 0.0001, 0.00011, 3.0, 11.0, 3.0],  # several
        [BUCKETS_S[4], BUCKETS_S[4] * 1.01],  # a bound and what is just beyond
        list(BUCKETS_S),
    ],
)
def test_several_at_once_are_as_many_one_by_one(tmp_path: Path, seconds: list[float]) -> None:
    page, times = Page(tmp_path, 0), len(seconds)
    page.counter("together@1").ok(3 * times, seconds, (0.5 * times, 0.25 * times, 2.0 * times), 17.0)
    for each in seconds:
        page.counter("apart@1").ok(3, [each], (0.5, 0.25, 2.0), 17.0)
    found = read_totals(tmp_path)
    together, apart = found["together@1"], found["apart@1"]
    assert counts(together) == counts(apart) == totals(ok=times, rows=3 * times)
    assert together.buckets == apart.buckets
    assert sum(together.buckets) == times
    assert together.seconds == pytest.approx(apart.seconds, rel=1e-12)
    assert (together.decode_s, together.queue_s, together.infer_s) == (0.5 * times, 0.25 * times, 2.0 * times)
    assert (apart.decode_s, apart.queue_s, apart.infer_s) == (0.5 * times, 0.25 * times, 2.0 * times)
    assert together.last_s == apart.last_s == 17.0


def test_half_made_and_foreign_files_are_no_pages(tmp_path: Path) -> None:
    (tmp_path / "counters-7").write_bytes(b"\0" * 10)
    (tmp_path / "plan.json").write_bytes(b"x")
    assert read_totals(tmp_path) == {}
    assert read_totals(tmp_path / "nowhere") == {}
    Page(tmp_path, 7).counter("a@1").invalid()
    assert read_totals(tmp_path)["a@1"].invalid == 1


def test_a_page_is_private(tmp_path: Path) -> None:
    Page(tmp_path, 0)
    assert (tmp_path / "counters-0").stat().st_mode & 0o777 == 0o600
