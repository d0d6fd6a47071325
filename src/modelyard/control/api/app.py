"""The control API as an application: a table of routes, each behind what it needs. What is not in the table is not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from modelyard.control.api import audit, health, installation, keys, models, rates
from modelyard.control.api.document import document
from modelyard.control.api.problems import refusal, success
from modelyard.control.api.reading import read
from modelyard.control.api.reception import Reception
from modelyard.control.api.route import KNOWN, PREFIX, Answer, Anybody, Call, Route
from modelyard.core.errors import Busy, Internal, ModelyardError, NotAllowed, NotFound

log = logging.getLogger("modelyard")

#: Every route there is, but for the document about them.
ROUTES: tuple[Route, ...] = (
    *(*health.ROUTES, *installation.ROUTES, *keys.ROUTES, *models.ROUTES, *rates.ROUTES, *audit.ROUTES),
)
#: The addresses that need nothing. Another one that says so keeps the process from starting.
PUBLIC = frozenset({"GET /livez", "GET /readyz"})
#: Acts at once, and requests that may be under way or wait; and the same of those that need nothing.
_THREADS, _WAITING = 8, 64
_PUBLIC_THREADS, _PUBLIC_WAITING = 1, 16
_NOT_ALLOWED = 405

Endpoint = Callable[[Request], Awaitable[Response]]


class Desk:
    """Answers requests: lets the caller in, reads what it wants, has the act done, and says what became of it."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._line = _Line(_THREADS, _WAITING)
        self._public = _Line(_PUBLIC_THREADS, _PUBLIC_WAITING)  # so that strangers keep nobody waiting who has a key

    async def answer(self, route: Route, request: Request) -> Response:
        """The answer of this route to the request."""
        try:
            home = self._reception.admit(request, route, request.path_params)
            asked = await read(request, route)
            call = Call(home, request.path_params, asked, _address(request))
            line = self._public if isinstance(route.needs, Anybody) else self._line
            return success(await line.run(route.act, call))
        except ModelyardError as exc:
            return refusal(exc, request.state.id)
        except Exception as exc:  # the request's border: what nobody foresaw is ours, and stays here
            log.exception("%s failed", route)
            return refusal(Internal(cause=type(exc).__name__), request.state.id)

    async def unrouted(self, request: Request, exc: Exception) -> Response:
        """The answer where no route is. Strangers are not told what is here and what is not."""
        try:
            self._reception.admit(request, None, {})
            if isinstance(exc, HTTPException) and exc.status_code == _NOT_ALLOWED:
                raise NotAllowed(method=request.method[:20], allowed=", ".join(_methods(request)))
            hint = f"see what there is: GET {PREFIX}/openapi.json"
            raise NotFound(what="address", name=request.scope["path"][:200], hint=hint)
        except ModelyardError as error:
            return refusal(error, request.state.id)


class _Line:
    """Runs acts in so many threads; others wait, but not more than so many."""

    def __init__(self, threads: int, most: int) -> None:
        self._limiter = CapacityLimiter(threads)
        self._most = most
        self._under_way = 0

    async def run(self, act: Callable[[Call], Answer], call: Call) -> Answer:
        """What the act answers; `Busy` where too many wait."""
        if self._under_way >= self._most:
            raise Busy(what="too many requests at once", hint="try again in a second")
        self._under_way += 1
        try:
            return await to_thread.run_sync(act, call, limiter=self._limiter)
        finally:
            self._under_way -= 1


def make_app(reception: Reception, routes: Iterable[Route] = ROUTES) -> FastAPI:
    """The application.

    Parameters
    ----------
    reception : Reception
        Lets callers in.
    routes : iterable of Route
        What there is; a document about it is added.

    Raises
    ------
    Internal
        There is an address that does not say what its callers need, needs nothing and is not known for that, or is
        there twice.
    """
    desk, table = Desk(reception), tuple(routes)
    described = document(table)
    own = Route("GET", f"{PREFIX}/openapi.json", KNOWN, lambda call: Answer(described), "This document.")
    app = FastAPI(title="Modelyard", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    for route in (*table, own):
        methods = ["GET", "HEAD"] if route.method == "GET" else [route.method]
        app.add_api_route(route.path, _endpoint(desk, route), methods=methods, response_model=None)
    app.add_exception_handler(HTTPException, desk.unrouted)
    check_declared(app)
    return app


def check_declared(app: FastAPI) -> None:
    """`Internal` unless every address of the application is one of a `Route`, which says what its callers need.

    Only those in `PUBLIC` may need nothing.
    """
    seen: set[str] = set()
    for each in app.routes:
        route = getattr(each.endpoint, "route", None) if isinstance(each, APIRoute) else None
        if not isinstance(route, Route):
            raise Internal(cause=f"the address {getattr(each, 'path', each)} does not say what its callers need")
        if isinstance(route.needs, Anybody) and str(route) not in PUBLIC:
            raise Internal(cause=f"{route} needs nothing")
        if str(route) in seen:
            raise Internal(cause=f"{route} is there twice")
        seen.add(str(route))


def _endpoint(desk: Desk, route: Route) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await desk.answer(route, request)

    endpoint.__dict__["route"] = route  # for `check_declared`
    endpoint.__annotations__ = {"request": Request, "return": Response}  # the names alone would be evaluated
    return endpoint


def _methods(request: Request) -> list[str]:
    """What this address takes."""
    found: set[str] = set()
    for each in request.app.routes:
        if isinstance(each, APIRoute) and each.path_regex.match(request.scope["path"]):
            found |= each.methods or set()
    return sorted(found)


def _address(request: Request) -> str:
    query = request.url.query
    return f"{request.scope['path']}?{query}" if query else str(request.scope["path"])
