"""Aliases: names such as `production` that point at a version, moved without restarting anything."""

from __future__ import annotations

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home
from modelyard.core.reference import Reference
from modelyard.registry.versions import Version


def set_alias(home: Home, reference: Reference, alias: str) -> Version:
    """Point the alias at the version that is meant, and tell running servers; the version."""
    version = home.catalogue.set_alias(reference, alias)
    plans.announce(home, f"{version.name}@{alias} points at {version}")
    return version


def remove_alias(home: Home, name: str, alias: str) -> Version:
    """Forget the alias, and tell running servers; the version it pointed at, which stays."""
    version = home.catalogue.remove_alias(name, alias)
    plans.announce(home, f"{name}@{alias} is removed")
    return version
