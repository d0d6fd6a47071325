"""Whether it lives, and whether it is ready: for whoever has no key, without keeping those waiting who have one."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from modelyard.control.actions.home import Home
from modelyard.control.api import app, health
from modelyard.control.api.route import ANYBODY, KNOWN, Answer, Call, Route
from tests.unit.control.api.callers import Api


def test_a_database_that_cannot_be_read_is_not_ready_and_strangers_do_not_learn_why(home: Home) -> None:
    with Api(home) as api:
        assert api.ask("GET", "/readyz", key=None).json == {"ready": True}
        aside = home.settings.database.with_name("aside")
        home.settings.database.rename(aside)
        home.settings.database.write_bytes(b"no database" * 1000)
        got = api.ask("GET", "/readyz", key=None)
        assert (got.status, got.json["code"], got.headers["retry-after"]) == (503, "NOT-READY", "1")
        assert str(home.settings.home).encode() not in got.body
        assert "cause" not in got.json
        assert api.ask("GET", "/livez", key=None).json == {"live": True}
        home.settings.database.unlink()
        aside.rename(home.settings.database)
        assert api.ask("GET", "/readyz", key=None).status == 200


def test_strangers_who_ask_all_the_time_keep_nobody_waiting(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    release, began = threading.Event(), threading.Event()

    def stuck(call: Call) -> Answer:
        began.set()
        release.wait(10)
        return Answer({})

    monkeypatch.setattr(app, "PUBLIC", frozenset({"GET /stuck"}))
    routes = (
        Route("GET", "/stuck", ANYBODY, stuck, "Waits."),
        Route("GET", "/api/v1/mine", KNOWN, lambda call: Answer({}), "Mine."),
    )
    with Api(home, routes=routes) as api:
        host = ("host", "localhost")

        async def story() -> tuple[int, list[Any]]:
            floods = [asyncio.ensure_future(api._send("GET", "/stuck", [host], [b""], "192.0.2.1")) for _ in range(100)]
            await asyncio.to_thread(began.wait, 10)
            mine = await api._send("GET", "/api/v1/mine", [host, ("x-api-key", api.key)], [b""], "127.0.0.1")
            release.set()
            return mine.status, [one.status for one in await asyncio.gather(*floods)]

        mine, flooded = api.runner.run(story())
    assert mine == 200
    assert (flooded.count(200), flooded.count(429)) == (16, 84)
    assert {str(route) for route in health.ROUTES} == {"GET /livez", "GET /readyz"}
