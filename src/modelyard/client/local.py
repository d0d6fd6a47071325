"""A version from the registry, asked in this process: ``modelyard.load("churn@2").predict(frame)``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from modelyard.client._data import Rows, split
from modelyard.control.actions.predict import OpenModel, Prediction, open_model
from modelyard.core.settings import Settings


class Model:
    """A loaded version. Made by `load`.

    Parameters
    ----------
    opened : OpenModel
        What answers.
    """

    def __init__(self, opened: OpenModel) -> None:
        self._opened = opened

    def __repr__(self) -> str:
        return f"<modelyard model {self._opened.label}: {', '.join(self.fields)}>"

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the inputs, in the model's order."""
        return self._opened.signature.field_names

    def predict(self, data: Rows) -> list[Any]:
        """One answer per row.

        Parameters
        ----------
        data : dict, list of dict, or data frame
            One row, rows, or columns (a dict of lists, or anything with `columns` such as a pandas DataFrame).

        Returns
        -------
        list
            Numbers or labels.

        Raises
        ------
        InvalidInput
            Something does not fit the signature; see its classes.
        """
        return self._ask(data).values

    def predict_proba(self, data: Rows) -> list[dict[str, float]] | None:
        """Per row, class label to probability; None when the model gives none."""
        return self._ask(data).probabilities

    def _ask(self, data: Rows) -> Prediction:
        rows, columns = split(data)
        if columns is None:
            return self._opened.predict(rows)
        if all(spec.features for spec in self._opened.signature.inputs):
            return self._opened.predict_columns(columns)
        return self._opened.predict([columns])  # the lists are values: an image, a series


def load(reference: str, *, home: str | os.PathLike[str] | None = None) -> Model:
    """Open ``name``, ``name@2``, ``name@alias``, or a bundle's folder, in this process.

    Parameters
    ----------
    reference : str
        Which version.
    home : path, optional
        The registry's home; by default as the environment says (``MODELYARD_HOME``).
    """
    environ: Mapping[str, str] = os.environ if home is None else {"MODELYARD_HOME": os.fspath(home)}  # noqa: TID251
    return Model(open_model(Settings.from_environ(environ), reference))
