"""Lists in pieces: so many at once, and a link to those that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from modelyard.control.api.route import Answer, Call
from modelyard.core.errors import InvalidRequest

#: How many things a list has at most.
MOST = 500
Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST)]

_Item = TypeVar("_Item")


class Paged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which part of a list.

    Parameters
    ----------
    limit : int
        How many at most.
    after : str
        The last one that is known already, as a link to the next page names it.
    """

    limit: Limit = 100
    after: str = ""


def page(call: Call, items: Sequence[_Item], mark: Callable[[_Item], str], write: Callable[[_Item], Any]) -> Answer:
    """The part of the list that was asked for; `InvalidRequest` when it was to begin after something that is not there.

    Parameters
    ----------
    call : Call
        Its query is a `Paged`.
    items : sequence
        The whole list, in its order.
    mark : callable
        What each is known by.
    write : callable
        What is said of each.
    """
    marks = [mark(item) for item in items]
    if call.asked.after and call.asked.after not in marks:
        raise InvalidRequest(what="there is nothing to go on after", hint="begin again, without after")
    begin = marks.index(call.asked.after) + 1 if call.asked.after else 0
    chosen = items[begin : begin + call.asked.limit]
    headers = following(call, after=mark(chosen[-1])) if begin + len(chosen) < len(items) else {}
    return Answer([write(item) for item in chosen], headers=headers)


def following(call: Call, **changed: str) -> dict[str, str]:
    """The header that says where a list goes on: the same address, with this changed in its query."""
    parts = urlsplit(call.address)
    return {"link": f'<{parts.path}?{urlencode({**dict(parse_qsl(parts.query)), **changed})}>; rel="next"'}
