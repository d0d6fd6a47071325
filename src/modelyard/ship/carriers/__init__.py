"""Door: how bundles travel to where others can fetch them. `control/actions/push` and `pull` call it.

A backend is one file here with an `open_carrier(url)`, one line in `CARRIERS`, and a run of the contract suite in
``tests/contract/test_carriers.py``. An address is ``SCHEME://PLACE/NAME:TAG``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from modelyard.core.errors import InvalidRequest
from modelyard.model.bundle import Bundle

CARRIERS: dict[str, str] = {
    "oci": "modelyard.ship.carriers.oci",
    "file": "modelyard.ship.carriers.objects",
    "s3": "modelyard.ship.carriers.objects",
    "gs": "modelyard.ship.carriers.objects",
    "az": "modelyard.ship.carriers.objects",
}


class Carrier(Protocol):
    """One address that a bundle can be pushed to and pulled from."""

    def push(self, bundle: Bundle) -> str:
        """Put it there, its signature too; the address that always means it. What is there is not sent again."""
        ...

    def pull(self) -> Bundle:
        """The bundle that is there, with its signature; every byte verified.

        Raises
        ------
        NotFound
            Nothing is there.
        CorruptBundle
            What is there is not what it says it is.
        """
        ...


def open_carrier(url: str) -> Carrier:
    """The carrier of this address; `InvalidRequest` says which schemes there are."""
    scheme, found, _ = url.partition("://")
    if not found or scheme not in CARRIERS:
        schemes = ", ".join(f"{each}://" for each in CARRIERS)
        raise InvalidRequest(what=f"{url[:80]!r} is no address of a bundle", cause=f"it begins with one of {schemes}")
    carrier: Carrier = import_module(CARRIERS[scheme]).open_carrier(url)
    return carrier
