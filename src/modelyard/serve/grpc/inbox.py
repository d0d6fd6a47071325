"""The messages of one call as they come out of its DATA frames: cut, unfolded, and never larger than allowed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from modelyard.core.errors import Internal, InvalidRequest, ModelyardError, TooLarge, Unsupported

PREFIX_BYTES = 5
#: How messages may be folded, and what zlib calls that.
FOLDED = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_PLAIN = b"identity"


class Inbox:
    """Puts one call's messages together.

    Parameters
    ----------
    limit_bytes : int
        Of one message, before and after it was unfolded.
    encoding : bytes
        What ``grpc-encoding`` says.
    """

    __slots__ = ("_at", "_encoding", "_folded", "_limit_bytes", "_message", "_prefix")

    def __init__(self, limit_bytes: int, encoding: bytes) -> None:
        self._limit_bytes = limit_bytes
        self._encoding = encoding
        self._prefix = b""
        self._message: bytearray | None = None
        self._at = 0  # how much of the message is there
        self._folded = False

    @property
    def begun(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._message is not None or bool(self._prefix)

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished message is there."""
        return self._at

    def feed(self, data: memoryview) -> Iterator[bytes]:
        """Take what came next; the messages that it completes. A `ModelyardError` says what is wrong with one."""
        while data:
            if self._message is None:
                missing = PREFIX_BYTES - len(self._prefix)
                self._prefix += data[:missing]
                data = data[missing:]
                if len(self._prefix) < PREFIX_BYTES:
                    return
                self._begin()
            assert self._message is not None
            size = min(len(self._message) - self._at, len(data))
            self._message[self._at : self._at + size] = data[:size]
            self._at += size
            data = data[size:]
            if self._at == len(self._message):
                whole, self._message, self._prefix, self._at = self._message, None, b"", 0
                yield self._unfolded(whole) if self._folded else bytes(whole)

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
        self._message = bytearray(size)  # its pages are not there before they are written

    def _unreadable(self) -> ModelyardError:
        if self._encoding == _PLAIN:
            return Internal(cause="a message is marked as compressed, and no grpc-encoding says how")
        return Unsupported(what=f"grpc-encoding {self._encoding[:40].decode('latin-1')!r}")

    def _unfolded(self, message: bytearray) -> bytes:
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
