"""What an image says of itself, in the words that registries and scanners read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import modelyard
from modelyard.ship.shipment import Shipment

_OCI = "org.opencontainers.image"
_SHORT = 12


def labels_of(
    shipment: Shipment, more: Mapping[str, str] | None = None, *, base: str = "", base_digest: str = ""
) -> dict[str, str]:
    """Labels of the image: its own, then the operator's, which may take the place of ours.

    Parameters
    ----------
    shipment : Shipment
        What is in it.
    more : mapping of str to str, optional
        The operator's.
    base, base_digest : str
        The image below; left out where nobody knows.
    """
    own = {
        f"{_OCI}.title": shipment.name,
        f"{_OCI}.version": version_of(shipment),
        f"{_OCI}.description": f"Modelyard serves {shipment.label}",
        f"{_OCI}.base.name": base,
        f"{_OCI}.base.digest": base_digest,
    }
    return {key: value for key, value in own.items() if value} | dict(more or {})


def version_of(shipment: Shipment) -> str:
    """What tells it from others of its name: the version, where it is one; of several, the same for the same ones."""
    if not shipment.models:
        return modelyard.__version__
    if len(shipment.models) == 1:
        return str(shipment.models[0].version)
    return hashlib.sha256("".join(f"{each} {each.digest}\n" for each in shipment.models).encode()).hexdigest()[:_SHORT]
