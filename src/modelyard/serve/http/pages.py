"""The documents of what is served: ``/openapi.json`` and the ``/docs`` page, with nothing from anywhere else."""

from __future__ import annotations

import asyncio
import pkgutil
from collections.abc import Callable
from functools import cached_property

import orjson

from modelyard.core.errors import Internal, ModelyardError
from modelyard.core.schema import Described, Schema
from modelyard.guard.edges import PAGE_HEADERS
from modelyard.serve.http.documents import describe, specification
from modelyard.serve.http.errors import JSON, PROBLEM, STATUS, problem
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.site import Handler, Site
from modelyard.serve.plane import Roster, ServedModel

_HEADS = {status: head(status, PROBLEM) for status in STATUS.values()}
_SAFE = tuple(b"%b: %b" % header for header in PAGE_HEADERS.items())
_JSON = head(200, JSON)
_HTML = head(200, b"text/html; charset=utf-8", *_SAFE)


class Documents:
    """The documents of one roster, each made when it is first asked for, in a thread: of many models they take long."""

    def __init__(self, site: Site, roster: Roster) -> None:
        self._site = site
        self._models = list(roster.models.values())
        self._made: dict[str, bytes] = {}

    def openapi(self, request: Request) -> None:
        """``GET /openapi.json``."""
        self._answer(request, _JSON, "openapi", lambda: orjson.dumps(self._whole))

    def openapi_of(self, name: str) -> Handler:
        """``GET /models/{name}/openapi.json``."""

        def make() -> bytes:
            return orjson.dumps(specification(self._site, self._described, name))

        return lambda request: self._answer(request, _JSON, f"openapi of {name}", make)

    def page(self, request: Request) -> None:
        """``GET /docs``."""
        self._answer(request, _HTML, "page", self._page)

    def style(self, request: Request) -> None:
        """``GET /docs.css``."""
        request.respond(head(200, b"text/css; charset=utf-8", *_SAFE), _asset("docs.css"))

    def script(self, request: Request) -> None:
        """``GET /docs.js``."""
        request.respond(head(200, b"text/javascript; charset=utf-8", *_SAFE), _asset("docs.js"))

    def _answer(self, request: Request, first: bytes, name: str, make: Callable[[], bytes]) -> None:
        if name in self._made:
            request.respond(first, self._made[name])
            return

        def settle(task: asyncio.Future[bytes]) -> None:
            error = task.exception()
            if error is None:
                self._made[name] = task.result()
                request.respond(first, self._made[name])
            else:
                known = error if isinstance(error, ModelyardError) else Internal(cause=type(error).__name__)
                request.respond(*refuse(known, request))

        asyncio.get_running_loop().run_in_executor(None, make).add_done_callback(settle)

    @cached_property
    def _whole(self) -> Schema:
        return specification(self._site, self._described)

    @cached_property
    def _described(self) -> list[Described]:
        return [one for model in self._models for one in _describe(model)]

    def _page(self) -> bytes:
        from modelyard.serve.http import hypertext  # noqa: PLC0415 - for a page that most servers are never asked for

        return hypertext.page([(model, _describe(model)[0]) for model in self._models], self._whole["paths"])


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """A problem of RFC 9457: how everything is refused that is no contract's."""
    return _HEADS[STATUS[error.kind]], problem(error, request.id.decode("latin-1"))


def _asset(name: str) -> bytes:
    raw = pkgutil.get_data("modelyard.serve.http", name)
    assert raw is not None
    return raw


def _describe(model: ServedModel) -> list[Described]:
    bundles = {number: replica.bundle for number, replica in model.versions.items()}
    return describe(model.name, model.default, bundles, model.aliases)
