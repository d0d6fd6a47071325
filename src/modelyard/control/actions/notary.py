"""Notary: who lays a version out for servers looks at its signature first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.control.actions.home import Home
from modelyard.core.errors import ModelyardError, Untrusted
from modelyard.core.plan import PlannedModel, PlannedVersion
from modelyard.core.trust import Policy
from modelyard.guard import trusted
from modelyard.registry import signatures
from modelyard.registry.versions import Version

if TYPE_CHECKING:
    from modelyard.core.manifest import Manifest


class Notary:
    """One look at signatures and trust, for as many versions as a plan has.

    Parameters
    ----------
    home : Home
        Where the versions are.
    policy : Policy
        What is asked of them; only what is enforced refuses one here, what is worth a warning its server says.
    """

    def __init__(self, home: Home, policy: Policy) -> None:
        self._artifacts = home.artifacts
        self._signatures = signatures.read_all(home.database)
        with home.database.read() as connection:
            self.trust = trusted.read(connection.execute, policy)

    def lay_out(self, version: Version) -> PlannedVersion:
        """The version as a folder, with its signature.

        Raises
        ------
        Untrusted
            It has no signature that counts.
        CorruptBundle
            Its bytes were changed.
        """
        signature = self._signatures.get(version.digest)
        if self.trust.policy is Policy.ENFORCE:
            self._judge(signature, self._artifacts.manifest(version.digest), version.name, str(version))
        return PlannedVersion(version.version, version.digest, str(self._artifacts.checkout(version.digest, signature)))

    def objection(self, model: PlannedModel) -> str:
        """Why a model that is planned already may not be served any longer; empty when it may."""
        if self.trust.policy is not Policy.ENFORCE:
            return ""
        from modelyard.model.bundle import open_bundle  # noqa: PLC0415 - brings numpy, where signatures are enforced

        try:
            for planned in model.versions:
                bundle = open_bundle(Path(planned.path), digest=planned.digest)
                self._judge(bundle.signature, bundle.manifest, model.name, f"{model.name}@{planned.version}")
        except Untrusted as exc:
            return exc.detail
        except ModelyardError:  # damaged: what is in memory is sound, and nobody loads it again
            return ""
        return ""

    def _judge(self, signature: bytes | None, manifest: Manifest, name: str, what: str) -> None:
        from modelyard.guard.trust import judge  # noqa: PLC0415 - brings cryptography, where signatures are enforced

        judge(signature, manifest, name, self.trust, what)
