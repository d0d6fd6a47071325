"""Rate classes over HTTP, as by ``modelyard rate``."""

from __future__ import annotations

import msgspec

from modelyard.control import documents
from modelyard.control.actions import rates
from modelyard.control.api.route import PREFIX, Answer, Call, Route
from modelyard.core.identity import Permission, Verb
from modelyard.core.rates import Rate

_NEEDS = Permission(Verb.CONFIGURE)
_PATH = f"{PREFIX}/rates"
_CLASS = f"{_PATH}/{{name}}"


class Which(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Only what was said of this pattern of models; of all, where none is named."""

    models: str | None = None


def _list(call: Call) -> Answer:
    return Answer(documents.rates(rates.listed(call.home)))


def _put(call: Call) -> Answer:
    name = call.named["name"]
    return Answer(documents.rate(name, rates.put(call.home, name, msgspec.structs.asdict(call.asked))))


def _remove(call: Call) -> Answer:
    rates.remove(call.home, call.named["name"], call.asked.models)
    return Answer({"name": call.named["name"], "models": call.asked.models})


ROUTES = (
    Route("GET", _PATH, _NEEDS, _list, "How much callers may ask, by rate class; `usual` is that of all others."),
    Route("PUT", _CLASS, _NEEDS, _put, "Say what a class may ask of the models of a pattern; servers obey.", Rate),
    Route("DELETE", _CLASS, _NEEDS, _remove, "Take back what was said of a class.", Which, query=True),
)
