"""The edge: names that it may be called by, browsers that speak for others, bodies, and the headers of every answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelyard.control.actions.home import Home
from modelyard.control.api.edge import HEADERS
from modelyard.control.api.reading import BODY_BYTES
from tests.unit.control.api.callers import Answered, Api


@pytest.fixture
def api(home: Home) -> Iterator[Api]:
    with Api(home) as api:
        yield api


def _raw(api: Api, *headers: tuple[str, str], method: str = "GET", path: str = "/api/v1/me") -> Answered:
    return api.send(method, path, [*headers, ("x-api-key", api.key)])


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8090", "127.0.0.1", "127.0.0.1:1", "[::1]:8090", "LOCALHOST."]
)
def test_its_own_names_are_answered(api: Api, host: str) -> None:
    assert _raw(api, ("host", host)).status == 200


@pytest.mark.row("NET-05")
def test_other_names_are_not(api: Api, record_property) -> None:
    cases = [
        [],
        [("host", "localhost"), ("host", "localhost")],
        [("host", "evil.example")],
        [("host", "localhost"), ("host", "evil.example")],
        [("host", "evil.example"), ("x-forwarded-host", "localhost")],
        [("host", "localhost.evil.example")],
        [("host", "192.0.2.1")],
        [("host", "localhost:99999")],
        [("host", "localhost@evil.example")],
        [("host", "")],
        [("host", "a b")],
    ]
    got = [_raw(api, *case) for case in cases]
    assert {one.status for one in got} <= {400, 403, 421}
    assert _raw(api, ("host", "localhost"), ("x-forwarded-host", "evil.example")).status == 200
    record_property("number", f"0 accepted of {len(cases)} (control API)")


@pytest.mark.row("WEB-01")
def test_a_browser_cannot_be_made_to_change_anything(api: Api, record_property) -> None:
    sites = [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "")],
        [("origin", "null")],
        [("origin", "https://evil.example")],
        [("origin", "http://localhost:1234")],
        [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
    ]
    asked = 0
    for method, path in [
        ("POST", "/api/v1/keys"),
        ("DELETE", "/api/v1/keys/admin"),
        ("PUT", "/api/v1/models/a/aliases/b"),
        ("PATCH", "/api/v1/keys"),
    ]:
        for site in sites:
            assert _raw(api, ("host", "localhost"), *site, method=method, path=path).status in {400, 403}, (
                method,
                site,
            )
            asked += 1
    for site in ("same-origin", "none"):
        got = _raw(api, ("host", "localhost"), ("sec-fetch-site", site), method="DELETE", path="/api/v1/keys/nobody")
        assert got.status == 404
    assert _raw(api, ("host", "localhost"), ("sec-fetch-site", "cross-site")).status == 200  # it reads, and needs a key
    record_property("number", f"0 effects of {asked} (control API)")


def test_every_answer_is_for_nobody_to_keep_or_to_show(api: Api) -> None:
    for got in (
        api.ask("GET", "/api/v1/me"),
        api.ask("GET", "/api/v1/nothing"),
        api.ask("GET", "/api/v1/me", key=None),
        _raw(api, ("host", "evil.example")),
    ):
        assert {name.decode(): value.decode() for name, value in HEADERS}.items() <= got.headers.items()
        assert got.headers["content-type"] == "application/json" if got.status == 200 else "application/problem+json"
        assert "access-control-allow-origin" not in got.headers
        assert "server" not in got.headers
        assert got.status == 200 or got.json["instance"] == got.headers["x-request-id"]


def test_bodies_are_json_and_small(api: Api) -> None:
    def post(raw: bytes, *headers: tuple[str, str]) -> int:
        return api.ask("POST", "/api/v1/keys", raw, headers=headers).status

    ours = ("content-type", "application/json")
    assert post(b'{"name": "a"}') == 415
    for other in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json5"):
        assert post(b'{"name": "a"}', ("content-type", other)) == 415
    assert post(b'{"name": "a"}', ("content-type", "Application/JSON; charset=utf-8")) == 201
    assert post(b" " * (BODY_BYTES + 1), ours) == 413
    for hostile in (b"", b"{", b"[]", b"null", b'{"name": 1}', b'{"name": "b", "more": 1}', b"[" * 30_000, b"\xff"):
        assert post(hostile, ours) == 400, hostile[:20]
    assert post(b'{"name": "b", "expires_at": NaN}', ours) == 400
    assert api.ask("POST", "/api/v1/keys?name=b", b'{"name": "b"}', headers=[ours]).status == 400


def test_a_body_that_does_not_say_how_long_it_is_is_counted(api: Api) -> None:
    headers = [("host", "localhost"), ("x-api-key", api.key), ("content-type", "application/json")]
    chunks = [b" " * 1024] * 65
    assert api.send("POST", "/api/v1/keys", headers, chunks).status == 413
    assert api.send("POST", "/api/v1/keys", headers, [b'{"na', b'me": "c"}']).status == 201


def test_queries_are_read_strictly(api: Api) -> None:
    bad = ("limit=0", "limit=501", "limit=x", "limit=1&limit=2", "nothing=1", "limit", "after=nobody")
    assert {query: api.ask("GET", f"/api/v1/keys?{query}").status for query in bad} == dict.fromkeys(bad, 400)
    assert api.ask("GET", "/api/v1/me?a=1").status == 400
    assert api.ask("GET", "/api/v1/keys?all=true&limit=5").status == 200
    assert api.ask("DELETE", "/api/v1/keys/nobody", b"{}", headers=[("content-type", "application/json")]).status == 400
