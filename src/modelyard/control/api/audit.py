"""The audit log over HTTP, as by ``modelyard audit``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from modelyard.control import documents
from modelyard.control.actions import audit
from modelyard.control.api.pages import Limit, following
from modelyard.control.api.route import PREFIX, Answer, Call, Route
from modelyard.core.identity import Permission, Verb
from modelyard.guard.records import Filter

_NEEDS = Permission(Verb.AUDIT)
_PATH = f"{PREFIX}/audit"
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which records: the newest so many of those that fit all of this, as `guard.records.Filter` has it."""

    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    actor: str = ""
    action: str = ""
    object: str = ""
    outcome: Literal["", "done", "denied", "failed"] = ""
    limit: Limit = 50
    after: _Number = 0
    before: _Number = 0


def _list(call: Call) -> Answer:
    fields = msgspec.structs.asdict(call.asked)
    found = audit.find(call.home, Filter(**fields | {"limit": call.asked.limit + 1}))
    older = len(found) > call.asked.limit
    shown = found[1:] if older else found
    headers = following(call, before=str(shown[0].sequence)) if older else {}
    return Answer([documents.record(one) for one in shown], headers=headers)


def _verify(call: Call) -> Answer:
    return Answer(documents.report(audit.verify(call.home)))


ROUTES = (
    Route("GET", _PATH, _NEEDS, _list, "What was done, oldest first; the newest so many of what is wanted.", Wanted),
    Route("GET", f"{_PATH}/verify", _NEEDS, _verify, "Check that the log is what was recorded."),
)
