"""Show: everything there is to say about one version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelyard.control.actions.home import Home
from modelyard.core.errors import NotFound
from modelyard.core.reference import Reference
from modelyard.model.bundle import Bundle
from modelyard.registry.versions import Version


@dataclass(frozen=True)
class Shown:
    """One version, the aliases that point at it, and its verified bundle."""

    version: Version
    aliases: tuple[str, ...]
    bundle: Bundle

    @property
    def example(self) -> dict[str, Any]:
        """One row as a client would send it: the first golden row of the bundle."""
        rows = self.bundle.samples.rows
        if not rows:
            raise NotFound(
                what="example row in",
                name=str(self.version),
                hint=f"see its inputs: modelyard model show {self.version}",
            )
        return rows[0]


def show(home: Home, reference: Reference) -> Shown:
    """The version that is meant; `NotFound` when there is none, `CorruptBundle` when its bytes were changed."""
    model = home.catalogue.model(reference.name)
    version = model.resolve(reference)
    return Shown(version, tuple(model.aliases_of(version)), home.artifacts.read(version.digest))
