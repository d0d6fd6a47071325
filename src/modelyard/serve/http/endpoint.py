"""One version asked by one contract: the way of every prediction over HTTP, whatever its words are."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from modelyard.core.errors import Kind, ModelyardError
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.serve.http import encoding
from modelyard.serve.http.message import Request
from modelyard.serve.http.site import Refuse
from modelyard.serve.replica import Replica


class Codec(Protocol):
    """A contract's words for one version, made once when it is loaded."""

    def decode(self, request: Request) -> InferRequest:
        """The question in this request; a `ModelyardError` says what does not fit."""
        ...

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """The head (see `message.head`) and the body of the answer."""
        ...


class Endpoint:
    """A handler: decode, ask, encode, count."""

    __slots__ = ("_codec", "_limit_bytes", "_refuse", "_replica")

    def __init__(self, replica: Replica, codec: Codec, refuse: Refuse, limit_bytes: int) -> None:
        self._replica = replica
        self._codec = codec
        self._refuse = refuse
        self._limit_bytes = limit_bytes

    def __call__(self, request: Request) -> None:
        """Answer this request, now or later."""
        try:
            if b"content-encoding" in request.headers:
                request.body = encoding.inflated(request.body, request.headers, self._limit_bytes)
            asked = self._codec.decode(request)
            request.waiting = self._replica.submit(asked, partial(self._reply, request, asked))
        except ModelyardError as exc:
            self._fail(request, exc)

    def _reply(
        self, request: Request, asked: InferRequest, given: InferResponse | None, error: ModelyardError | None
    ) -> None:
        if given is None:
            assert error is not None
            self._fail(request, error)
            return
        try:
            head, body = self._codec.encode(asked, given)
        except ModelyardError as exc:
            self._fail(request, exc)
            return
        self._replica.count(given, request.started)
        if len(body) < encoding.WORTH_BYTES:
            request.respond(head, body)
        else:
            encoding.respond(request, head, body)

    def _fail(self, request: Request, error: ModelyardError) -> None:
        error.facts.setdefault("model", self._replica.label)
        self._replica.count_error(error, request.started)
        first, body = self._refuse(error, request)
        if error.kind is Kind.BUSY:
            first = b"%b\r\nretry-after: %d\r\ncontent-length: " % (
                first.removesuffix(b"\r\ncontent-length: "),
                error.facts.get("retry_s", 1),
            )
        request.respond(first, body)
