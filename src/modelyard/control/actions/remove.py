"""Remove: a version, or a model with all its versions, is forgotten; its bytes go when nothing else needs them."""

from __future__ import annotations

from contextlib import suppress

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home
from modelyard.core.errors import CorruptBundle, StoreDamaged
from modelyard.core.reference import Reference
from modelyard.registry import signatures
from modelyard.registry.versions import Version


def remove(home: Home, reference: Reference, *, force: bool = False) -> tuple[Version, ...]:
    """Forget what is meant: one version, or for a bare name the whole model; what was removed.

    Parameters
    ----------
    home : Home
        Where from.
    reference : Reference
        ``name``, ``name@2`` or ``name@alias``.
    force : bool
        Also when an alias points at it, which goes too, or a deployment serves it, which goes on.

    Returns
    -------
    tuple of Version
        Oldest first. Their numbers are never used again.

    Raises
    ------
    NotFound
        There is no such thing.
    Conflict
        An alias points at it, or a deployment serves it.
    """
    if reference.version is None and reference.alias is None:
        removed = home.catalogue.remove_model(reference.name, force=force)
    else:
        removed = (home.catalogue.remove_version(reference, force=force),)
    plans.announce(home, f"{reference} is removed")
    with suppress(CorruptBundle, StoreDamaged):  # nobody knows which bytes a damaged version needs: all of them stay
        home.artifacts.collect(lambda: _live(home))
    return removed


def _live(home: Home) -> set[str]:
    """The bundles that are left; signatures of others go, while nobody is about to publish what they are of."""
    with home.database.write() as connection:
        signatures.sweep(connection)
    return home.catalogue.digests()
