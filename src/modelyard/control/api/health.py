"""Whether the control API lives and can do its work: for whoever watches over it, who has no key."""

from __future__ import annotations

from modelyard.control.api.route import ANYBODY, Answer, Call, Route
from modelyard.core.errors import ModelyardError, NotReady


def _live(call: Call) -> Answer:
    del call
    return Answer({"live": True})


def _ready(call: Call) -> Answer:
    try:
        with call.home.database.read() as connection:
            connection.execute("SELECT id FROM keys LIMIT 1").fetchone()
    except ModelyardError as exc:  # what is wrong with it is not for strangers
        raise NotReady(what="the database cannot be read") from exc
    return Answer({"ready": True})


ROUTES = (
    Route("GET", "/livez", ANYBODY, _live, "Whether the process is alive."),
    Route("GET", "/readyz", ANYBODY, _ready, "Whether it can do what it is asked: its database can be read."),
)
