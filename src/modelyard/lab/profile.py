"""The profile of a data set: what drift, forms and documents compare with later. `train` and `import` make one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.core.profile import FeatureProfile, Profile
from modelyard.core.signature import FeatureKind, Signature

BINS = 20
TOP = 50


def profile(
    columns: Mapping[str, Sequence[Any]], signature: Signature, predictions: Sequence[Any] | None = None
) -> Profile:
    """What these rows look like, feature by feature.

    Parameters
    ----------
    columns : mapping of str to sequence
        Feature name to its values, all of one length n >= 1: lists, arrays or Series. None and NaN are missing, and so
        is an empty text. Columns that are no feature are ignored.
    signature : Signature
        Says which features there are and of what kind.
    predictions : sequence of length n, optional
        The model's answers on the same rows: floats are profiled as numbers, anything else as categories.

    Returns
    -------
    Profile
        One `FeatureProfile` per feature; opaque tensors have none.

    Raises
    ------
    InvalidData
        A feature has no column, or two columns differ in length.

    Examples
    --------
    >>> from modelyard.core.signature import Feature, TensorSpec
    >>> from modelyard.core.tensor import Datatype
    >>> x = TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1,), features=(Feature(name="x"),))
    >>> made = profile({"x": [1.0, 2.0, None]}, Signature(inputs=(x,), outputs=(x,)))
    >>> made.features["x"].missing, made.features["x"].mean
    (1, 1.5)
    """
    absent = [feature.name for feature in signature.features if feature.name not in columns]
    if absent:
        raise InvalidData(what=f"no column for the input {absent[0]!r}")
    features = {feature.name: _BY_KIND[feature.kind](_listed(columns[feature.name])) for feature in signature.features}
    answers = None if predictions is None else _answers(predictions)
    lengths = {made.count for made in (*features.values(), *((answers,) if answers else ()))}
    if len(lengths) > 1:
        raise InvalidData(what="the columns to profile differ in length")
    return Profile(rows=lengths.pop() if lengths else 0, features=features, predictions=answers)


def numeric(values: Iterable[Any]) -> FeatureProfile:
    """The profile of numbers.

    Parameters
    ----------
    values : iterable of float, bool or None
        In the feature's own unit; None, NaN and infinity are missing.

    Returns
    -------
    FeatureProfile
        Bins are cut at the 0, 5, ... 100 % quantiles (linear interpolation, [1]_ definition 7), equal edges merged; a
        constant has one bin as wide as one float step. A figure too large for a float64 is left out.

    References
    ----------
    .. [1] R. J. Hyndman and Y. Fan, "Sample quantiles in statistical packages", The American Statistician, 1996.
    """
    table = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = table[np.isfinite(table)]
    missing = int(table.size - known.size)
    if not known.size:
        return FeatureProfile(count=int(table.size), missing=missing)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(known.mean()), float(known.std())
    edges = _edges(known)
    counts, _ = np.histogram(known, bins=edges)
    return FeatureProfile(
        count=int(table.size),
        missing=missing,
        minimum=float(known.min()),
        maximum=float(known.max()),
        mean=mean if np.isfinite(mean) else None,
        std=std if np.isfinite(std) else None,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def categorical(values: Iterable[Any]) -> FeatureProfile:
    """The profile of categories, truth values or labels: the `TOP` most frequent, ties in the order of their names.

    Parameters
    ----------
    values : iterable of str, bool, int or None
        None, NaN and the empty text are missing; a truth value is counted as ``true`` or ``false``.

    Returns
    -------
    FeatureProfile
    """
    listed = list(values)
    counts = Counter(_word(value) for value in listed if not _is_missing(value))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return FeatureProfile(
        count=len(listed),
        missing=len(listed) - counts.total(),
        categories=dict(ranked[:TOP]),
        other=sum(count for _, count in ranked[TOP:]),
    )


def _text(values: Iterable[Any]) -> FeatureProfile:
    """Free text is not kept: it may be personal, and no histogram of it says anything."""
    listed = list(values)
    return FeatureProfile(count=len(listed), missing=sum(_is_missing(value) for value in listed))


_BY_KIND: dict[FeatureKind, Callable[[Iterable[Any]], FeatureProfile]] = {
    FeatureKind.NUMBER: numeric,
    FeatureKind.INTEGER: numeric,
    FeatureKind.BOOLEAN: categorical,
    FeatureKind.CATEGORY: categorical,
    FeatureKind.TEXT: _text,
}


def _answers(predictions: Sequence[Any]) -> FeatureProfile:
    values = _listed(predictions)
    numbers = all(isinstance(value, float) or value is None for value in values)
    return numeric(values) if numbers else categorical(values)


def _edges(known: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.quantile(known, np.arange(BINS + 1) / BINS)
    ends = (known.min(), known.max())
    edges = np.unique(np.clip([*ends, *edges[np.isfinite(edges)]], *ends))
    return edges if edges.size > 1 else np.array([edges[0], np.nextafter(edges[0], np.inf)])


def _listed(values: Sequence[Any]) -> list[Any]:
    """Plain Python values, whether they came as a list, an array or a Series; ``[n, 1]`` counts as n."""
    if not hasattr(values, "tolist"):
        return list(values)
    array = np.asarray(values)
    plain: list[Any] = array.reshape(array.shape[0], -1)[:, 0].tolist() if array.ndim > 1 else array.tolist()
    return plain


def _is_missing(value: Any) -> bool:
    return value is None or value != value or value == ""  # NaN differs from itself


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, (bool, np.bool_)) else str(value)
