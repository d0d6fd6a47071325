"""Wrong credentials by the address that they come from: who sends too many is told to wait, and costs little.

No secret can be guessed: it has 256 bits. So what is bounded is work, and whoever shares the address with a client that
is broken, or bad, is not locked out with it: many people call from behind one address.

- A key is always looked at. That takes less than reading the request it came in, so refusing to look would save
  nothing; a right one is let in whatever else comes from there, and a wrong one hears 429 instead of 401, for which
  programs wait.
- A token's signature costs more, so after too many wrong credentials an address gets a few of those checked a second.
  The one that was wrong last is known by its digest and is not checked again: a client that repeats it all day takes
  nothing from its neighbours. Only who makes up other tokens all the time can keep new ones of his own address waiting.

Nobody learns more by that: right secrets are let in and all others refused alike, before and after. It is kept by each
worker for itself, in bounded memory.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from time import perf_counter
from typing import NoReturn

from modelyard.core.errors import RateLimited

#: So many in so long a time, from one address, or from one /64 of IPv6, which is one customer.
MOST, WINDOW_S = 60, 60.0
#: Signatures that are checked after that, a second and at once.
PROOFS = 20
_ADDRESSES = 4096
_PREFIX = 64


class _Record:
    """What is known of one address."""

    __slots__ = ("count", "due_s", "last", "since_s")

    def __init__(self, now: float) -> None:
        self.count = 0
        self.since_s = now
        self.last = b""  # digest of what was wrong last
        self.due_s = now  # when all signatures that were checked are paid off


class Strikes:
    """How often which address was wrong.

    Parameters
    ----------
    most : int
        From one address in `WINDOW_S`, before it is told to wait; 0 where addresses say nothing, because everybody
        comes through a proxy.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[str, _Record] = OrderedDict()  # the one that was wrong last is the last

    def check(self, address: str, proof: bytes) -> None:
        """Before a signature is checked: `RateLimited` when that is too much for an address that was wrong too often.

        Parameters
        ----------
        address : str
            Where it comes from.
        proof : bytes
            Digest of the whole credential.
        """
        now = perf_counter()
        record = self._struck(address, now)
        if record is None:
            return
        if proof == record.last:
            _refuse(record, record.since_s + WINDOW_S - now)
        due_s = max(record.due_s, now) + 1 / PROOFS
        if due_s - now > 1.0:
            _refuse(record, due_s - now - 1.0)
        record.due_s = due_s

    def add(self, address: str, proof: bytes) -> None:
        """A credential from there was wrong; `RateLimited` when too many were before it.

        This machine's own addresses do not count: local proxies have them.
        """
        place = _place(address)
        if not self._most or not place:
            return
        now = perf_counter()
        record = self._known.pop(place, None)
        if record is None or now - record.since_s >= WINDOW_S:
            record = _Record(now)
        self._known[place] = record
        if len(self._known) > _ADDRESSES:
            self._known.popitem(last=False)
        record.last = proof
        if record.count >= self._most:
            _refuse(record, record.since_s + WINDOW_S - now)
        record.count += 1

    def _struck(self, address: str, now: float) -> _Record | None:
        """The record of an address that has been wrong too often, while that holds."""
        record = self._known.get(_place(address)) if self._known else None
        if record is None or record.count < self._most or now - record.since_s >= WINDOW_S:
            return None
        return record


def _refuse(record: _Record, wait_s: float) -> NoReturn:
    what = f"{record.count} credentials from this address were wrong; only right ones are answered for now"
    raise RateLimited(what=what, wait_s=round(max(wait_s, 0.001), 3)) from None


def _place(address: str) -> str:
    """What an address counts as; nothing for this machine's own, and for sockets without one."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    source = getattr(known, "ipv4_mapped", None) or known
    if source.is_loopback:
        return ""
    return str(source) if source.version == 4 else str(ipaddress.ip_network((source, _PREFIX), strict=False))
