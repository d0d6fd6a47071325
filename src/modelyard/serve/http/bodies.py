"""Rows in whatever form the headers name, answered in the form that they ask for: one codec for every media type.

What a request says by ``Content-Type``, ``Accept`` and its query is worked out once and kept; the next that says the
same costs one look into a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from modelyard.core.errors import InvalidRequest, MissingExtra, NotAcceptable, Unsupported
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.tensor import Arrays
from modelyard.serve.http.errors import JSON
from modelyard.serve.http.forms import FORMS, OFFERED, Form, form
from modelyard.serve.http.forms.rows import RowForm
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.negotiation import ANYTHING, media_type, ranked
from modelyard.serve.replica import Replica

#: What clients send as the type of JSON when nobody tells them: curl's and others' defaults.
_JSON_TOO = frozenset({b"text/json", b"text/plain", b"application/x-www-form-urlencoded"})
_CSV = frozenset({b"text/csv", b"application/csv"})
_XML = frozenset({b"application/xml", b"text/xml"})
_PARAMETERS = {"detail": ("full",), "header": ("present", "absent")}
_MAX_WAYS = 256  # headers are the client's to invent


class _Way(msgspec.Struct, frozen=True, gc=False):
    """How one kind of request is read and answered."""

    read: Callable[[bytes | bytearray], Arrays]
    head: bytes
    write: Callable[[InferResponse], bytes]


class Bodies:
    """Rows in the form that the request's headers name, answered in the one that they ask for."""

    def __init__(self, replica: Replica, rows: RowForm) -> None:
        self._replica = replica
        self._forms: dict[type[Form], Form] = {RowForm: rows}
        self._ways: dict[tuple[bytes, bytes | None, bytes], _Way] = {}

    def decode(self, request: Request) -> InferRequest:
        """The rows; the form is the way in which they are answered."""
        said, body = request.head.said, request.body
        way = self._ways.get(said) or self._found(said)
        if not body:
            raise InvalidRequest(what="the body is empty", hint='send a row, for example {"feature": 3}')
        return InferRequest(way.read(body), "", way)

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """One prediction a row, with its probabilities when details are wanted."""
        way: _Way = asked.form
        return way.head, way.write(given)

    def _found(self, said: tuple[bytes, bytes | None, bytes]) -> _Way:
        """The way for these headers and this query, kept for the next request that says the same."""
        kind, accept, query = said
        media, about = media_type(kind)
        wanted = parameters(query)
        own = _readable(media)
        question = self._form(own)
        read: Callable[..., Arrays] = question.decode
        if own in _CSV:
            _require_utf8(about)
            if wanted.get("header", about.get(b"header", b"").decode("latin-1")) == "absent":
                read = partial(read, header=False)
        elif "header" in wanted:
            raise InvalidRequest(what="parameter 'header' is for CSV", hint="send it with Content-Type: text/csv")
        elif own in _XML:
            _require_utf8(about)
        full = "detail" in wanted
        content_type, answer = self._answer(accept or ANYTHING, own, full=full)
        first = head(200, content_type, b"modelyard-model: " + self._replica.label.encode())
        write = answer.answer if isinstance(answer, RowForm) and not full else partial(_write, answer, full=full)
        way = _Way(read, first, write)
        if len(self._ways) >= _MAX_WAYS:
            self._ways.clear()
        self._ways[said] = way
        return way

    def _form(self, media: bytes) -> Form:
        """The form of a media type, made when it is first asked for."""
        try:
            kind = form(media)
        except MissingExtra as exc:
            raise Unsupported(what=exc.detail, hint=exc.hint) from exc
        if kind not in self._forms:
            self._forms[kind] = kind(self._replica.signature, self._replica.name, self._replica.version)
        return self._forms[kind]

    def _answer(self, accept: bytes, own: bytes, *, full: bool) -> tuple[bytes, Form]:
        """The answer's content type and form: of equally welcome ones the question's own, then JSON."""
        trouble: Unsupported | None = None
        for media in ranked(accept, dict.fromkeys([own, *FORMS])):
            try:
                answer = self._form(media)
            except Unsupported as exc:  # a library is not installed: another form may be welcome too
                trouble = trouble or exc
                continue
            if answer.writes(self._replica.signature, full=full):
                return (answer.CONTENT_TYPE if media == answer.MEDIA[0] else media), answer
        if trouble is not None:
            raise NotAcceptable(accept=trouble.detail, known=OFFERED, hint=trouble.hint)
        raise NotAcceptable(accept=accept.decode("latin-1")[:200], known=OFFERED)


def _write(answer: Form, given: InferResponse, *, full: bool) -> bytes:
    return answer.encode_full(given.outputs) if full else answer.encode(given.outputs)


def _readable(media: bytes) -> bytes:
    """The media type in `FORMS` that a question's own one means."""
    if media in _JSON_TOO or media.endswith(b"+json"):
        return JSON
    if media in FORMS:
        return media
    shown = media.decode("latin-1")[:80]
    raise Unsupported(what=f"content type {shown!r}", hint="send one of: " + ", ".join(OFFERED))


def _require_utf8(about: Mapping[bytes, bytes]) -> None:
    charset = about.get(b"charset", b"utf-8")
    if charset not in {b"utf-8", b"utf8", b"us-ascii"}:
        raise Unsupported(what=f"charset {charset.decode('latin-1')[:40]!r}", hint="send it in UTF-8")


def parameters(query: bytes) -> dict[str, str]:
    """The query's parameters, of which there are two."""
    found: dict[str, str] = {}
    for pair in query.decode("latin-1").split("&") if query else ():
        name, _, value = pair.partition("=")
        if value not in _PARAMETERS.get(name, ()) or name in found:
            known = " and ".join(f"?{name}={value}" for name, values in _PARAMETERS.items() for value in values)
            raise InvalidRequest(what=f"parameters {query.decode('latin-1')[:80]!r}", hint=f"known are {known}")
        found[name] = value
    return found
