"""The serving plan: the one file between the control plane, which writes it, and the data plane, which obeys it."""

from __future__ import annotations

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.privacy import Journaling
from modelyard.core.rates import Rate
from modelyard.core.trust import Trust

PLAN_VERSION = 1


class PlannedVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version to serve: its number, its bundle's digest, and the folder the bundle lies in."""

    version: int
    digest: str
    path: str


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """How one model is run, where an operator knows better; what is None is measured when the model is loaded.

    Parameters
    ----------
    batch_rows : int, optional
        Most rows of one call in which several requests meet, at least 1; 1 keeps requests apart.
    window_s : float, optional
        How long a call waits for more requests, in seconds, 0 to 1; never for the first after a quiet moment.
    inline : bool, optional
        Whether calls run on the event loop, or in a thread of the model's own.
    threads : int, optional
        Threads inside one call, at least 1.
    provider : str, optional
        What the model is run on: ``cpu``, ``cuda``, ... as `model.runtime` names them.
    queue : int
        Most requests that wait for a model that runs in a thread; more are refused at once.
    queue_s : float
        Longest time in seconds that a request waits for the model; who would wait longer is refused.
    cache_bytes : int
        Memory for answers that are given again to the same question; 0 for none.
    """

    batch_rows: int | None = None
    window_s: float | None = None
    inline: bool | None = None
    threads: int | None = None
    provider: str | None = None
    queue: int = 256
    queue_s: float = 10.0
    cache_bytes: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} is {value}, and has to be {least} to {most}")


_RANGES: dict[str, tuple[float, float]] = {
    "batch_rows": (1, 1 << 20),
    "window_s": (0, 1),
    "threads": (1, 1024),
    "queue": (1, 1 << 20),
    "queue_s": (0.001, 86_400),
    "cache_bytes": (0, 1 << 50),
}

#: Nothing is said: everything is measured.
MEASURED = Tuning()


class PlannedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model to serve: which version answers when none is named, which aliases are answered, how it is run."""

    name: str
    default: int
    versions: tuple[PlannedVersion, ...]
    aliases: dict[str, int] = {}
    tuning: Tuning = MEASURED

    def __post_init__(self) -> None:
        numbers = [item.version for item in self.versions]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"{self.name!r} has a version twice")
        if self.default not in numbers:
            raise ValueError(f"the default of {self.name!r} is version {self.default}, which is not planned")


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the data plane; sizes in bytes, times in seconds.

    Parameters
    ----------
    body_bytes : int
        Largest body of one request.
    header_bytes, header_count, url_bytes : int
        Largest header block, number of headers, address.
    header_s, body_s, idle_s : float
        Longest time for the whole header block; for the whole body (scaled up for large ones); of silence on a
        kept-alive connection.
    write_s : float
        Longest time without progress while the client reads the answer.
    connections : int
        Most open connections per worker.
    """

    body_bytes: int = 16 * 1024 * 1024
    header_bytes: int = 16 * 1024
    header_count: int = 100
    url_bytes: int = 8 * 1024
    header_s: float = 10.0
    body_s: float = 60.0
    idle_s: float = 75.0
    write_s: float = 60.0
    connections: int = 8192


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where replicas find out who may call them; by default nobody has to say who they are.

    Parameters
    ----------
    keys : str
        The key table; empty where no key is needed.
    peppers : str
        Folder of the peppers of its secrets.
    tokens : str
        The table of trusted issuers and their keys; it need not be there.
    certificates : str
        What clients' certificates may; it need not be there.
    hosts : tuple of str
        Names that the server may be called by, as `guard.edges.Hosts` takes them; without any, by every name where
        keys are needed, and by this machine's own where they are not.
    """

    keys: str = ""
    peppers: str = ""
    tokens: str = ""
    certificates: str = ""
    hosts: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to serve.

    Parameters
    ----------
    models : tuple of PlannedModel
        What is served.
    requested : tuple of str
        What the operator asked for, so that control can render the plan again; empty for every model.
    limits : Limits
        Of the data plane.
    serial : int
        Grows by one with each plan of one server, so that somebody can wait until it is obeyed.
    explicit : bool
        Whether models are loaded and unloaded while the server runs: then only what is requested is served, even when
        that is nothing.
    known : dict of str to tuple of int
        Every model and version that could be loaded; of an explicit plan only.
    folders : dict of str to str
        Models that do not come from the registry: the folder that each was loaded from, as its owner wrote it.
    tunings : dict of str to Tuning
        How models are to be run, by name; under the empty name, all others. What is planned is run so (`tuning`).
    access : Access
        Who may call.
    signatures : Trust
        What a version has to show to be served; a replica looks again.
    journal : Journaling
        What is written down of predictions; nothing by default.
    rates : dict of str to tuple of Rate
        What callers may ask, by the class that their keys name; under the empty name, all others.
    usage : str
        The file of what they have used up; without one it ends with the server.
    refused : dict of str to str
        Models of which something was asked for that is not planned, and why: they are as they were, or not served.
    """

    plan_version: int = PLAN_VERSION
    models: tuple[PlannedModel, ...]
    requested: tuple[str, ...] = ()
    limits: Limits = Limits()
    serial: int = 0
    explicit: bool = False
    known: dict[str, tuple[int, ...]] = {}
    folders: dict[str, str] = {}
    tunings: dict[str, Tuning] = {}
    access: Access = Access()
    signatures: Trust = Trust()
    journal: Journaling = Journaling()
    rates: dict[str, tuple[Rate, ...]] = {}
    usage: str = ""
    refused: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.plan_version != PLAN_VERSION:
            raise ValueError(f"plan version {self.plan_version}, this Modelyard reads {PLAN_VERSION}")
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError("a model is planned twice")

    def tuning(self, name: str) -> Tuning:
        """How the operator wants the model of this name to be run."""
        return self.tunings.get(name) or self.tunings.get("", MEASURED)

    def to_bytes(self) -> bytes:
        """The plan as the bytes of `plan.json`."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> Plan:
        """The plan in these bytes; `InvalidRequest` when they are not one."""
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidRequest(what=f"the serving plan is not valid: {exc}") from exc
