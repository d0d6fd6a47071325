"""Every address and method, with every sort of credential: who gets in is what the table of permissions says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.control.api.app import PUBLIC, ROUTES
from modelyard.core.identity import ROLES, Permission, Role, Scope, Verb, scopes
from modelyard.guard import keys as texts
from tests.unit.control.api.callers import Api

#: What each takes, written down once more, by hand: the verb, and whether it is about the model in the address.
NEEDS: dict[str, Verb | None] = {
    "GET /api/v1/me": None,
    "GET /api/v1/openapi.json": None,
    "GET /api/v1/issuers": Verb.CONFIGURE,
    "GET /api/v1/trust": Verb.CONFIGURE,
    "GET /api/v1/keys": Verb.KEYS,
    "POST /api/v1/keys": Verb.KEYS,
    "GET /api/v1/keys/{key}": Verb.KEYS,
    "DELETE /api/v1/keys/{key}": Verb.KEYS,
    "POST /api/v1/keys/{key}/rotate": Verb.KEYS,
    "POST /api/v1/keys/{key}/rotate/finish": Verb.KEYS,
    "GET /api/v1/models": Verb.READ,
    "GET /api/v1/models/{model}": Verb.READ,
    "DELETE /api/v1/models/{model}": Verb.DEPLOY,
    "GET /api/v1/models/{model}/versions": Verb.READ,
    "GET /api/v1/models/{model}/versions/{version}": Verb.READ,
    "DELETE /api/v1/models/{model}/versions/{version}": Verb.DEPLOY,
    "PUT /api/v1/models/{model}/aliases/{alias}": Verb.DEPLOY,
    "DELETE /api/v1/models/{model}/aliases/{alias}": Verb.DEPLOY,
    "GET /api/v1/rates": Verb.CONFIGURE,
    "PUT /api/v1/rates/{name}": Verb.CONFIGURE,
    "DELETE /api/v1/rates/{name}": Verb.CONFIGURE,
    "GET /api/v1/audit": Verb.AUDIT,
    "GET /api/v1/audit/verify": Verb.AUDIT,
}
#: What anybody may ask, written down once more too.
OPEN = {"GET /livez", "GET /readyz"}
MODEL = "fraud-eu"
PATTERNS = ("*", "fraud-*", "fraud-eu", "other", "fraud-*-x")
BODIES = {"/api/v1/models/{model}/aliases/{alias}": {"version": 1}}  # without one, a rate limits nothing
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@pytest.fixture
def api(home: Home) -> Iterator[Api]:
    with Api(home) as api:
        yield api


def _address(path: str) -> str:
    """Of something that is not there: whoever is let in is told so, and changes nothing."""
    return path.format(key="nobody", model=MODEL, version="7", alias="canary", name="gold")


def _may(granted: frozenset[Scope], verb: Verb | None, path: str) -> bool:
    """What the table says, once more, without the code that is tested."""
    if verb is None:
        return True
    if path.endswith("/models"):
        return any(scope.verb is verb for scope in granted)
    return any(scope.covers(Permission(verb, MODEL if "{model}" in path else "")) for scope in granted)


def _strangers(api: Api) -> dict[str, tuple[str, str] | None]:
    """Credentials of nobody: the header, or none."""
    admin = scopes(Role.ADMIN)
    gone = api.granted("gone", admin)
    keys.revoke(api.home, "gone")
    ended = api.granted("ended", admin, began=timedelta(days=2), life=timedelta(days=1))
    waits = api.granted("waits", admin, wait=timedelta(days=1))
    mine = api.key
    return {
        "none": None,
        "empty": ("x-api-key", ""),
        "malformed": ("x-api-key", "no key at all"),
        "another check": ("x-api-key", mine[:-1] + ("0" if mine[-1] != "0" else "1")),
        "another scheme": ("authorization", f"Basic {mine}"),
        "unknown": ("authorization", f"Bearer {texts.mint('live')}"),
        "another secret": ("x-api-key", str(texts.mint("live", mine.split("_")[2]))),
        "revoked": ("authorization", f"Bearer {gone}"),
        "expired": ("x-api-key", ended),
        "not yet": ("x-api-key", waits),
        "a cookie": ("cookie", f"key={mine}"),
    }


def _known(api: Api) -> dict[str, tuple[frozenset[Scope], str]]:
    """Keys of every role for several patterns, and of every single scope."""
    found = {}
    for at, pattern in enumerate(PATTERNS):
        for role in ROLES:
            granted = scopes(role, pattern)
            found[f"{role} of {pattern}"] = (granted, api.granted(f"{role}-{at}", granted))
    for verb in Verb:
        single = frozenset({Scope(verb, MODEL if Permission(verb).of_models else "")})
        found[f"{verb} alone"] = (single, api.granted(f"only-{verb}", single))
    return found


@pytest.mark.row("AUT-01")
def test_every_route_and_credential_is_as_the_table_says(api: Api, record_property) -> None:
    strangers, known = _strangers(api), _known(api)
    wrong, asked = [], 0
    for line, verb in NEEDS.items():
        method, path = line.split()
        for sent in ("GET", "HEAD") if method == "GET" else (method,):
            for who, header in strangers.items():
                headers = [header] if header else []
                where = f"10.0.{asked >> 8}.{asked % 256}"  # from one address so many would not be looked at any more
                got = api.ask(sent, _address(path), BODIES.get(path), key=None, headers=headers, client=where)
                asked += 1
                if got.status != 401 or got.headers.get("www-authenticate") != "Bearer":
                    wrong.append((sent, path, who, got.status))
            for who, (granted, key) in known.items():
                got = api.ask(sent, _address(path), BODIES.get(path), key=key)
                asked += 1
                right = {200, 400, 404} if _may(granted, verb, path) else {403}
                if got.status not in right:
                    wrong.append((sent, path, who, got.status))
    assert wrong == []
    assert asked > 1000
    record_property("number", f"0 mismatches of {asked:,} (control API)")


@pytest.mark.row("AUT-01")
def test_what_no_route_takes_is_refused_to_strangers_like_anything_else(api: Api, record_property) -> None:
    """Addresses that are not there, and methods that those which are do not take."""
    paths = sorted({line.split()[1] for line in {*NEEDS, *OPEN}})
    asked = 0
    for path in [*paths, "/", "/api", "/api/v1", "/api/v1/keys/", "/docs", "/openapi.json", "/api/v1/nothing"]:
        taken = {line.split()[0] for line in {*NEEDS, *OPEN} if line.split()[1] == path}
        taken |= {"HEAD"} if "GET" in taken else set()
        for method in METHODS:
            if method in taken:
                continue
            assert api.ask(method, _address(path), key=None).status == 401, (method, path)
            got = api.ask(method, _address(path))
            assert got.status == (405 if taken else 404), (method, path)
            assert not taken or set(got.headers["allow"].split(", ")) == taken
            asked += 2
    record_property("number", f"0 of {asked} let through where no route is (control API)")


def test_the_table_by_hand_is_whole() -> None:
    assert {str(route) for route in ROUTES} | {"GET /api/v1/openapi.json"} == set(NEEDS) | OPEN
    assert set(PUBLIC) == OPEN


@pytest.mark.row("AUT-01")
def test_whoever_watches_over_it_needs_nothing_and_learns_nothing(api: Api, record_property) -> None:
    asked = 0
    for header in _strangers(api).values():
        for line, told in (("GET /livez", {"live": True}), ("GET /readyz", {"ready": True})):
            method, path = line.split()
            got = api.ask(method, path, key=None, headers=[header] if header else [])
            assert (got.status, got.json) == (200, told)
            assert api.ask("HEAD", path, key=None, headers=[header] if header else []).status == 200
            asked += 2
    assert api.ask("GET", "/readyz?x=1", key=None).status == 400
    assert not api.entrance.visits.denied  # whoever is not asked who it is, is not turned away
    record_property("number", f"{asked} of {asked} answered: what anybody may ask (control API)")


def test_a_name_with_a_pattern_in_it_is_nobodys(api: Api) -> None:
    key = api.role(Role.DEPLOYER, "fraud-*")
    for name in ("fraud-*", "*", "fraud-%2f", "fraud-eu%00", "..", "FRAUD-EU", "fraud-eu."):
        assert api.ask("DELETE", f"/api/v1/models/{name}", key=key).status in {400, 404}, name
    assert api.ask("GET", "/api/v1/models/fraud-eu%2f..%2fother", key=key).status == 400
    assert api.ask("GET", "/api/v1/models//fraud-eu", key=key).status == 404


def test_who_guesses_is_not_heard_any_more(api: Api) -> None:
    wrong = str(texts.mint("live"))
    statuses = [
        api.ask("GET", "/api/v1/me", key=str(texts.mint("live")), client="192.0.2.1").status for _ in range(200)
    ]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert int(api.ask("GET", "/api/v1/me", key=wrong, client="192.0.2.1").headers["retry-after"]) >= 1
    assert api.ask("GET", "/api/v1/me", key=wrong, client="192.0.2.2").status == 401
    assert api.ask("GET", "/api/v1/me").status == 200


def test_a_key_opens_only_from_its_networks(api: Api) -> None:
    key = api.granted("far", scopes(Role.ADMIN), networks=("10.0.0.0/8",))
    assert api.ask("GET", "/api/v1/me", key=key).status == 403
    assert api.ask("GET", "/api/v1/me", key=key, client="10.1.2.3").status == 200


def test_a_key_that_is_revoked_is_so_with_the_next_request(api: Api) -> None:
    key = api.role(Role.VIEWER)
    assert api.ask("GET", "/api/v1/me", key=key).status == 200
    keys.revoke(api.home, key)
    assert api.ask("GET", "/api/v1/me", key=key).status == 401


def test_who_was_turned_away_is_remembered(api: Api) -> None:
    api.ask("GET", "/api/v1/keys", key=None, client="203.0.113.9")
    api.ask("GET", "/api/v1/keys", key=api.role(Role.VIEWER))
    wanted = {(one.who.partition(":")[0], one.wanted, one.why) for one in api.entrance.visits.denied}
    assert wanted == {("unknown", "server:keys", "UNAUTHENTICATED"), ("key", "server:keys", "FORBIDDEN")}
