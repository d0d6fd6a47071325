"""The installation over HTTP: who the caller is, whose tokens are believed, whose signatures count."""

from __future__ import annotations

from modelyard.control import documents
from modelyard.control.actions import issuers, trust
from modelyard.control.api.route import KNOWN, PREFIX, Answer, Call, Route
from modelyard.core.identity import Permission, Verb

_NEEDS = Permission(Verb.CONFIGURE)


def _me(call: Call) -> Answer:
    return Answer(documents.caller(call.caller))


def _issuers(call: Call) -> Answer:
    table = issuers.table(call.home)
    return Answer([documents.issuer(one, table) for one in issuers.listed(call.home)])


def _trust(call: Call) -> Answer:
    return Answer(documents.trust(trust.read(call.home)))


ROUTES = (
    Route("GET", f"{PREFIX}/me", KNOWN, _me, "Who the caller is, and what that allows."),
    Route("GET", f"{PREFIX}/issuers", _NEEDS, _issuers, "Whose tokens are believed, and what their claims are worth."),
    Route("GET", f"{PREFIX}/trust", _NEEDS, _trust, "Whose signatures count, and from which version on."),
)
