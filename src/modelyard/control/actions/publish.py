"""Publish: a bundle becomes a version, and running servers learn of it."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home
from modelyard.model.bundle import Bundle
from modelyard.registry.versions import Version


def publish(home: Home, bundle: Bundle, aliases: Iterable[str] = (), *, at_least: int = 1) -> Version:
    """Keep the bundle, give it the next number of its name, point the aliases at it, renew the serving plans.

    Parameters
    ----------
    home : Home
        Where to.
    bundle : Bundle
        Sealed; its manifest's name is the model's. A signature that comes along is kept, see `sign.adopt`.
    aliases : iterable of str
        To point at the version in the same transaction.
    at_least : int
        The version's number is not below this, see `Catalogue.publish`.

    Returns
    -------
    Version
        What was acknowledged, which survives a crash. `fresh` is False when the newest version was this very bundle.

    Raises
    ------
    InvalidName
        The name or an alias is not a DNS label.
    CorruptBundle
        A signature came along that is of something else.
    StoreFull, Unavailable
        Nothing was published.
    """
    with home.artifacts.held():
        home.artifacts.store(bundle)
        if bundle.signature is not None:
            from modelyard.control.actions.sign import adopt  # noqa: PLC0415 - brings cryptography; few come with one

            adopt(home, bundle.manifest, bundle.signature)
        version = home.catalogue.publish(bundle.manifest, aliases=aliases, at_least=at_least)
    plans.announce(home, f"{version} is saved")
    return version
