"""Any model to a verified ONNX bundle: `lab` brings its own fitted estimators, `control` brings files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.model import formats
from modelyard.model.formats import Converted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Converted", "from_estimator"]


def from_estimator(estimator: Any, frame: pd.DataFrame, *, origin: str = "training") -> Converted:
    """Our own fitted scikit-learn estimator as ONNX, in this process, compared with it on the rows of `frame`.

    Parameters
    ----------
    estimator : fitted estimator or Pipeline
        Trusted: made in this process.
    frame : DataFrame
        Rows as the estimator takes them; their dtypes and ranges become the signature's.
    origin : str
        What the rows are, for the parity report: `training`, `sample` or `generated`.

    Returns
    -------
    Converted

    Raises
    ------
    NotConvertible
        There is no faithful translation.
    ParityFailed
        The translation answers differently.
    """
    converted: Converted = formats.backend("sklearn-pickle").from_estimator(estimator, frame, origin=origin)
    return converted
