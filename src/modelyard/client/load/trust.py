"""Whom a client believes that it is talking to the right server."""

from __future__ import annotations

import ssl
from functools import lru_cache

from modelyard.client.load.step import Place
from modelyard.core.errors import InvalidRequest, NotFound


def context(place: Place) -> ssl.SSLContext | None:
    """What connections to this place begin with; None for no TLS.

    Raises
    ------
    NotFound, InvalidRequest
        There is no such file of authorities, or no authority is in it.
    """
    return context_of(place.ca) if place.tls else None


@lru_cache(maxsize=8)
def context_of(ca: str) -> ssl.SSLContext:
    """A context that believes the authorities of this file; empty for those that the system believes."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except FileNotFoundError as exc:
        raise NotFound(what="file", name=ca) from exc
    except (OSError, ValueError) as exc:
        raise InvalidRequest(what=f"{ca!r} holds no authority in PEM", cause=str(exc)) from exc
