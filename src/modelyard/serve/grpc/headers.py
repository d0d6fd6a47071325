"""Header blocks of HTTP/2 for gRPC: a call's head as it arrives, heads and trailers as they leave.

A client says the same of nearly every call, and HPACK makes that the same few bytes. As long as the table they refer to
stays as it is they mean the same, so a block that was read once is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

import msgspec
from hpack import Decoder, HPACKError, OversizedHeaderListError

from modelyard.core.errors import ModelyardError
from modelyard.core.plan import Limits
from modelyard.serve.grpc.frames import Reason, Violation
from modelyard.serve.grpc.status import REQUEST_ID, STATUS, Code, sentence

FOREVER = float("inf")
#: How messages may be folded, for who folded them otherwise.
ACCEPTED = ("grpc-accept-encoding", "identity, deflate, gzip")

_HARD = 4  # beyond so many times the limit on headers a connection ends instead of a call
_REMEMBERED = 64  # blocks of one connection
_REMEMBERED_BYTES = 1024  # of one block
_ENTRY_BYTES = 32  # that HTTP/2 adds to each header when it counts
_PSEUDO = (b":method", b":scheme", b":path", b":authority")
_OF_CONNECTIONS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_UNSAID = re.compile(rb"[\0\r\n]")
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TOKEN = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_SEVEN_BITS = 0x7F


Meant = Callable[[bytes], None]


class Refusal(msgspec.Struct, frozen=True):
    """Why a call cannot be taken: a status of gRPC, or one of HTTP for who does not speak gRPC."""

    code: Code
    text: str
    http: int = 200


class Head(msgspec.Struct, frozen=True):
    """What a call says of itself.

    Parameters
    ----------
    path : bytes
        ``/package.Service/Method``.
    timeout_s : float
        How long its caller waits; infinite when it did not say.
    encoding : bytes
        Of its messages.
    request_id : str
        The caller's ``x-request-id`` where that is a plain token.
    authorization, api_key : str, optional
        The caller's credentials, as they came.
    refusal : Refusal, optional
        Why it cannot be taken.
    """

    path: bytes
    timeout_s: float = FOREVER
    encoding: bytes = b"identity"
    request_id: str = ""
    authorization: str | None = None
    api_key: str | None = None
    refusal: Refusal | None = None


class Reader:
    """Reads the header blocks of one connection, in their order.

    Parameters
    ----------
    limits : Limits
        Of one header block.
    meant : callable
        Told an authority, raises where that is not this server.
    """

    def __init__(self, limits: Limits, meant: Meant) -> None:
        self._limits = limits
        self._meant = meant
        self._decoder = Decoder(max_header_list_size=_HARD * limits.header_bytes)
        self._table = self._decoder.header_table
        self._known: dict[bytes, Head | None] = {}
        self.max_block_bytes = _HARD * limits.header_bytes

    def head(self, block: bytes) -> Head | None:
        """The head in this block; None when it breaks HTTP's rules, a `Violation` when nothing after it can be read."""
        try:
            return self._known[block]
        except KeyError:
            return self._read(block)

    def forget(self) -> None:
        """What was read is to be read again when it comes again."""
        self._known.clear()

    def _read(self, block: bytes) -> Head | None:
        entries, size = self._table.dynamic_entries, self._table.maxsize
        count, newest = len(entries), entries[0] if entries else None
        try:
            fields = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as exc:
            raise Violation(Reason.ENHANCE_YOUR_CALM, "the headers are far too large") from exc
        except (HPACKError, IndexError) as exc:  # IndexError: a string that is cut off before its length
            raise Violation(Reason.COMPRESSION_ERROR, "the headers cannot be decoded") from exc
        head = _head(fields, self._limits, self._meant)
        # The table only ever grows at its front, so this tells whether it is another one now.
        if count != len(entries) or (entries and entries[0] is not newest) or size != self._table.maxsize:
            self._known.clear()
        elif len(block) <= _REMEMBERED_BYTES:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = head
        return head


def _head(fields: Iterable[tuple[bytes, bytes]], limits: Limits, meant: Meant) -> Head | None:
    """These headers as a call's head; None when they break HTTP's rules."""
    said: dict[bytes, bytes] = {}
    size = count = 0
    regular = False
    for name, value in fields:
        size += len(name) + len(value) + _ENTRY_BYTES
        count += 1
        if name[:1] == b":":
            if regular or name in said or name not in _PSEUDO:
                return None
        else:
            regular = True
            if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS:
                return None
        if _UNSAID.search(value):
            return None
        said[name] = value
    if not all(said.get(name) for name in _PSEUDO[:3]):
        return None
    if said.get(b"te", b"trailers").lower() != b"trailers":
        return None
    refusal = _refusal(said, size, count, limits) or _misdirected(said, meant)
    timeout = _TIMEOUT.fullmatch(said.get(b"grpc-timeout", b"99999999H"))
    request_id = said.get(REQUEST_ID.encode(), b"")
    return Head(
        path=said[b":path"],
        timeout_s=int(timeout[1]) * _UNITS_S[timeout[2]] if timeout and b"grpc-timeout" in said else FOREVER,
        encoding=said.get(b"grpc-encoding", b"identity"),
        request_id=request_id.decode() if _TOKEN.fullmatch(request_id) else "",
        authorization=_text(said.get(b"authorization")),
        api_key=_text(said.get(b"x-api-key")),
        refusal=refusal,
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _refusal(said: Mapping[bytes, bytes], size: int, count: int, limits: Limits) -> Refusal | None:
    """What keeps well-formed headers from being a call's."""
    if said[b":method"] != b"POST":
        return Refusal(Code.UNKNOWN, "gRPC is called by POST", 405)
    kind = said.get(b"content-type", b"").lower()
    if not (kind == b"application/grpc" or kind.startswith((b"application/grpc+", b"application/grpc;"))):
        return Refusal(Code.UNKNOWN, "this is a gRPC port: content-type is application/grpc", 415)
    if b"te" not in said:
        return Refusal(Code.INTERNAL, "no 'te: trailers': something on the way does not know trailers")
    if b"grpc-timeout" in said and not _TIMEOUT.fullmatch(said[b"grpc-timeout"]):
        return Refusal(Code.INTERNAL, "grpc-timeout is up to eight digits and a unit")
    if size > limits.header_bytes or count > limits.header_count:
        return Refusal(Code.RESOURCE_EXHAUSTED, "too many or too large headers")
    return None


def _misdirected(said: Mapping[bytes, bytes], meant: Meant) -> Refusal | None:
    """Whether a call is for another server; it may name none, as no browser does, and both headers have to agree."""
    authority = said.get(b":authority", said.get(b"host"))
    if authority is None:
        return None
    if said.get(b"host", authority) != authority:
        return Refusal(Code.INVALID_ARGUMENT, "host is not what :authority is")
    try:
        meant(authority)
    except ModelyardError as exc:
        return Refusal(STATUS[exc.kind], sentence(exc))
    return None


def _length(number: int) -> bytes:
    """An integer in HPACK, with seven bits in its first byte."""
    if number < _SEVEN_BITS:
        return bytes((number,))
    number -= _SEVEN_BITS
    out = bytearray((_SEVEN_BITS,))
    while number > _SEVEN_BITS:
        out.append(number & _SEVEN_BITS | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def literal(name: bytes, value: bytes) -> bytes:
    """One header that leaves the other side's table alone."""
    return b"\0" + _length(len(name)) + name + _length(len(value)) + value


#: Before the first message of an answer; 0x88 is ``:status: 200``.
RESPONSE = b"\x88" + literal(b"content-type", b"application/grpc")
#: After the last.
OK_TRAILERS = literal(b"grpc-status", b"0")


def trailers(code: Code, text: str = "", metadata: Iterable[tuple[str, str]] = ()) -> bytes:
    """How a call ended, with the sentence percent-encoded as gRPC wants it."""
    block = literal(b"grpc-status", b"%d" % code)
    if text:
        block += literal(b"grpc-message", quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode())
    return block + b"".join(literal(name.encode(), value.encode()) for name, value in metadata)


def refused(refusal: Refusal) -> bytes:
    """The only headers of an answer to who does not speak gRPC."""
    told = trailers(refusal.code, refusal.text)
    status = literal(b":status", b"%d" % refusal.http)
    return status + literal(b"content-type", b"application/grpc") + told
