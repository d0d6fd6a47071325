"""What a check of the installation says, whichever part of it was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What came of one check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """One line of the report: where it belongs, how it is, what was seen, and the command that mends it."""

    group: str
    state: State
    text: str
    fix: str = ""
