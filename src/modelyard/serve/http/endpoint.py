"""One version's two ways of being asked over HTTP: the friendly contract and Open Inference Protocol v2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from modelyard.core.errors import InvalidRequest, ModelyardError, Unsupported
from modelyard.core.tensor import Array
from modelyard.serve.http.codecs.simple import SimpleCodec
from modelyard.serve.http.codecs.v2 import HEADER_LENGTH, V2Codec, Wanted
from modelyard.serve.http.errors import JSON, PROBLEM, STATUS, problem, protocol_error
from modelyard.serve.http.protocol import Request, head
from modelyard.serve.replica import Replica

Encode = Callable[[Sequence[Array]], bytes]

_JSON_TYPES = frozenset({b"application/json", b"text/json", b"text/plain", b"application/x-www-form-urlencoded"})
_OCTETS = b"application/octet-stream"
_PROTOCOL_HEADS = {status: head(status, JSON) for status in STATUS.values()}
_PROBLEM_HEADS = {status: head(status, PROBLEM) for status in STATUS.values()}


class Endpoint:
    """One version's two ways of being asked; its codecs and response heads are made once."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self._v2 = V2Codec(replica.signature, replica.name, replica.version)
        self._simple = SimpleCodec(replica.signature, replica.name, replica.version)
        label = b"modelyard-model: " + replica.label.encode()
        self._json = head(200, JSON, label)
        self._octets = head(200, _OCTETS, label).removesuffix(b"content-length: ") + HEADER_LENGTH

    def predict(self, request: Request) -> None:
        """The friendly contract."""
        try:
            _require_json(request)
            encode = self._simple.encode_full if _wants_detail(request.query) else self._simple.encode
            arrays = self._simple.decode(request.body)
            self.replica.submit(arrays, partial(self._predicted, request, arrays[0].shape[0], encode))
        except ModelyardError as exc:
            self._fail(request, exc)

    def infer(self, request: Request) -> None:
        """The v2 contract."""
        try:
            _require_identity(request)
            arrays, wanted = self._v2.decode(request.body, request.headers.get(HEADER_LENGTH))
            self.replica.submit(arrays, partial(self._inferred, request, arrays[0].shape[0], wanted))
        except ModelyardError as exc:
            self._fail(request, exc)

    def _predicted(
        self, request: Request, rows: int, encode: Encode, outputs: Sequence[Array] | None, error: ModelyardError | None
    ) -> None:
        if outputs is None:
            self._fail(request, error)
            return
        body = encode(outputs)
        self.replica.count(rows, perf_counter() - request.started, None)
        request.respond(self._json, body)

    def _inferred(
        self, request: Request, rows: int, wanted: Wanted, outputs: Sequence[Array] | None, error: ModelyardError | None
    ) -> None:
        if outputs is None:
            self._fail(request, error)
            return
        body, json_bytes = self._v2.encode(outputs, wanted)
        self.replica.count(rows, perf_counter() - request.started, None)
        if json_bytes is None:
            request.respond(self._json, body)
        else:
            request.respond(b"%s: %d\r\ncontent-length: " % (self._octets, json_bytes), body)

    def _fail(self, request: Request, error: ModelyardError | None) -> None:
        assert error is not None
        error.facts.setdefault("model", self.replica.label)
        self.replica.count(0, 0.0, error)
        refuse(request, error)


def _require_json(request: Request) -> None:
    _require_identity(request)
    kind = request.headers.get(b"content-type", b"application/json")
    if kind not in _JSON_TYPES:
        kind = kind.partition(b";")[0].strip().lower()
        if kind not in _JSON_TYPES and not kind.endswith(b"+json"):
            raise Unsupported(what=f"content type {kind.decode('latin-1')[:80]!r}", hint="send application/json")
    if not request.body:
        raise InvalidRequest(what="the body is empty", hint='send a row, for example {"feature": 3}')


def _require_identity(request: Request) -> None:
    encoding = request.headers.get(b"content-encoding")
    if encoding not in {None, b"identity"}:
        raise Unsupported(what=f"content encoding {encoding.decode('latin-1')[:40]!r}", hint="send it uncompressed")


def _wants_detail(query: bytes) -> bool:
    if not query:
        return False
    if query == b"detail=full":
        return True
    raise InvalidRequest(what=f"parameters {query.decode('latin-1')[:80]!r}", hint="the only one is ?detail=full")


def refuse(request: Request, error: ModelyardError) -> None:
    """Answer with the error in the words of the request's contract: v2 has its own body, the rest is a problem."""
    status = STATUS[error.kind]
    if request.path.startswith(b"/v2"):
        request.respond(_PROTOCOL_HEADS[status], protocol_error(error))
    else:
        request.respond(_PROBLEM_HEADS[status], problem(error, request.id.decode("latin-1")))
