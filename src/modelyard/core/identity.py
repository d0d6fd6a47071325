"""Who asks, and what they may: verbs, roles, scopes, and the one table between them. No edge decides by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import msgspec

from modelyard.core.errors import InvalidName

_SCOPE = re.compile(r"(?:model:(?P<models>[a-z0-9*-]{1,63}):(?P<verb>[a-z]+)|server:(?P<about>[a-z]+))")


class Verb(StrEnum):
    """What can be done, to a model or to the installation."""

    READ = "read"
    PREDICT = "predict"
    PUBLISH = "publish"
    DEPLOY = "deploy"
    METRICS = "metrics"
    KEYS = "keys"
    CONFIGURE = "configure"
    AUDIT = "audit"


#: What is done to a model; the other verbs are about the installation.
OF_MODELS = frozenset({Verb.READ, Verb.PREDICT, Verb.PUBLISH, Verb.DEPLOY})


class Role(StrEnum):
    """A name for what a sort of caller may do."""

    VIEWER = "viewer"
    PREDICTOR = "predictor"
    DEPLOYER = "deployer"
    ADMIN = "admin"
    AUDITOR = "auditor"


_VIEWER = frozenset({Verb.READ, Verb.METRICS})
_PREDICTOR = _VIEWER | {Verb.PREDICT}
_DEPLOYER = _PREDICTOR | {Verb.PUBLISH, Verb.DEPLOY}
#: The permission table: what each role may. Whatever is not here is denied.
ROLES: dict[Role, frozenset[Verb]] = {
    Role.VIEWER: _VIEWER,
    Role.PREDICTOR: _PREDICTOR,
    Role.DEPLOYER: _DEPLOYER,
    Role.ADMIN: frozenset(Verb),
    Role.AUDITOR: frozenset({Verb.AUDIT}),
}


class Permission(NamedTuple):
    """What a request needs: a verb, and the name of the model that it is about; empty where it is about none."""

    verb: Verb
    model: str = ""

    @property
    def of_models(self) -> bool:
        """Whether it is about models."""
        return self.verb in OF_MODELS

    @property
    def scope(self) -> Scope:
        """The least scope that is enough."""
        return Scope(self.verb, (self.model or "*") if self.of_models else "")


class Scope(msgspec.Struct, frozen=True, order=True):
    """A part of what somebody may: one verb, and for which models.

    Parameters
    ----------
    verb : Verb
        What may be done.
    models : str
        Name of a model, in which ``*`` stands for any number of characters; empty for verbs about the installation.
    """

    verb: Verb
    models: str = ""

    def __post_init__(self) -> None:
        if (self.verb in OF_MODELS) != bool(self.models):
            raise ValueError(f"{self.verb} is {'' if self.verb in OF_MODELS else 'not '}about models")

    def __str__(self) -> str:
        return f"model:{self.models}:{self.verb}" if self.models else f"server:{self.verb}"

    def covers(self, permission: Permission) -> bool:
        """Whether it is enough for this. To do something to models without a name, every model has to be meant."""
        if permission.verb is not self.verb:
            return False
        return not self.models or _stands_for(self.models, permission.model or "*")

    def contains(self, other: Scope) -> bool:
        """Whether it allows everything that the other does."""
        return other.verb is self.verb and (not self.models or _stands_for(self.models, other.models))


def parse_scope(text: str) -> Scope:
    """Read ``model:fraud-*:predict`` or ``server:metrics``; `InvalidName` when it is neither."""
    found = _SCOPE.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        return Scope(Verb(found["verb"] or found["about"]), found["models"] or "")
    except ValueError:
        raise InvalidName(
            name=text[:80],
            what="a scope",
            suggestion="model:*:predict",
            cause=f"model:PATTERN:VERB ({_listed(OF_MODELS)}) or server:VERB ({_listed(set(Verb) - OF_MODELS)})",
        ) from None


def scopes(role: Role, models: str = "*") -> frozenset[Scope]:
    """All that a role may do, to the models of these names."""
    return frozenset(Scope(verb, models if verb in OF_MODELS else "") for verb in ROLES[role])


class Principal(msgspec.Struct, frozen=True):
    """A caller whose identity was proven, or who needs none.

    Parameters
    ----------
    name : str
        How it is known: ``key:ab12cd34ef``, ``oidc:ISSUER#SUBJECT``, ``mtls:NAME``; ``local`` for a caller on this
        machine who needs no key.
    scopes : frozenset of Scope
        What it may; the sum of its roles' and its own.
    method : str
        How its identity was proven: ``key``, ``oidc``, ``mtls`` or ``none``.
    """

    name: str
    scopes: frozenset[Scope]
    method: str = "none"

    def may(self, permission: Permission) -> bool:
        """Whether one of its scopes is enough."""
        return any(scope.covers(permission) for scope in self.scopes)

    def may_grant(self, wanted: Iterable[Scope]) -> Scope | None:
        """None when every wanted scope lies within one of its own; else the first that does not."""
        return next((scope for scope in wanted if not any(own.contains(scope) for own in self.scopes)), None)


#: Who calls from this machine, where that is enough.
LOCAL = Principal("local", scopes(Role.ADMIN))
#: Who has proven nothing.
NOBODY = Principal("nobody", frozenset())


@lru_cache(maxsize=4096)
def _stands_for(pattern: str, names: str) -> bool:
    """Whether every name that `names` (itself perhaps a pattern) stands for is one that `pattern` stands for.

    A ``*`` in `names` can be any text, so only a ``*`` of the pattern can stand for it: to match the pattern against
    `names` as if its stars were ordinary characters is exactly that. Each piece between stars is looked for once, so
    that no pattern takes long, which cannot be said of a regular expression with as many stars.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return names == pattern
    *middle, last = rest
    at, end = len(first), len(names) - len(last)
    if at > end or not (names.startswith(first) and names.endswith(last)):
        return False
    for piece in middle:
        at = names.find(piece, at, end) + len(piece)
        if at < len(piece):
            return False
    return True


def _listed(verbs: Iterable[Verb]) -> str:
    return ", ".join(sorted(verbs))
