"""HTTP/2 frames (RFC 9113): their numbers, the ones a server of gRPC writes, and what a broken one is."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
#: Length (high 16 and low 8 bits), type, flags, stream; of the last the highest bit is reserved.
unpack_head = Struct(">HBBBL").unpack_from
unpack_number = Struct(">L").unpack_from
unpack_setting = Struct(">HL").iter_unpack
STREAM_BITS = 0x7FFFFFFF
MAX_WINDOW = 0x7FFFFFFF
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
MAX_FRAME = 16_777_215
#: The largest frame that we take: few for a large tensor, and little to keep of one that comes in drips.
OUR_FRAME = 131_072

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

#: What a stream that comes to nothing costs its client's patience; any other control frame costs one.
RESET_COSTS = 4
_PRIORITY_BYTES = 5
_pack_head = Struct(">HBBBL").pack
_pack_numbers = Struct(">LL").pack
_pack_number = Struct(">L").pack
_pack_setting = Struct(">HL").pack


class Setting(IntEnum):
    """What one side tells the other about itself."""

    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Reason(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Violation(Exception):
    """The other side broke the protocol so that the connection cannot go on; the text goes into our GOAWAY."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One whole frame."""
    size = len(payload)
    return _pack_head(size >> 8, size & 0xFF, kind, flags, stream) + payload


def data_head(size: int, stream: int) -> bytes:
    """The head of a DATA frame with so many bytes, after which the stream goes on."""
    return _pack_head(size >> 8, size & 0xFF, DATA, 0, stream)


def settings(values: dict[Setting, int]) -> bytes:
    """Our SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(_pack_setting(name, value) for name, value in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """So many bytes more may be sent to us."""
    return frame(WINDOW_UPDATE, 0, stream, _pack_number(increment))


def rst_stream(stream: int, reason: Reason) -> bytes:
    """A stream is over."""
    return frame(RST_STREAM, 0, stream, _pack_number(reason))


def goaway(last: int, reason: Reason, text: str = "") -> bytes:
    """The connection is over; streams after `last` were not looked at."""
    return frame(GOAWAY, 0, 0, _pack_numbers(last, reason) + text.encode())


#: Our own PING; its answer needs no telling apart.
PROBE = frame(PING, 0, 0, b"modelyrd")


def unpadded(flags: int, data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Where between `start` and `stop` the content of a DATA or HEADERS frame lies, without padding and priority."""
    if flags & PADDED:
        if start == stop:
            raise Violation(Reason.FRAME_SIZE_ERROR, "a padded frame without a length of padding")
        stop -= data[start]
        start += 1
    if flags & PRIORITISED:
        start += _PRIORITY_BYTES
    if start > stop:
        raise Violation(Reason.PROTOCOL_ERROR, "more padding than frame")
    return start, stop
