"""How a worker knows who may call it, and by which names: what the plan's access makes, renewed when it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from modelyard.core.errors import ModelyardError, NotFound
from modelyard.core.identity import Principal
from modelyard.core.plan import Access
from modelyard.guard.certificates import Certificates, read
from modelyard.guard.edges import LOOPBACK, Hosts
from modelyard.guard.gate import Gate, KeyGate, OpenGate
from modelyard.guard.issuers import IssuerTable
from modelyard.guard.keytable import KeyTable
from modelyard.guard.limits import Limiter
from modelyard.guard.peppers import peppers
from modelyard.guard.strikes import Strikes
from modelyard.guard.visits import Visits

log = logging.getLogger("modelyard")

Stamp = tuple[tuple[int, ...], ...]


class Entrance:
    """The gate as the files are now. What cannot be read changes nothing: who was locked out stays so.

    Parameters
    ----------
    access : Access
        Of the plan.
    wish : callable
        Told the address of an issuer whose newest keys are wanted.
    limiter : Limiter, optional
        Says what callers may ask; without one, nothing limits anybody.
    proxied : bool
        Whether all callers come through a proxy, so that addresses say nothing.
    origins : collection of str
        Sites whose pages may ask too.

    Raises
    ------
    NotFound, InvalidRequest, StoreDamaged, Unavailable
        A file is not there or cannot be read: without it nobody can be let in, and everybody may not.
    """

    def __init__(
        self,
        access: Access,
        wish: Callable[[str], None] = lambda url: None,
        limiter: Limiter | None = None,
        *,
        proxied: bool = False,
        origins: Collection[str] = (),
    ) -> None:
        self._access = access
        self._origins = origins
        self._limiter = limiter
        self._strikes = Strikes(0) if proxied else Strikes()
        self._wish = wish
        #: Who came, whichever gate was there then.
        self.visits = Visits()
        self._stamp: Stamp | None = self._look()
        self.gate: Gate = self._read()
        self._told = self.gate
        self.hosts = self._hosts()

    def renew(self, access: Access) -> bool:
        """Look again, perhaps for another plan; whether something is new since the last time."""
        self._refresh(access)
        new, self._told = self.gate is not self._told, self.gate
        return new

    def limit(self, limiter: Limiter | None) -> None:
        """Have this say what callers may ask, from the next `renew` on; None where nothing limits anybody."""
        self._limiter, self._stamp = limiter, None

    def _newer(self, gate: Gate) -> Gate | None:
        """The gate as the files are now, unless that is this one: who is not known may have got a key just now."""
        self._refresh(self._access)
        return None if self.gate is gate else self.gate

    def _refresh(self, access: Access) -> None:
        before, self._access = self._access, access
        stamp = self._look()
        if access == before and stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.gate, self.hosts = self._read(), self._hosts()
        except (ModelyardError, OSError) as exc:
            log.error("keeping the old keys: %s", exc)

    def _read(self) -> Gate:
        if not self._access.keys:
            return OpenGate(self.visits, self._limiter)
        path = Path(self._access.keys)
        if not path.exists():
            raise NotFound(what="key table", name=path.name, hint="modelyard init")
        table = KeyTable.from_bytes(path.read_bytes())
        certificates = Certificates(read(_there(self._access.certificates)))
        secret = peppers(Path(self._access.peppers))
        gate = KeyGate(table, secret, self._tokens(), certificates, self.visits, self._newer)
        gate.limiter, gate.strikes = self._limiter, self._strikes
        return gate

    def _tokens(self) -> Callable[[str, float], tuple[Principal, float]] | None:
        """What reads tokens, where any issuer is trusted; else its libraries are not imported."""
        raw = _there(self._access.tokens)
        table = IssuerTable.from_bytes(raw) if raw else None
        if table is None or not table.issuers:
            return None
        from modelyard.guard.tokens import Tokens  # noqa: PLC0415 - as above

        return Tokens.of(table, self._wish).proven

    def _look(self) -> Stamp:
        """What tells whether a file is another one."""
        paths = (self._access.keys, self._access.peppers, self._access.tokens, self._access.certificates)
        return tuple(_stamp(Path(path)) for path in paths if path)

    def _hosts(self) -> Hosts:
        """By which names it may be called: without keys only by those that nobody else can make lead here."""
        names = self._access.hosts if self._access.keys else (*LOOPBACK, *self._access.hosts)
        return Hosts(names, self._origins)


def _there(path: str) -> bytes:
    """What is in a file; nothing when there is none."""
    return Path(path).read_bytes() if path and Path(path).exists() else b""


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
