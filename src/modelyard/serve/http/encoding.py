"""Content encodings of bodies, both ways: gzip, deflate and zstd. Small answers are not worth the work."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from modelyard.core.errors import InvalidRequest, TooLarge, Unsupported
from modelyard.serve.http.message import Request

#: Answers below this size are sent as they are.
WORTH_BYTES = 1024
#: Answers above this size are compressed in a thread, so that the others do not wait.
AWAY_BYTES = 32 * 1024
_GZIP, _ZLIB, _BARE = 31, 15, -15  # zlib's names for the three wrappings, as its window bits
_SAMPLE_BYTES = 4096
_FOLDED = 0.8  # a sample that stays larger than this share stands for a body that is not worth the work
_FED_BYTES, _UNFOLDED_BYTES = 64 * 1024, 128 * 1024  # at a time
_LEVEL = 1  # most of the gain for a fraction of the time
_LENGTH = b"content-length: "

Headers = Mapping[bytes, bytes]


def inflated(body: bytes | bytearray, headers: Headers, limit_bytes: int) -> bytes | bytearray:
    """The body without its content encodings.

    Parameters
    ----------
    body : bytes
        As it arrived.
    headers : mapping
        With ``content-encoding``.
    limit_bytes : int
        Most that it may unfold to.

    Raises
    ------
    Unsupported
        An encoding other than gzip, deflate, zstd and identity.
    TooLarge
        It unfolds to more than `limit_bytes`.
    InvalidRequest
        It is not what the header says.
    """
    for name in reversed([item.strip().lower() for item in headers[b"content-encoding"].split(b",")]):
        if name in {b"identity", b""}:
            continue
        unfold = _DECODERS.get(name)
        if unfold is None:
            shown = name.decode("latin-1")[:40]
            raise Unsupported(what=f"content encoding {shown!r}", hint="send it as gzip, deflate or zstd, or as it is")
        body = unfold(body, limit_bytes)
    return body


def _unfold(body: bytes | bytearray, limit_bytes: int, unpacker: Callable[[], Any]) -> bytearray:
    """In pieces: in one go, what unfolds to the limit takes twice that."""
    unfolded, view, at = bytearray(), memoryview(body), 0
    while at < len(view):  # one file may be several, one after the other
        packed = unpacker()
        while at < len(view) and not packed.eof:
            fed: bytes | memoryview = view[at : at + _FED_BYTES]
            at += len(fed)
            piece = b""
            while not packed.eof and (fed or len(piece) == _UNFOLDED_BYTES):
                try:
                    piece = packed.decompress(fed, _UNFOLDED_BYTES)
                except Exception as exc:  # zlib.error, ZstdError, whose module may not even be imported
                    raise _broken(exc) from exc
                unfolded += piece
                if len(unfolded) > limit_bytes:
                    raise TooLarge(what="body, uncompressed,", limit=f"{limit_bytes} bytes")
                fed = getattr(packed, "unconsumed_tail", b"")  # zstd's keeps it to itself
        if not packed.eof:
            raise _broken("it ends too early")
        at -= len(packed.unused_data)
    return unfolded


def _unzip(body: bytes | bytearray, limit_bytes: int) -> bytearray:
    return _unfold(body, limit_bytes, lambda: zlib.decompressobj(_GZIP))


def _inflate(body: bytes | bytearray, limit_bytes: int) -> bytearray:
    """``deflate`` is zlib's format by its RFC; some clients send the bare stream, as its name says."""
    wrapped = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _unfold(body, limit_bytes, lambda: zlib.decompressobj(_ZLIB if wrapped else _BARE))


def _unzstd(body: bytes | bytearray, limit_bytes: int) -> bytearray:
    return _unfold(body, limit_bytes, _zstandard().ZstdDecompressor)


def _zstandard() -> Any:
    """The standard library's module, or the same for Pythons before 3.14. Few clients send or ask for it."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def _broken(cause: object) -> InvalidRequest:
    return InvalidRequest(what="the body is not what its Content-Encoding says", cause=str(cause)[:200])


_DECODERS: dict[bytes, Callable[[bytes | bytearray, int], bytearray]] = {
    b"gzip": _unzip,
    b"x-gzip": _unzip,
    b"deflate": _inflate,
    b"zstd": _unzstd,
}


def respond(request: Request, head: bytes, body: bytes) -> None:
    """Send this answer, which is worth it, compressed as the client takes it."""
    name = _chosen(request.headers.get(b"accept-encoding", b""))
    if not name or (len(body) > AWAY_BYTES and not _folds(body)):
        request.respond(head, body)
        return
    head = b"%scontent-encoding: %s\r\nvary: accept-encoding\r\n%s" % (head.removesuffix(_LENGTH), name, _LENGTH)
    if len(body) <= AWAY_BYTES:
        request.respond(head, _folded(name, body))
        return
    task = asyncio.get_running_loop().run_in_executor(None, _folded, name, body)
    task.add_done_callback(lambda done: request.respond(head, done.result()))


@lru_cache(maxsize=256)
def _chosen(accepted: bytes) -> bytes:
    """The best encoding that an ``Accept-Encoding`` allows; empty for none."""
    weights: dict[bytes, float] = {}
    for item in accepted.lower().split(b","):
        name, _, parameter = item.partition(b";")
        try:
            weights[name.strip()] = float(parameter.strip().removeprefix(b"q=") or 1)
        except ValueError:
            weights[name.strip()] = 0.0
    # Of equals gzip: clients over aiohttp say that they take zstd and then read gzip and deflate only (tritonclient).
    names = [name for name in (b"gzip", b"deflate", b"zstd") if weights.get(name, weights.get(b"*", 0.0)) > 0]
    return max(names, key=lambda name: weights.get(name, 0.0), default=b"")


def _folds(body: bytes) -> bool:
    """Whether a large body, of which a piece is tried, becomes much smaller: raw fractions do not."""
    middle = len(body) // 2
    return len(zlib.compress(body[middle : middle + _SAMPLE_BYTES], _LEVEL)) < _FOLDED * _SAMPLE_BYTES


def _folded(name: bytes, body: bytes) -> bytes:
    if name == b"zstd":
        zipped: bytes = _zstandard().compress(body, _LEVEL)
        return zipped
    packer: Any = zlib.compressobj(_LEVEL, wbits=_GZIP if name == b"gzip" else _ZLIB)
    packed: bytes = packer.compress(body) + packer.flush()
    return packed
