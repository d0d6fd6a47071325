"""A number of an evaluation. It stands alone, so that who lists versions imports no arrays."""

from __future__ import annotations

import msgspec


class Metric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number of the evaluation on the test rows, beside what a naive baseline reaches."""

    name: str
    value: float
    baseline: float | None = None
    higher_is_better: bool = True
