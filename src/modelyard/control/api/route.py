"""A route: an address and a method, what its callers need, and the act behind it. One that needs nothing cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from modelyard.control.actions.home import Home
from modelyard.core.errors import Forbidden, Internal
from modelyard.core.identity import OF_MODELS, Permission, Principal, Scope, Verb
from modelyard.core.reference import check_name
from modelyard.guard.gate import Caller

#: Before every address.
PREFIX = "/api/v1"
#: Methods that change nothing.
READING = frozenset({"GET", "HEAD"})


class Anybody(NamedTuple):
    """Whoever asks, with a key or without. Only the few addresses that `app.PUBLIC` names may say so."""


class Known(NamedTuple):
    """Whoever has proven who they are, whatever they may."""


class Some(NamedTuple):
    """Whoever may do this to some model; the answer is about those models only."""

    verb: Verb


#: What the braces of an address held, by name.
Named = Mapping[str, str]
Needs = Permission | Anybody | Known | Some | Callable[[Named], Permission]
ANYBODY, KNOWN = Anybody(), Known()


@dataclass(frozen=True)
class Call:
    """One request, once its caller was let in.

    Parameters
    ----------
    home : Home
        Which acts for the caller.
    named : mapping
        What the braces of the address held.
    asked : Struct or None
        The body of a request that may change something, else the query; as the route takes it.
    address : str
        What was called, with its query.
    """

    home: Home
    named: Named
    asked: Any
    address: str

    @property
    def caller(self) -> Principal:
        """Who calls."""
        return self.home.actor


class Answer(NamedTuple):
    """What an act has to say."""

    document: Any
    status: int = 200
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Route:
    """One method of one address.

    Parameters
    ----------
    method, path : str
        ``/api/v1/keys/{key}``: names in braces stand for anything but a slash.
    needs : Permission, Anybody, Known, Some, or callable
        What the caller has to be allowed; a callable tells it from what the braces held.
    act : callable
        Does it, in a thread.
    summary : str
        One line for the API's own document.
    takes : type, optional
        Of the body (of the query, where the method changes nothing or the body says nothing).
    query : bool
        Whether it takes that from the query though it may change something.
    makes : bool
        Whether there is something new afterwards, which the answer's ``Location`` names.
    """

    method: str
    path: str
    needs: Needs
    act: Callable[[Call], Answer]
    summary: str
    takes: type[msgspec.Struct] | None = None
    query: bool = False
    makes: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.needs, Permission | Anybody | Known | Some) and not callable(self.needs):
            raise Internal(cause=f"{self} does not say what its callers need")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def reads_body(self) -> bool:
        """Whether what it takes is in the body."""
        return self.takes is not None and self.method not in READING and not self.query

    def permission(self, named: Named) -> Permission | None:
        """The one permission that it takes; None where it takes none, or any of several."""
        if isinstance(self.needs, Permission):
            return self.needs
        return None if isinstance(self.needs, Anybody | Known | Some) else self.needs(named)

    def check(self, caller: Caller, named: Named) -> None:
        """`Forbidden` when this caller may not; `InvalidName` when what is in the address is no name."""
        permission = self.permission(named)
        if permission is not None:
            caller.check(permission)
        elif isinstance(self.needs, Some) and not any(one.verb is self.needs.verb for one in caller.principal.scopes):
            scope = str(Scope(self.needs.verb, "*" if self.needs.verb in OF_MODELS else ""))
            raise Forbidden(who=caller.principal.name, verb=str(self.needs.verb), what="any model", scope=scope)


def of_model(verb: Verb) -> Callable[[Named], Permission]:
    """What it takes to do this to the model in ``{model}``."""
    return lambda named: Permission(verb, check_name(named["model"]))
