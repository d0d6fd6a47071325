"""A large body is read straight to where it stays: past the parser, and laid so that its tensors need no copy.

As packets it would be copied three times before a model sees it: out of the loop's buffer, out of the packet, and out
of the pieces. Tensors that do not begin where arrays do are copied once more.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable, Iterable, Mapping

from modelyard.core.errors import ModelyardError
from modelyard.serve.http.forms.tensors import json_length
from modelyard.serve.http.message import Head

#: What must be lacking of a body for this to be worth two changes of protocol.
WORTH_BYTES = 64 * 1024
#: Smaller pieces are put together, and a body of one is read before it is judged.
PIECE_BYTES = 4096
_MOST_BYTES = 1 << 30  # in one go: TLS counts them in 31 bits
Piece = bytes | bytearray | memoryview
Done = Callable[[bytearray], None]

_PLACE_BYTES = 64  # a line of the processor's cache, and the widest of its registers

# A bytearray whose bytes are whatever was there: zeroes would cost as much as a copy, and make memory of a promise.
_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
_bytearray.argtypes, _bytearray.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object

_NOTHING = memoryview(b"")


def is_worth(head: Head, there: int) -> bool:
    """Whether enough is lacking of a body of which so much is there, and its end is the end of the message."""
    return head.length - there >= WORTH_BYTES and b"upgrade" not in head.headers


def gather(pieces: list[bytes | bytearray], piece: bytes) -> None:
    """Add a piece to a body that the parser reads; crumbs, each of which is forty bytes of overhead, to each other."""
    if not pieces or len(piece) >= PIECE_BYTES:
        pieces.append(piece)
    elif isinstance(pieces[-1], bytearray):
        pieces[-1] += piece
    else:
        pieces.append(bytearray(piece))


def fill(transport: asyncio.Transport, owner: asyncio.Protocol, head: Head, begun: Iterable[Piece], done: Done) -> None:
    """Read the rest of a body.

    Parameters
    ----------
    transport : Transport
        Brings it. What comes behind it is the owner's again.
    owner : Protocol
        The connection; all but that rest is told to it.
    head : Head
        Of the request: how long its body is, and maybe where its tensors begin.
    begun : iterable of bytes
        What is there of it: less than all.
    done : callable
        Is given the whole body.
    """
    view = memoryview(room(head.length, _tensors_at(head.headers)))
    at = 0
    for piece in begun:
        view[at : at + len(piece)] = piece
        at += len(piece)
    transport.set_protocol(_Filling(transport, owner, view[at:], done))


class _Filling(asyncio.BufferedProtocol):
    """Stands in for a connection until the rest of a body is there."""

    __slots__ = ("_done", "_owner", "_rest", "_transport")

    def __init__(self, transport: asyncio.Transport, owner: asyncio.Protocol, rest: memoryview, done: Done) -> None:
        self._transport = transport
        self._owner = owner
        self._rest = rest
        self._done = done

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room for what is lacking, and for nothing behind it."""
        del sizehint
        return self._rest if len(self._rest) <= _MOST_BYTES else self._rest[:_MOST_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """So much more is there."""
        self._rest = self._rest[nbytes:]  # of a body that is whole, nothing is kept: some loops keep this protocol
        if not self._rest:
            body, self._rest = self._rest.obj, _NOTHING
            assert isinstance(body, bytearray)
            self._transport.set_protocol(self._owner)
            self._done(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone half-way."""
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read earlier answers."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._owner.resume_writing()


def room(length: int, at: int) -> bytearray:
    """So many bytes of any value, of which the one at this place lies where arrays begin."""
    body: bytearray = _bytearray(None, length + _PLACE_BYTES - 1)
    address = ctypes.addressof(ctypes.c_char.from_buffer(body))
    del body[: -(address + at) % _PLACE_BYTES]  # moves its beginning, not its bytes
    del body[length:]
    return body


def _tensors_at(headers: Mapping[bytes, bytes]) -> int:
    """Where in a body its tensors begin. A hint only: whoever reads the body says what is wrong with its head."""
    try:
        length = json_length(headers)
    except ModelyardError:
        return 0
    return int(length) % _PLACE_BYTES if length and length.isdigit() and len(length) < 16 else 0
