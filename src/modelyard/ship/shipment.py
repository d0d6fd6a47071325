"""A shipment: bundles and the plan that serves them, ready to be put into an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard.core.plan import Plan
from modelyard.core.release import Shipped


@dataclass(frozen=True)
class Shipment:
    """What goes into one image.

    Parameters
    ----------
    name : str
        Of the image and its deployment: a DNS label.
    models : tuple of Shipped
        Which versions; none for an image that serves what is mounted into it (`layout.MOUNTED`).
    bundles : dict of str to Path
        By digest, the folder of this machine that holds it, verified.
    plan : Plan
        With the paths of a container, see `layout.placed`.
    extras : tuple of str
        Parts of Modelyard that the image carries beside the server: ``convert`` (opens foreign model files),
        ``clouds`` (fetches bundles from object stores).
    """

    name: str
    models: tuple[Shipped, ...]
    bundles: dict[str, Path]
    plan: Plan
    extras: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What is in it, for people: ``churn@7, price@3``."""
        return ", ".join(map(str, self.models)) or "no model"
