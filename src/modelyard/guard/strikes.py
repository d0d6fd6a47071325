"""Wrong credentials by the address that they come from: who sends too many is not listened to for a while.

No secret can be guessed: it has 256 bits. But to look at a credential costs something, most of all at a token's
signature, and addresses that try thousands should not get it. It is kept by each worker for itself, in bounded memory.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from time import perf_counter

from modelyard.core.errors import RateLimited

#: So many in so long a time, from one address, or from one /64 of IPv6, which is one customer.
MOST, WINDOW_S = 60, 60.0
_ADDRESSES = 4096
_PREFIX = 64


class Strikes:
    """How often which address was wrong.

    Parameters
    ----------
    most : int
        From one address in `WINDOW_S`, before its credentials are not looked at any more; 0 where addresses say
        nothing, because everybody comes through a proxy.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how often, and since when; oldest first

    def check(self, address: str) -> None:
        """`RateLimited` when this address has been wrong too often."""
        if not self._known:
            return
        found = self._known.get(_place(address))
        if found is None or found[0] < self._most:
            return
        left_s = found[1] + WINDOW_S - perf_counter()
        if left_s > 0:
            what = f"{found[0]} credentials from this address were wrong; more are not looked at for now"
            raise RateLimited(what=what, wait_s=round(left_s, 3))

    def add(self, address: str) -> None:
        """A credential from there was wrong. This machine's own addresses do not count: local proxies have them."""
        place = _place(address)
        if not self._most or not place:
            return
        now = perf_counter()
        count, since_s = self._known.pop(place, (0, now))
        if now - since_s >= WINDOW_S:
            count, since_s = 0, now
        self._known[place] = (count + 1, since_s)
        if len(self._known) > _ADDRESSES:
            self._known.popitem(last=False)


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
