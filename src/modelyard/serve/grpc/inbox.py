"""The messages of one call as they come out of its DATA frames: cut, unfolded, and never larger than allowed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from modelyard.core.errors import Internal, InvalidRequest, ModelyardError, TooLarge, Unsupported

PREFIX_BYTES = 5
#: How messages may be folded, and what zlib calls that.
FOLDED = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_PLAIN = b"identity"
_LARGE = 8192  # bytes of a piece


class Inbox:
    """Puts one call's messages together.

    Parameters
    ----------
    limit_bytes : int
        Of one message, before and after it was unfolded.
    encoding : bytes
        What ``grpc-encoding`` says.
    """

    __slots__ = ("_encoding", "_folded", "_limit_bytes", "_missing", "_parts", "_prefix", "_size")

    def __init__(self, limit_bytes: int, encoding: bytes) -> None:
        self._limit_bytes = limit_bytes
        self._encoding = encoding
        self._prefix = b""
        self._folded = False
        self._size = self._missing = 0  # bytes of the message, and those that are still to come
        self._parts: list[memoryview | bytearray] = []

    @property
    def begun(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._prefix)

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished message is there."""
        return self._size - self._missing

    def feed(self, data: memoryview) -> Iterator[bytes]:
        """Take what came next; the messages that it completes. A `ModelyardError` says what is wrong with one."""
        while data:
            if len(self._prefix) < PREFIX_BYTES:
                lacking = PREFIX_BYTES - len(self._prefix)
                self._prefix += data[:lacking]
                data = data[lacking:]
                if len(self._prefix) < PREFIX_BYTES:
                    return
                self._begin()
            piece = data[: self._missing]
            data = data[self._missing :]
            self._keep(piece)
            if not self._missing:
                whole, self._parts, self._prefix, self._size = b"".join(self._parts), [], b"", 0
                yield self._unfolded(whole) if self._folded else whole

    def _keep(self, piece: memoryview) -> None:
        """Large pieces stay where they are; small ones are gathered, so that none keeps much more than itself."""
        self._missing -= len(piece)
        if len(piece) >= _LARGE and 2 * len(piece) >= memoryview(piece.obj).nbytes:
            self._parts.append(piece)
        elif self._parts and isinstance(self._parts[-1], bytearray):
            self._parts[-1] += piece
        elif piece:
            self._parts.append(bytearray(piece))

    def _begin(self) -> None:
        """A message begins: its five bytes say whether it is folded, and how long it is."""
        flag, size = self._prefix[0], int.from_bytes(self._prefix[1:], "big")
        if flag > 1:
            raise Internal(cause=f"a message with the flag {flag}")
        if size > self._limit_bytes:
            raise TooLarge(what="message", limit=f"{self._limit_bytes} bytes")
        if flag and self._encoding not in FOLDED:
            raise self._unreadable()
        self._folded = bool(flag)
        self._size = self._missing = size

    def _unreadable(self) -> ModelyardError:
        if self._encoding == _PLAIN:
            return Internal(cause="a message is marked as compressed, and no grpc-encoding says how")
        return Unsupported(what=f"grpc-encoding {self._encoding[:40].decode('latin-1')!r}")

    def _unfolded(self, message: bytes) -> bytes:
        unfold = zlib.decompressobj(FOLDED[self._encoding])
        try:
            whole = unfold.decompress(message, self._limit_bytes + 1)
        except zlib.error as exc:
            raise InvalidRequest(what=f"the message is not {self._encoding.decode()}") from exc
        if len(whole) > self._limit_bytes:
            raise TooLarge(what="unfolded message", limit=f"{self._limit_bytes} bytes")
        if not unfold.eof:
            raise InvalidRequest(what=f"the {self._encoding.decode()} of the message has no end")
        return whole
