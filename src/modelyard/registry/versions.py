"""What the registry speaks of: a model's name, its numbered versions, and the aliases that point at them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.core.errors import NotFound
from modelyard.core.metric import Metric
from modelyard.core.reference import Reference

#: The alias that a bare name means, once it is set.
PRODUCTION = "production"
#: Always the newest version; computed, so nobody can set it.
LATEST = "latest"


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One published bundle.

    Parameters
    ----------
    name, version : str, int
        Of the model, and its number: 1, 2, 3… in order of publication, never used twice.
    digest : str
        The bundle's.
    task, source_format : str
        As its manifest says.
    size_bytes : int
        All files and the manifest.
    metrics : tuple of Metric
        As its manifest says.
    created_at : datetime
        When it was published, UTC.
    fresh : bool
        Whether the publication that gave this value made the version; False when the newest version already had the
        same digest, and always False when read back.
    """

    name: str
    version: int
    digest: str
    task: str
    source_format: str
    size_bytes: int
    metrics: tuple[Metric, ...]
    created_at: datetime
    fresh: bool = False

    @property
    def reference(self) -> Reference:
        """The reference that means this version for ever."""
        return Reference(self.name, version=self.version)

    def __str__(self) -> str:
        return str(self.reference)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One name: its versions, oldest first (at least one), and the aliases that point at them."""

    name: str
    versions: tuple[Version, ...]
    aliases: dict[str, int]

    @property
    def latest(self) -> Version:
        """The newest version."""
        return self.versions[-1]

    @property
    def default(self) -> Version:
        """The version that the bare name means: production if it is set, else the latest."""
        return self.resolve(Reference(self.name))

    def resolve(self, reference: Reference) -> Version:
        """The version that a reference to this model means; `NotFound` says what there is instead."""
        numbered = {version.version: version for version in self.versions}
        if reference.version is not None:
            if reference.version not in numbered:
                raise self._no_version(reference)
            return numbered[reference.version]
        aliases = {**self.aliases, LATEST: self.latest.version}
        if reference.alias is None:
            return numbered[aliases.get(PRODUCTION, aliases[LATEST])]
        if reference.alias not in aliases:
            raise NotFound(
                what="alias",
                name=str(reference),
                known=[f"{self.name}@{alias}" for alias in sorted(aliases)],
                hint=f"set it: modelyard model alias {self.name}@{self.latest.version} {reference.alias}",
            )
        return numbered[aliases[reference.alias]]

    def aliases_of(self, version: Version) -> list[str]:
        """The aliases that point at this version, by name; `latest` is not one of them."""
        return sorted(alias for alias, number in self.aliases.items() if number == version.version)

    def _no_version(self, reference: Reference) -> NotFound:
        known = [str(version) for version in self.versions]
        removed = (reference.version or 0) < self.latest.version
        return NotFound(
            what="version",
            name=str(reference),
            known=known,
            cause=f"{'it was removed; ' if removed else ''}there is: {', '.join(known[-8:])}",
            hint=f"modelyard model versions {self.name}",
        )
