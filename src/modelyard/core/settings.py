"""Settings: where things are. Only composition roots read the environment and build one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Where this installation keeps its state.

    Parameters
    ----------
    home : Path
        ``MODELYARD_HOME``, else ``$XDG_DATA_HOME/modelyard``, else ``~/.local/share/modelyard``.
    """

    home: Path

    @property
    def database(self) -> Path:
        """The SQLite file of the registry."""
        return self.home / "modelyard.db"

    @property
    def blobs(self) -> Path:
        """Content-addressed bytes, ``sha256`` each."""
        return self.home / "blobs"

    @property
    def bundles(self) -> Path:
        """Bundles laid out as folders for replicas, by digest; can be made again from the blobs."""
        return self.home / "bundles"

    @property
    def plans(self) -> Path:
        """Serving plans of running servers, one file each."""
        return self.home / "plans"

    @property
    def secrets(self) -> Path:
        """Peppers and keys of this installation, a file each, for this user alone."""
        return self.home / "secrets"

    @property
    def keys(self) -> Path:
        """The key table, which running servers obey."""
        return self.home / "keys.json"

    @property
    def issuers(self) -> Path:
        """Whose tokens are believed, as the operator says."""
        return self.home / "issuers.toml"

    @property
    def tokens(self) -> Path:
        """The same with the issuers' keys, which running servers obey."""
        return self.home / "tokens.json"

    @property
    def certificates(self) -> Path:
        """What bearers of clients' certificates may, which running servers obey."""
        return self.home / "certificates.toml"

    @property
    def tls(self) -> Path:
        """Certificates and their keys."""
        return self.home / "tls"

    @property
    def bench(self) -> Path:
        """Reports of load tests."""
        return self.home / "bench"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Settings as the environment says."""
        explicit = environ.get("MODELYARD_HOME")
        if explicit:
            return cls(home=Path(explicit).expanduser().absolute())
        data = environ.get("XDG_DATA_HOME")
        base = Path(data) if data else Path.home() / ".local" / "share"
        return cls(home=base / "modelyard")
