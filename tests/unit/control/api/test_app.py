"""The application: nothing in it without a declared permission, and nothing out of it that was not meant."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from modelyard.control.actions.home import Home
from modelyard.control.api.app import PUBLIC, ROUTES, check_declared
from modelyard.control.api.route import ANYBODY, KNOWN, Answer, Anybody, Call, Route, Some
from modelyard.core.errors import Internal, Unavailable
from modelyard.core.identity import Permission, Role, Verb
from tests.unit.control.api.callers import Api


@pytest.fixture
def api(home: Home) -> Iterator[Api]:
    with Api(home) as api:
        yield api


def _nothing(call: Call) -> Answer:
    del call
    return Answer({})


async def _open() -> str:
    return ""


@pytest.mark.row("AUT-01")
@pytest.mark.parametrize("needs", [None, "", "server:keys", 7])
def test_a_route_that_does_not_say_what_it_needs_cannot_be_made(needs: Any, record_property) -> None:
    with pytest.raises(Internal) as caught:
        Route("GET", "/api/v1/open", needs, _nothing, "Open.")
    assert "does not say what its callers need" in caught.value.cause
    record_property("number", "1 of 1 not made")


@pytest.mark.row("AUT-01")
def test_an_address_that_is_not_of_the_table_does_not_start(record_property) -> None:
    app = FastAPI(openapi_url=None)
    check_declared(app)
    app.add_api_route("/open", _open, methods=["GET"])
    with pytest.raises(Internal) as caught:
        check_declared(app)
    assert "/open does not say" in caught.value.cause
    with pytest.raises(Internal):
        check_declared(FastAPI())  # its own documents are for everybody
    record_property("number", "2 of 2 not started")


@pytest.mark.row("AUT-01")
def test_only_the_addresses_that_are_named_may_need_nothing(home: Home, record_property) -> None:
    route = Route("GET", "/api/v1/open", ANYBODY, _nothing, "Open.")
    with pytest.raises(Internal) as caught:
        Api(home, routes=(*ROUTES, route))
    assert caught.value.cause == "GET /api/v1/open needs nothing"
    assert all(isinstance(one.needs, Anybody) == (str(one) in PUBLIC) for one in ROUTES)
    record_property("number", "1 of 1 not started")


def test_two_routes_of_one_address_do_not_start(home: Home) -> None:
    with pytest.raises(Internal):
        Api(home, routes=(*ROUTES, ROUTES[0]))


def test_what_nobody_foresaw_tells_a_stranger_nothing(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    def fails(call: Call) -> Answer:
        raise RuntimeError("/etc/passwd holds the secret")

    with Api(home, routes=(Route("GET", "/api/v1/fails", KNOWN, fails, "Fails."),)) as api:
        got = api.ask("GET", "/api/v1/fails")
    assert got.status == 500
    assert (got.json["code"], got.headers["content-type"]) == ("INTERNAL", "application/problem+json")
    assert b"passwd" not in got.body
    assert b"Traceback" not in got.body
    assert "GET /api/v1/fails failed" in caplog.text


def test_who_waits_for_somebody_else_is_told_when_to_come_again(home: Home) -> None:
    def locked(call: Call) -> Answer:
        raise Unavailable(what="the database is locked")

    with Api(home, routes=(Route("GET", "/api/v1/locked", KNOWN, locked, "Locked."),)) as api:
        got = api.ask("GET", "/api/v1/locked")
    assert (got.status, got.headers["retry-after"]) == (503, "1")


def test_acts_run_in_few_threads(home: Home) -> None:
    import asyncio

    seen, most, lock = [0], [0], threading.Lock()

    def slow(call: Call) -> Answer:
        with lock:
            seen[0] += 1
            most[0] = max(most[0], seen[0])
        threading.Event().wait(0.02)
        with lock:
            seen[0] -= 1
        return Answer({})

    with Api(home, routes=(Route("GET", "/api/v1/slow", KNOWN, slow, "Slow."),)) as api:
        sent = [("host", "localhost"), ("x-api-key", api.key)]

        async def many() -> list[Any]:
            asks = (api._send("GET", "/api/v1/slow", sent, [b""], "127.0.0.1") for _ in range(80))
            return await asyncio.gather(*asks)

        statuses = [one.status for one in api.runner.run(many())]
    assert most[0] <= 8
    assert statuses.count(200) == 64
    assert statuses.count(429) == 16


def test_a_caller_is_told_who_it_is(api: Api) -> None:
    key = api.role(Role.VIEWER, "price*")
    got = api.ask("GET", "/api/v1/me", key=key).json
    assert got == {
        "name": f"key:{key.split('_')[2]}",
        "method": "key",
        "scopes": ["model:price*:read", "server:metrics"],
    }


def test_some_needs_one_scope_of_that_verb() -> None:
    route = Route("GET", "/api/v1/x", Some(Verb.READ), _nothing, "X.")
    assert route.permission({}) is None
    assert str(route) == "GET /api/v1/x"
    assert Route("GET", "/x", Permission(Verb.KEYS), _nothing, "X.").permission({}) == Permission(Verb.KEYS)


def test_issuers_and_trust_are_read(api: Api) -> None:
    assert api.ask("GET", "/api/v1/issuers").json == []
    assert api.ask("GET", "/api/v1/trust").json == {"keys": [], "minimums": {}}
