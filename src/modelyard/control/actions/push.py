"""Push: a version's bundle, with its signature, goes to where others can fetch it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelyard.control.actions.configure import check_may
from modelyard.control.actions.home import Home
from modelyard.core.identity import Permission, Verb
from modelyard.core.reference import Reference
from modelyard.registry import signatures
from modelyard.registry.versions import Version
from modelyard.ship.carriers import open_carrier

PUSH = "model.push"


@dataclass(frozen=True)
class Pushed:
    """What was pushed.

    Parameters
    ----------
    version : Version
        Which.
    address : str
        That means it for ever, by digest.
    before : str
        What the tag meant before, where that was something else; it is still there by this address.
    signed : bool
        Whether its signature went along.
    """

    version: Version
    address: str
    before: str
    signed: bool


def push(home: Home, reference: Reference, url: str) -> Pushed:
    """Push the version that is meant; the version's number is the tag where the address names none.

    Raises
    ------
    Forbidden
        The actor may not read the model.
    NotFound, CorruptBundle
        There is no such version, or its bytes were changed.
    Denied, RegistryRefused, MissingExtra, InvalidRequest
        It cannot be brought there. What was there is still there.
    """
    with home.attempt(PUSH, str(reference)):
        check_may(home, Permission(Verb.READ, reference.name))
        version = home.catalogue.resolve(reference)
        carrier = open_carrier(url, home.settings.network, tag=str(version.version))
        signature = signatures.read(home.database, version.digest)
        with home.artifacts.held():
            bundle = replace(home.artifacts.read(version.digest), signature=signature)
        before = carrier.standing()
        address = carrier.push(bundle)
    with home.change(PUSH, str(version)) as (_, record):
        record(str(version), {"digest": version.digest, "to": address})
    return Pushed(version, address, before if before != address else "", signature is not None)
