"""Keys over HTTP: made, listed, rotated and revoked as by ``modelyard key``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from modelyard.control import documents
from modelyard.control.actions import keys
from modelyard.control.api.pages import Paged, page
from modelyard.control.api.route import PREFIX, Answer, Call, Route
from modelyard.core.errors import InvalidRequest
from modelyard.core.identity import Permission, Role, Verb
from modelyard.guard.grant import USUAL_LIFE, USUAL_OVERLAP, Grant, wanted_scopes
from modelyard.guard.keyring import GrantedKey

_NEEDS = Permission(Verb.KEYS)
_PATH = f"{PREFIX}/keys"
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_FEW = msgspec.Meta(max_length=64)


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a new key is to be; as `guard.grant.Grant`, in the words of the document that answers it.

    Parameters
    ----------
    name : str
        A DNS label that no other living key has.
    role : Role, optional
        What it may; a predictor when no scopes are given either.
    models : tuple of str
        For which models the role is; for all when there are none.
    scopes : tuple of str
        What else it may.
    environment, networks, rate
        As they are shown.
    not_before, expires_at : datetime, optional
        From when, until when; now, and 90 days.
    """

    name: str
    role: Role | None = None
    models: Annotated[tuple[str, ...], _FEW] = ()
    scopes: Annotated[tuple[str, ...], _FEW] = ()
    environment: str = "live"
    networks: Annotated[tuple[str, ...], _FEW] = ()
    rate: str = ""
    not_before: _Moment | None = None
    expires_at: _Moment | None = None

    def grant(self, now: datetime) -> Grant:
        """The grant, for a key that is made now."""
        if self.models and self.role is None:
            raise InvalidRequest(what="models says for which models a role is; a scope names its own")
        begins = self.not_before or now
        if begins < now:
            raise InvalidRequest(what="not_before is in the past", hint="leave it out for a key that is valid at once")
        return Grant(
            name=self.name,
            scopes=wanted_scopes(self.role, self.models, self.scopes),
            environment=self.environment,
            life=USUAL_LIFE if self.expires_at is None else self.expires_at - begins,
            wait=begins - now,
            networks=self.networks,
            rate=self.rate,
        )


class Overlap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the older secret goes on working, in seconds."""

    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = USUAL_OVERLAP.total_seconds()


class Listed(Paged, frozen=True, kw_only=True):
    """Which keys: ``all`` for those too that were revoked."""

    all: bool = False


def _create(call: Call) -> Answer:
    minted = keys.create(call.home, call.asked.grant(datetime.now(UTC)))
    return Answer(documents.minted(minted), 201, {"location": f"{_PATH}/{minted.key.id}"})


def _list(call: Call) -> Answer:
    ring, now = keys.read(call.home), datetime.now(UTC)

    def write(key: GrantedKey) -> dict[str, object]:
        return documents.key(key, ring.power(key.id), ring.state(key, now))

    return page(call, ring.by_name(revoked=call.asked.all), lambda key: key.id, write)


def _show(call: Call) -> Answer:
    ring, now = keys.read(call.home), datetime.now(UTC)
    key = ring.find(call.named["key"])
    return Answer(documents.key(key, ring.power(key.id), ring.state(key, now)))


def _rotate(call: Call) -> Answer:
    overlap = timedelta(seconds=call.asked.overlap_s)
    return Answer(documents.minted(keys.rotate(call.home, call.named["key"], overlap)))


def _finish(call: Call) -> Answer:
    return Answer(documents.finished(keys.finish(call.home, call.named["key"])))


def _revoke(call: Call) -> Answer:
    return Answer(documents.revoked(*keys.revoke(call.home, call.named["key"])))


ROUTES = (
    Route("GET", _PATH, _NEEDS, _list, "The keys, by name: what each may today, from where, until when.", Listed),
    Route("POST", _PATH, _NEEDS, _create, "Make a key; the answer holds its secret, this once.", NewKey, makes=True),
    Route("GET", f"{_PATH}/{{key}}", _NEEDS, _show, "One key, by its id or name."),
    Route("DELETE", f"{_PATH}/{{key}}", _NEEDS, _revoke, "Revoke a key, and all that it made."),
    Route("POST", f"{_PATH}/{{key}}/rotate", _NEEDS, _rotate, "Give a key a new secret, shown this once.", Overlap),
    Route("POST", f"{_PATH}/{{key}}/rotate/finish", _NEEDS, _finish, "End the older secret of a key that is rotated."),
)
