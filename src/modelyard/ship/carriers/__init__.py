"""Door: how bundles travel to where others can fetch them. `control/actions/push`, `pull` and `fetch` call it.

A backend is one file here with an `open_carrier(url, network)`, one line in `CARRIERS`, and a run of the contract suite
in ``tests/contract/test_carriers.py``. An address is ``SCHEME://PLACE/NAME:TAG`` or ``SCHEME://PLACE/NAME@sha256:...``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from modelyard.core.errors import InvalidRequest
from modelyard.core.imagename import shown
from modelyard.core.network import Network
from modelyard.model.bundle import Bundle
from modelyard.ship.parcel import Parcel

CARRIERS: dict[str, str] = {
    "oci": "modelyard.ship.carriers.oci",
    "file": "modelyard.ship.carriers.objects",
    "s3": "modelyard.ship.carriers.objects",
    "gs": "modelyard.ship.carriers.objects",
    "az": "modelyard.ship.carriers.objects",
}


class Carrier(Protocol):
    """One address that a bundle can be pushed to and pulled from.

    Every method may raise `Denied` (nobody logged in, or who did may not) and `RegistryRefused` (it cannot be reached,
    or what it answers cannot be right).
    """

    def standing(self) -> str:
        """The address, by digest, of what is there now; empty when nothing is."""
        ...

    def push(self, bundle: Bundle) -> str:
        """Put it there, its signature too; the address that always means it. What is there is not sent again.

        The tag comes last: nobody who pulls meets half a bundle. What it meant before is still there by its digest.
        """
        ...

    def find(self) -> Parcel:
        """The bundle that is there: its manifest, verified, and how to get the rest.

        Raises
        ------
        NotFound
            Nothing is there.
        CorruptBundle
            What is there is not what it says it is.
        """
        ...


def open_carrier(url: str, network: Network, *, tag: str = "") -> Carrier:
    """The carrier of this address; `tag` is meant where it names none. `InvalidRequest`: it is no address."""
    scheme, found, _ = url.partition("://")
    if not found or scheme not in CARRIERS:
        schemes = ", ".join(f"{each}://" for each in CARRIERS)
        raise InvalidRequest(what=f"{shown(url)!r} is no address of a bundle", cause=f"it begins with one of {schemes}")
    carrier: Carrier = import_module(CARRIERS[scheme]).open_carrier(url, network, tag)
    return carrier
