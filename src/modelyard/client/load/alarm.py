"""Wakes an event loop at a moment of `time.perf_counter_ns`: within microseconds on Linux, elsewhere within 1-2 ms.

Event loops round their timers to milliseconds, which would be added to every time that an open loop measures.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from time import perf_counter_ns
from typing import Protocol

_MONOTONIC, _FLAGS, _ABSOLUTE = 1, os.O_NONBLOCK | os.O_CLOEXEC, 1


class Alarm(Protocol):
    """Calls once for each `set`, unless it is set anew before."""

    def set(self, at_ns: int) -> None:
        """Ring then; at once when that is past."""
        ...

    def close(self) -> None:
        """Never ring again."""
        ...


def alarm(ring: Callable[[], None]) -> Alarm:
    """The best one that this system has, for the running loop."""
    return _Kernel(ring) if sys.platform == "linux" else _Loop(ring)


class _Spec(ctypes.Structure):
    """The kernel's ``struct itimerspec``."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("at_s", ctypes.c_long),
        ("at_ns", ctypes.c_long),
    )


class _Kernel:
    """timerfd on the clock that perf_counter reads."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._spec = _Spec()
        self._fd = self._libc.timerfd_create(_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._rang)

    def set(self, at_ns: int) -> None:
        self._spec.at_s, self._spec.at_ns = divmod(max(1, at_ns), 1_000_000_000)
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._spec), None)

    def _rang(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set anew since
            return
        self._ring()

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


class _Loop:
    """The loop's own timer."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        self.close()
        self._handle = self._loop.call_later(max(0, at_ns - perf_counter_ns()) / 1e9, self._ring)

    def close(self) -> None:
        if self._handle:
            self._handle.cancel()
