"""What a contract is given, and what it gives back: the words between the router and the contracts' files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from modelyard.core.errors import InvalidRequest, ModelyardError, NotFound
from modelyard.core.identity import Permission, Verb
from modelyard.core.plan import Limits
from modelyard.serve.http.errors import JSON
from modelyard.serve.http.message import Request, Sink, head
from modelyard.serve.plane import Plane, Roster, ServedModel

Handler = Callable[[Request], None]
#: What a caller has to be allowed: known when the table is made, or told by the address; None where anybody may ask.
Needs = Permission | Callable[[Request], Permission] | None
#: Writes an error in the words of one contract: the response's head (see `message.head`) and its body.
Refuse = Callable[[ModelyardError, Request], tuple[bytes, bytes]]


class Guarded(NamedTuple):
    """A handler, and what its callers need. There is no handler without an answer to that."""

    needs: Needs
    answer: Handler


@dataclass(frozen=True)
class Route:
    """One address: its handlers by method, the words in which it refuses, and who takes bodies that are streams."""

    handlers: Mapping[bytes, Guarded]
    refuse: Refuse
    stream: Callable[[Request], Sink] | None = None

    @property
    def allow(self) -> bytes:
        """Value of the ``Allow`` header."""
        methods = {*self.handlers, b"OPTIONS"} | ({b"HEAD"} if b"GET" in self.handlers else set())
        return b", ".join(sorted(methods))


#: Routes by the exact bytes of the path; ``{name}`` in it stands for any one part, where no exact path is found.
Table = dict[bytes, Route]


@dataclass(frozen=True)
class Site:
    """The server as far as contracts know it.

    Parameters
    ----------
    plane : Plane
        Whether it is ready. A contract makes its table for the roster it is handed, never for ``plane.roster``.
    run : Path
        Folder of the workers' counters.
    limits : Limits
        Of each request.
    contracts : tuple of str
        What is spoken here, in order; where two want one address, the later has it.
    environ : mapping
        Variables by which a platform tells its containers what it expects (``AIP_PREDICT_ROUTE`` and their like).
    """

    plane: Plane
    run: Path
    limits: Limits = field(default_factory=Limits)
    contracts: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


#: Reading about all models, and about none.
READ_ALL = Permission(Verb.READ)
ANYBODY: Needs = None


def reads(model: str) -> Permission:
    """What it takes to be told about this model."""
    return Permission(Verb.READ, model)


def predicts(model: str = "") -> Permission:
    """What it takes to ask this model; without a name, all of them."""
    return Permission(Verb.PREDICT, model)


def document(content: Any, refuse: Refuse, needs: Needs) -> Route:
    """A route whose answer is a JSON document that is known now."""
    first, body = head(200, JSON), orjson.dumps(content)
    return Route({b"GET": Guarded(needs, lambda request: request.respond(first, body))}, refuse)


def versions(base: bytes, model: ServedModel) -> dict[bytes, int]:
    """Addresses below `base` that name the model's versions: the bare one for the default, ``/versions/N`` for each."""
    return {base: model.default} | {b"%s/versions/%d" % (base, number): number for number in model.versions}


def sole(roster: Roster, instead: str) -> ServedModel:
    """The one model that is served, for addresses that name none.

    Parameters
    ----------
    roster : Roster
        What is served.
    instead : str
        An address that names its model, with ``{name}`` in it, for the hint.

    Raises
    ------
    NotFound, InvalidRequest
        No model is served, or several.
    """
    names = list(roster.models)
    if len(names) == 1:
        return roster.models[names[0]]
    if not names:
        raise NotFound(what="model", name="", hint="serve one: modelyard serve NAME")
    raise InvalidRequest(
        what=f"{len(names)} models are served, and this address does not say which",
        hint="ask one of " + ", ".join(instead.format(name=name) for name in names[:8]),
    )


def refusing(error: ModelyardError) -> Handler:
    """A handler that always refuses, for an address that would be there in another setting."""

    def handler(request: Request) -> None:
        del request
        raise type(error)(**error.facts)

    return handler
