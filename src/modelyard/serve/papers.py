"""What a connection itself says of its client: where it comes from, and what its certificate proves."""

from __future__ import annotations

import asyncio
from time import perf_counter

from modelyard.guard.certificates import Peer
from modelyard.guard.gate import Caller, Gate


def local(transport: asyncio.BaseTransport | None) -> str:
    """The address of this machine that a connection was made to; empty where there is none."""
    known = transport.get_extra_info("sockname") if transport is not None else None
    return str(known[0]) if isinstance(known, tuple) else ""


class Papers:
    """Looked at once for a connection; what a certificate proved holds for a while.

    Parameters
    ----------
    transport : transport or None
        The connection's own; None when the client has gone.
    """

    __slots__ = ("_caller", "_gate", "_peer", "address")

    def __init__(self, transport: asyncio.BaseTransport | None) -> None:
        known = transport.get_extra_info("peername") if transport is not None else None
        #: Where the client calls from; empty where a socket has no address.
        self.address = str(known[0]) if isinstance(known, tuple) else ""
        self._peer = Peer.of(transport.get_extra_info("peercert") if transport is not None else None)
        self._gate: Gate | None = None
        self._caller: Caller | None = None

    def caller(self, gate: Gate) -> Caller:
        """Who calls, where nothing but the connection says so; `Unauthenticated` when nobody known does."""
        caller = self._caller
        if caller is None or gate is not self._gate or perf_counter() > caller.until_s:
            caller = gate.certified(self._peer)
            self._gate, self._caller = gate, caller
        return caller
