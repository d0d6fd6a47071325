"""The profile: what training or sample data looked like, per feature. The reference for drift, forms and documents."""

from __future__ import annotations

import msgspec


class FeatureProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One feature of the data.

    Parameters
    ----------
    count : int
        Rows looked at, missing ones included.
    missing : int
        Rows without a value.
    minimum, maximum, mean, std : float or None
        Numbers only, in the feature's own unit; `std` is the population's (ddof 0).
    edges : tuple of float
        Numbers only: quantile edges, ascending and distinct, k+1 of them.
    counts : tuple of int
        Rows per bin ``[edges[i], edges[i+1])``, the last bin closed; k of them, adding up to ``count - missing``.
    categories : dict of str to int
        Categories and booleans only: the 50 most frequent values with their rows.
    other : int
        Rows with any further value.
    """

    count: int
    missing: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    categories: dict[str, int] = {}
    other: int = 0


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All features, and what the model answered on the same rows (`predictions`)."""

    rows: int
    features: dict[str, FeatureProfile]
    predictions: FeatureProfile | None = None
