"""What the API of a cluster answers when it does not do what it was asked, in our words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from modelyard.core.errors import Conflict, Denied, InvalidRequest, ModelyardError, TargetUnavailable
from modelyard.ship.cluster.kinds import Kind

_UNAUTHORIZED, _FORBIDDEN, _MISSING, _CONFLICT, _GONE, _INVALID, _MANY = 401, 403, 404, 409, 410, 422, 429
_SPACE = re.compile(r'namespaces? "([^"]{1,253})" not found')
_MAY_NOT = re.compile(r'User "([^"]*)" cannot ([a-z]+) resource "([^"]+)"')
_SHOWN = 400


@dataclass(frozen=True)
class Asked:
    """What was asked, for the sentence.

    Parameters
    ----------
    target, namespace : str
        Of whom, and where.
    verb, name : str
        ``patch``, ``churn``; no name for all of a kind.
    kind : Kind or None
        Of what.
    """

    target: str
    namespace: str
    verb: str
    kind: Kind | None = None
    name: str = ""

    @property
    def what(self) -> str:
        """``deployment/churn``."""
        kind = self.kind.name.lower() if self.kind else "request"
        return f"{kind}/{self.name}" if self.name else kind


def refusal(asked: Asked, status: int, text: str) -> ModelyardError:
    """The error that an answer without success means."""
    said = _status(text)
    message = " ".join(str(said.get("message") or text).split())[:_SHOWN]
    if status == _UNAUTHORIZED:
        what = f"target {asked.target}: the cluster does not take our credentials"
        hint = f"log in again, then: modelyard target check {asked.target}"
        return Denied(what=what, cause="they have expired, or are those of another cluster", hint=hint)
    if found := _SPACE.search(message):
        hint = f"kubectl create namespace {found[1]}; or name another one when you add the target"
        return TargetUnavailable(target=asked.target, what=f"there is no namespace {found[1]!r}", hint=hint)
    table = {_FORBIDDEN: _forbidden, _MISSING: _missing, _CONFLICT: _conflict, _INVALID: _invalid, 400: _invalid}
    if status in table:
        return table[status](asked, said, message)
    words = {_MANY: "it is asked too much", _GONE: "what was asked for is no longer there"}.get(status, message)
    return TargetUnavailable(target=asked.target, what=f"the cluster answers {status} to {asked.what}", cause=words)


def _status(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _forbidden(asked: Asked, said: dict[str, Any], message: str) -> ModelyardError:
    """No permission, no quota, or a rule of the namespace."""
    del said
    space = asked.namespace
    if "exceeded quota" in message:
        hint = f"kubectl describe quota --namespace {space}"
        return Denied(what=f"the quota of namespace {space!r} is used up: {asked.what}", cause=message, hint=hint)
    if found := _MAY_NOT.search(message):
        user, verb, plural = found.groups()
        resource = asked.kind.resource if asked.kind else plural
        hint = f"ask for a role that may; to see: kubectl auth can-i {verb} {resource} --namespace {space}"
        return Denied(what=f"{user} may not {verb} {resource} in namespace {space!r}", cause=message, hint=hint)
    if "being terminated" in message:
        hint = f"wait until it is gone, then: kubectl create namespace {space}"
        return TargetUnavailable(target=asked.target, what=f"namespace {space!r} is being removed", hint=hint)
    return Denied(what=f"the cluster refuses {asked.what}", cause=message)


def _missing(asked: Asked, said: dict[str, Any], message: str) -> ModelyardError:
    """A kind that the cluster does not know: what is missing is told by a page, and not by an object's name."""
    del said
    if asked.kind is None:
        return TargetUnavailable(target=asked.target, what="the cluster does not know what was asked", cause=message)
    what = f"the cluster has no {asked.kind.name} ({asked.kind.version})"
    hint = f"install what brings it, or change the target; to see: kubectl api-resources --api-group={asked.kind.group}"
    return TargetUnavailable(target=asked.target, what=what, cause=message, hint=hint)


def _conflict(asked: Asked, said: dict[str, Any], message: str) -> ModelyardError:
    """Another manager owns a field; or something of that sort."""
    causes = [each for each in (said.get("details") or {}).get("causes") or [] if isinstance(each, dict)]
    owned = [each for each in causes if each.get("reason") == "FieldManagerConflict"]
    if not owned:
        return Conflict(what=f"{asked.what} is being changed by somebody else", cause=message, hint="try again")
    managers = sorted({str(each.get("message", "")).partition('"')[2].partition('"')[0] for each in owned})
    fields = ", ".join(str(each.get("field", "")) for each in owned)
    return Conflict(
        what=f"{asked.what} is managed by {' and '.join(managers)} too: {fields}",
        cause=message,
        hint=f"let {managers[0]} no longer set it; or add the target again with take_over=true",
    )


def _invalid(asked: Asked, said: dict[str, Any], message: str) -> ModelyardError:
    del said
    if "immutable" in message:
        what = f"{asked.what} was made by something else: what it is for cannot be changed"
        hint = "deploy under another name; or remove it first, which interrupts it"
        return Conflict(what=what, cause=message, hint=hint)
    return InvalidRequest(what=f"the cluster does not accept {asked.what}", cause=message)
