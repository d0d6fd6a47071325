"""Settings: where things are. Only composition roots read the environment and build one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.core.network import Network


@dataclass(frozen=True)
class Settings:
    """Where this installation keeps its state.

    Parameters
    ----------
    home : Path
        ``MODELYARD_HOME``, else ``$XDG_DATA_HOME/modelyard``, else ``~/.local/share/modelyard``.
    memory : tuple of Path
        Folders that may lie in memory: ``MODELYARD_MEMORY`` alone when it is set, else ``/dev/shm`` and
        ``$XDG_RUNTIME_DIR``. The first that does is used for what may not lie on a disk.
    master_key : str
        ``MODELYARD_MASTER_KEY``, when master keys are kept there. Never printed.
    cache : Path
        ``$XDG_CACHE_HOME/modelyard``, else ``~/.cache/modelyard``: wheels and layers of images, which can be had again.
    network : Network
        How registries and object stores are reached.
    """

    home: Path
    memory: tuple[Path, ...] = (Path("/dev/shm"),)  # noqa: S108 - who may write there is checked where it is used
    master_key: str = field(default="", repr=False)
    cache: Path = Path()
    network: Network = field(default_factory=Network)

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
    def encryption(self) -> Path:
        """Whether bytes are encrypted at rest, and where the master key is."""
        return self.home / "encryption.json"

    @property
    def sealed(self) -> Path:
        """Encrypted bytes, by the sha256 of what is encrypted."""
        return self.home / "sealed"

    @property
    def envelopes(self) -> Path:
        """A file for each encrypted blob, with its wrapped key."""
        return self.home / "envelopes"

    @property
    def tls(self) -> Path:
        """Certificates and their keys."""
        return self.home / "tls"

    @property
    def audit(self) -> Path:
        """Where checkpoints of the audit log are sent (``audit.toml``, written by the operator), and the last one."""
        return self.home / "audit"

    @property
    def privacy(self) -> Path:
        """Of which models something is kept of questions and answers, and what."""
        return self.home / "privacy.json"

    @property
    def journal(self) -> Path:
        """What is kept of them."""
        return self.home / "journal"

    @property
    def rates(self) -> Path:
        """What callers may ask, by rate class."""
        return self.home / "rates.json"

    @property
    def usage(self) -> Path:
        """What callers have used up of a day, a file for each running server."""
        return self.home / "usage"

    @property
    def bench(self) -> Path:
        """Reports of load tests."""
        return self.home / "bench"

    @property
    def targets(self) -> Path:
        """What targets keep on this machine, a folder each."""
        return self.home / "targets"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Settings as the environment says."""
        explicit = environ.get("MODELYARD_HOME")
        data = environ.get("XDG_DATA_HOME")
        base = Path(data) if data else Path.home() / ".local" / "share"
        cache = environ.get("XDG_CACHE_HOME")
        return cls(
            home=Path(explicit).expanduser().absolute() if explicit else base / "modelyard",
            memory=_memory(environ),
            master_key=environ.get("MODELYARD_MASTER_KEY", ""),
            cache=(Path(cache) if cache else Path.home() / ".cache") / "modelyard",
            network=Network.from_environ(environ),
        )


def _memory(environ: Mapping[str, str]) -> tuple[Path, ...]:
    if named := environ.get("MODELYARD_MEMORY"):
        return (Path(named).absolute(),)
    runtime = environ.get("XDG_RUNTIME_DIR")
    return (Path("/dev/shm"), *([Path(runtime)] if runtime else []))  # noqa: S108 - as above
