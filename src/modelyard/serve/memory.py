"""A worker's memory around a load: what is there to stay is not looked at, what only loading ran is let go."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_LARGE_BYTES = 8 << 20
_MADV_DONTNEED = 4


def settle() -> None:
    """Let the garbage collector work from now on, on what comes from now on.

    Without this its first turn would look at everything that starting made: 35 000 objects, 15 ms during which nobody
    is answered. On the hot path it costs 0.1 µs of an answer's 9, and another threshold changes nothing.
    """
    gc.freeze()
    gc.enable()


def sweep() -> None:
    """Collect now, and what was there at the start too: a model that was unloaded is in rings, and may be large."""
    gc.unfreeze()
    gc.collect()


def let_go_of_code() -> int:
    """Give back the pages of large libraries' code, nearly all of which ran once, to load models; how many were mapped.

    ONNX Runtime touches 20 MiB of its code while it loads, and 5 MiB of them ever after, which the kernel brings back
    from its cache of files when they are needed: 0.3 ms once. Code was never written to, so nothing is lost.

    Returns
    -------
    int
        Bytes of code whose pages were given back, whether they had been touched or not; 0 but on Linux.
    """
    madvise = ctypes.CDLL(None).madvise
    given = 0
    for start, length in _code():
        if madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_DONTNEED) == 0:
            given += length
    return given


def _code() -> Iterator[tuple[int, int]]:
    """Where code of large libraries is mapped, and its length."""
    if not _MAPS.exists():
        return
    for line in _MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        span, rights, *rest = line.split(maxsplit=5)
        start, end = (int(edge, 16) for edge in span.split("-"))
        if rights == "r-xp" and rest[-1].startswith("/") and end - start >= _LARGE_BYTES:
            yield start, end - start
