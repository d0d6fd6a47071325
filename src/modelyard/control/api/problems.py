"""Errors of the control API: problem+json, as the data plane words it, with what a client has to be told beside."""

from __future__ import annotations

import orjson
from starlette.responses import Response

from modelyard.control.api.route import Answer
from modelyard.core.errors import Kind, ModelyardError, NotAllowed, Unauthenticated
from modelyard.serve.http.errors import JSON, PROBLEM, problem, status

#: When to come again, in seconds, where somebody else was at work.
RETRY_S = 1
_LATER = {Kind.BUSY, Kind.LIMITED, Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.NOT_READY}


def refusal(error: ModelyardError, request_id: str) -> Response:
    """The answer to a request that was not done."""
    headers = {}
    if error.kind in _LATER:
        headers["retry-after"] = str(error.facts.get("retry_s", RETRY_S))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    elif isinstance(error, NotAllowed):
        headers["allow"] = str(error.facts["allowed"])
    return Response(problem(error, request_id), status(error), headers, PROBLEM.decode())


def success(answer: Answer) -> Response:
    """The answer to one that was."""
    raw = orjson.dumps(answer.document, option=orjson.OPT_NON_STR_KEYS, default=str)
    return Response(raw, answer.status, dict(answer.headers), JSON.decode())
