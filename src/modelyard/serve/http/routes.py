"""Which handler answers which address: one table per roster, looked up by the exact bytes of the path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import orjson

from modelyard.core.errors import ModelyardError, NotAllowed, NotFound, Unauthenticated
from modelyard.core.identity import Permission, Verb
from modelyard.guard.gate import Caller, Gate
from modelyard.guard.visits import turned_away
from modelyard.serve.http import contracts, lines, pages
from modelyard.serve.http.errors import JSON
from modelyard.serve.http.message import Head, Request, Sink, head, later
from modelyard.serve.http.site import ANYBODY, READ_ALL, Guarded, Refuse, Route, Site, Table, reads
from modelyard.serve.plane import Roster
from modelyard.watch import metrics
from modelyard.watch.counters import Counter, read_totals

_OK = head(200, JSON)
# /models/NAME@2, /v1/models/NAME:predict, /v1/models/NAME/labels/ALIAS:predict, /v2/models/NAME/versions/2/infer
_MODEL = re.compile(r"(?:/v\d+)?/models/([^/:@]+)(?:(?:@|/labels/)([^/:]+)|/versions/(\d+))?")
#: What a caller may, who is told about a model.
_ABOUT = (Verb.READ, Verb.PREDICT)
_DIGITS = 18  # of a version's number


class Routes:
    """The router of one worker: a table that is replaced whole when the roster changes.

    Parameters
    ----------
    site : Site
        What is known of the server, and which contracts it speaks.
    unrouted : Counter
        Counts requests that reach no model.
    gate : Gate
        Tells callers by their credentials.
    """

    def __init__(self, site: Site, unrouted: Counter, gate: Gate) -> None:
        #: Who tells callers by their credentials; replaced whole when keys change.
        self.gate = gate
        self.gauges: Callable[[], Mapping[str, tuple[str, float]]] = dict
        self._site = site
        self._unrouted = unrouted
        self._contracts = [contracts.contract(name) for name in site.contracts]
        prefixes = [(prefix, item.refuse) for item in self._contracts for prefix in item.PREFIXES]
        self._prefixes: list[tuple[bytes, Refuse]] = sorted(prefixes, key=lambda pair: -len(pair[0]))
        self._roster = Roster()
        self._table: Table = {}
        self._patterns: list[tuple[re.Pattern[bytes], Route]] = []
        self.replace(self._roster)

    def replace(self, roster: Roster) -> None:
        """Answer from this roster from now on; requests under way keep the one they met."""
        table = self._house(roster)
        for contract in self._contracts:
            for path, route in contract.routes(self._site, roster).items():
                before = table.get(path)
                table[path] = _merged(before, route) if before else route
        patterns = [(_pattern(path), route) for path, route in table.items() if b"{" in path]
        self._roster, self._table, self._patterns = roster, table, patterns
        #: Stands for the table. Heads remember this, and not what is in it: they would keep old models in memory.
        self._era = object()

    def dispatch(self, request: Request) -> None:
        """Hand the request to its handler; see `message.Router`."""
        asked = request.head
        route = self._table.get(asked.path) or self._patterned(asked.path)
        if route is None:
            caller = self._known(request)  # strangers are not told what is here and what is not
            raise self._unknown(asked, caller)
        guarded = route.handlers.get(asked.method)
        if guarded is None and asked.method == b"HEAD":
            guarded = route.handlers.get(b"GET")
        if guarded is not None:
            if guarded.needs is not None and not self._remembers(request):
                self._admit(request, guarded.needs)
            guarded.answer(request)
            return
        _check_business(asked, self._known(request))
        if asked.method == b"OPTIONS":
            request.respond(head(200, JSON, b"allow: " + route.allow), b"{}")
        else:
            raise NotAllowed(method=asked.method.decode("latin-1"), allowed=route.allow.decode())

    def stream(self, request: Request) -> Sink | None:
        """Who takes this body line by line, or whether anybody does; see `message.Router`."""
        asked = request.head
        route = self._table.get(asked.path) or self._patterned(asked.path)
        guarded = route.handlers.get(asked.method) if route is not None else None
        if guarded is None:
            self._known(request)
        elif guarded.needs is not None:
            self._admit(request, guarded.needs)
        if route is None or route.stream is None or asked.method != b"POST":
            return None
        media = asked.said[0].partition(b";")[0].strip().lower()
        return route.stream(request) if media in lines.MEDIA else None

    def _remembers(self, request: Request) -> bool:
        """Whether a request of the same bytes was let in: by this gate, to this table, and not too long ago."""
        asked, caller = request.head, request.head.caller
        if asked.admitted is not self._era or asked.gate is not self.gate or caller is None:
            return False
        request.caller = caller
        return request.started <= caller.until_s

    def _admit(self, request: Request, needs: Permission | Callable[[Request], Permission]) -> None:
        """Nothing, where the caller may; else `Unauthenticated` or `Forbidden`."""
        caller, asked = self._known(request), request.head
        caller.check(needs if isinstance(needs, Permission) else needs(request))
        if asked.caller is caller and not caller.networks:  # else it is the connection that was looked at
            asked.admitted = self._era

    def _known(self, request: Request) -> Caller:
        """Who calls. What a head proves, the same bytes prove again, for a while; a certificate is the connection's."""
        head = request.head
        caller = head.caller
        if caller is None or head.gate is not self.gate or request.started > caller.until_s:
            authorization, api_key = (_text(head.headers.get(name)) for name in (b"authorization", b"x-api-key"))
            if authorization is None and api_key is None and not self.gate.open:
                caller = request.papers.caller(self.gate)
            else:
                caller = self.gate.caller(authorization, api_key, request.papers.address)
                head.gate, head.caller, head.admitted = self.gate, caller, None
        if caller.networks:
            caller.check_source(request.papers.address)
        request.caller = caller
        return caller

    def refuse(self, request: Request, error: ModelyardError) -> None:
        """Answer a request that reached no model, in its contract's words; see `message.Router`."""
        self._unrouted.invalid()
        if turned_away(error):
            self.gate.visits.deny(error, self._wanted(request), request.papers.address)
        route = self._table.get(request.path) or self._patterned(request.path)
        first, body = (route.refuse if route else self._refusal(request.path))(error, request)
        if route is not None and isinstance(error, NotAllowed):
            first = b"%s\r\nallow: %s\r\ncontent-length: " % (first.removesuffix(b"\r\ncontent-length: "), route.allow)
        elif isinstance(error, Unauthenticated):
            first = b"%s\r\nwww-authenticate: Bearer\r\ncontent-length: " % first.removesuffix(b"\r\ncontent-length: ")
        request.respond(later(first, error), body)

    def _wanted(self, request: Request) -> str:
        """The scope that it takes to be answered here; nothing where nothing is."""
        route = self._table.get(request.path) or self._patterned(request.path)
        guarded = route.handlers.get(request.head.method) if route is not None else None
        if guarded is None or guarded.needs is None:
            return ""
        try:
            needs = guarded.needs if isinstance(guarded.needs, Permission) else guarded.needs(request)
        except ModelyardError:  # the address has a name in it that is none
            return ""
        return str(needs.scope)

    def _patterned(self, path: bytes) -> Route | None:
        """The route of an address with something in it that no table can list: a model that is not there yet."""
        return next((route for pattern, route in self._patterns if pattern.fullmatch(path)), None)

    def _refusal(self, path: bytes) -> Refuse:
        return next((refuse for prefix, refuse in self._prefixes if path.startswith(prefix)), pages.refuse)

    def _unknown(self, asked: Head, caller: Caller) -> ModelyardError:
        """Why nothing is at this address, in terms of a model where it speaks of one."""
        _check_business(asked, caller)
        path = asked.path.decode("latin-1")
        named = _MODEL.match(path)
        if named is not None:
            name, alias, number = named.groups()
            try:
                model = self._roster.model(name)
                if alias and alias not in model.aliases and not alias.isdecimal():
                    return NotFound(what="alias", name=alias[:80], known=model.aliases)
                if (wanted := number or alias) and wanted.isdecimal():
                    model.version(int(wanted[:_DIGITS]))
            except NotFound as exc:
                return exc
        return NotFound(what="address", name=path[:200], hint="see what there is: GET /docs")

    def _house(self, roster: Roster) -> Table:
        """Addresses that belong to no contract: health, metrics and documents."""
        documents = pages.Documents(self._site, roster)

        def ready(request: Request) -> None:
            told = {"troubles": roster.troubles} if roster.troubles and self.gate.open else {}  # they name models
            state = self._site.plane.ready
            request.respond(head(200 if state else 503, JSON), orjson.dumps({"ready": state, **told}))

        handlers = {
            b"/": Guarded(ANYBODY, _home),
            b"/livez": Guarded(ANYBODY, lambda request: request.respond(_OK, b'{"live":true}')),
            b"/readyz": Guarded(ANYBODY, ready),
            b"/metrics": Guarded(Permission(Verb.METRICS), self._metrics),
            b"/openapi.json": Guarded(READ_ALL, documents.openapi),
            b"/docs": Guarded(READ_ALL, documents.page),
            b"/docs.css": Guarded(ANYBODY, documents.style),
            b"/docs.js": Guarded(ANYBODY, documents.script),
        }
        for name in roster.models:
            handlers[b"/models/%s/openapi.json" % name.encode()] = Guarded(reads(name), documents.openapi_of(name))
        return {path: Route({b"GET": guarded}, pages.refuse) for path, guarded in handlers.items()}

    def _metrics(self, request: Request) -> None:
        text = metrics.exposition(read_totals(self._site.run), self.gauges())
        request.respond(head(200, metrics.CONTENT_TYPE.encode()), text.encode())


def _check_business(asked: Head, caller: Caller) -> None:
    """`Forbidden`, where the address speaks of a model that this caller may neither read nor ask.

    The same is said of models that there are and of others, so that nobody finds out by guessing.
    """
    named = _MODEL.match(asked.path.decode("latin-1"))
    if named is not None and not any(caller.principal.may(Permission(verb, named[1])) for verb in _ABOUT):
        caller.check(Permission(Verb.PREDICT if asked.method == b"POST" else Verb.READ, named[1]))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _pattern(path: bytes) -> re.Pattern[bytes]:
    """``/models/{name}/load`` as an expression: a name in braces is anything but a slash or a colon."""
    return re.compile(rb"[^/:]+".join(re.escape(part) for part in re.split(rb"{[a-z_]+}", path)))


def _merged(first: Route, second: Route) -> Route:
    """Two contracts at one address: methods are added up, and the second has its way where both have one."""
    return Route({**first.handlers, **second.handlers}, second.refuse, second.stream or first.stream)


def _home(request: Request) -> None:
    """Browsers go to the documentation; programs learn that the server is alive."""
    if b"text/html" in request.headers.get(b"accept", b""):
        request.respond(head(302, b"text/html", b"location: /docs"), b"")
    else:
        request.respond(_OK, b'{"status":"alive"}')
