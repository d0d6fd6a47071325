"""``python -m tests.conformance [WORD]...``: the table client x feature; exits with 1 when a row fails."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.conformance import Check, checks
from tests.conformance.servers import Servers

_SHOWN = 160  # characters of a problem


def main(words: Sequence[str]) -> int:
    """Run the rows that contain every word, print each as it is done; the exit code."""
    rows = [row for row in checks() if all(word.lower() in row.name.lower() for word in words)]
    if not rows:
        print("no row contains " + " and ".join(repr(word) for word in words), file=sys.stderr)
        return 2
    widths = max(len(row.client) for row in rows), max(len(row.feature) for row in rows)
    print(f"{'CLIENT':<{widths[0]}}  {'FEATURE':<{widths[1]}}  RESULT   SECONDS")
    failed = 0
    with TemporaryDirectory(prefix="conformance-") as folder, Servers(Path(folder)) as servers:
        for row in rows:
            problem, seconds = _try(row, servers)
            failed += bool(problem)
            result = "fail" if problem else "pass"
            line = f"{row.client:<{widths[0]}}  {row.feature:<{widths[1]}}  {result}    {seconds:8.2f}  {problem}"
            print(line.rstrip(), flush=True)
    print(f"{len(rows) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _try(row: Check, servers: Servers) -> tuple[str, float]:
    """What is wrong, in one line (nothing when it passed), and how long the check took, without starting servers."""
    started = perf_counter()
    try:
        served = servers.get(row.server)
        started = perf_counter()
        row.run(served)
    except Exception as exc:  # whatever a client raises makes the row fail
        first = next((line.strip() for line in str(exc).splitlines() if line.strip()), "")
        return f"{type(exc).__name__}: {first}"[:_SHOWN], perf_counter() - started
    return "", perf_counter() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
