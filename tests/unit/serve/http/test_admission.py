"""Every address, asked with every kind of credential, answers as the permission table says."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.core.identity import ROLES, Permission, Role, Verb, scopes
from modelyard.core.plan import Limits
from modelyard.guard import keys
from modelyard.guard.certificates import Bearer, Certificates
from modelyard.guard.gate import KeyGate
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable
from modelyard.serve.http.contracts import CONTRACTS
from modelyard.serve.http.message import Head, Request
from modelyard.serve.http.protocol import Connection, Server
from modelyard.serve.http.site import Guarded, Route
from tests.models import linear_bundle
from tests.unit.serve.desk import Answer, Desk, served

Tell = Callable[[str, object], None]
PEPPER = b"p" * 32
NOW_S = datetime.now(UTC).timestamp()
LIFE = {"not_before_s": NOW_S - 60, "expires_s": NOW_S + 36_000}
#: Addresses that anybody may ask: whether it lives, whether it is ready, what software it is, and the page's looks.
PUBLIC = {
    *("/", "/livez", "/readyz", "/docs.css", "/docs.js", "/v2", "/v2/", "/v2/health/live", "/v2/health/ready"),
    *("/ping", "/health", "/version", "/execution-parameters", "/v1/endpoints/{endpoint}/deployedModels/{model}"),
}


def _row(key: keys.Key, role: Role | None, models: str = "*", **facts: float) -> KeptKey:
    may = tuple(map(str, scopes(role, models))) if role else ()
    secret = KeptSecret(keys.digest(PEPPER, key.secret), 1)
    return KeptKey(id=key.id, name="x", scopes=may, secrets=(secret,), **{**LIFE, **facts})  # type: ignore[arg-type]


class Callers:
    """One key for each role, and each sort of credential that opens nothing."""

    def __init__(self) -> None:
        self.roles = {role: keys.mint("live") for role in Role}
        self.other = keys.mint("live")  # of a predictor of another model
        expired, early = keys.mint("live"), keys.mint("live")
        rows = [_row(key, role) for role, key in self.roles.items()]
        rows += [_row(self.other, Role.DEPLOYER, "another"), _row(early, Role.ADMIN, not_before_s=NOW_S + 36_000)]
        rows += [_row(expired, Role.ADMIN, expires_s=NOW_S - 1)]
        self.gate = KeyGate(KeyTable(keys=tuple(rows)), {1: PEPPER})
        self.useless: Mapping[str, dict[str, str]] = {
            "none": {},
            "malformed": {"authorization": "Bearer my_live_nonsense"},
            "basic": {"authorization": "Basic YWRtaW46YWRtaW4="},
            "unknown": _bearer(keys.mint("live")),
            "revoked": _bearer(keys.mint("live", self.other.id)),
            "expired": _bearer(expired),
            "early": _bearer(early),
        }


def _bearer(key: keys.Key) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def callers() -> Callers:
    return Callers()


@pytest.fixture(params=["usual", "multi-model"])
def desk(request: pytest.FixtureRequest, callers: Callers, tmp_path: Path) -> Desk:
    """Every contract; as one server has them, and as a container of several models has them."""
    environ = {"SAGEMAKER_MULTI_MODEL": "true"} if request.param == "multi-model" else {}
    made = Desk(tmp_path, contracts=tuple(CONTRACTS), environ=environ, gate=callers.gate)
    made.serve(served(made.page, linear_bundle(), linear_bundle(slope=3.0), aliases={"production": 1}))
    return made


def _asks(desk: Desk) -> Iterator[tuple[str, str, Guarded]]:
    """Every address of the table, with names where it has braces, and every method that it takes."""
    for path, route in desk.routes._table.items():
        address = re.sub(r"{[a-z]+}", "linear", path.decode())
        for method, guarded in route.handlers.items():
            yield method.decode(), address, guarded


def _needs(guarded: Guarded, address: str) -> Permission | None:
    if guarded.needs is None or isinstance(guarded.needs, Permission):
        return guarded.needs
    return guarded.needs(Request(None, Head(b"", address.encode(), {})))  # type: ignore[arg-type]


def _ask(desk: Desk, method: str, address: str, headers: Mapping[str, str]) -> Answer:
    return desk.ask(method, address, b"" if method in {"GET", "OPTIONS"} else b"{}", **headers)


def test_only_these_are_public(desk: Desk) -> None:
    public = {
        path.decode()
        for path, route in desk.routes._table.items()
        for method, guarded in route.handlers.items()
        if guarded.needs is None and method == b"GET"
    }
    assert public <= PUBLIC
    others = [
        (path, method)
        for path, route in desk.routes._table.items()
        for method, guarded in route.handlers.items()
        if guarded.needs is None and method != b"GET"
    ]
    assert others in ([], [(b"/score", b"OPTIONS")])


@pytest.mark.row("AUT-01")
def test_strangers_get_nothing_but_that(desk: Desk, callers: Callers, record_property: Tell) -> None:
    asked = 0
    for method, address, guarded in _asks(desk):
        for name, headers in callers.useless.items():
            answer = _ask(desk, method, address, headers)
            if guarded.needs is None:
                assert answer.status not in {401, 403}, (method, address, name)
            else:
                assert answer.status == 401, (method, address, name, answer)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert b"linear" not in answer.body.replace(b"/linear", b"")
            asked += 1
    assert asked > 500
    record_property("number", f"0 mismatches of {asked:,}: HTTP routes x credentials that open nothing")


@pytest.mark.row("AUT-01")
def test_every_role_is_let_in_where_the_table_says_so_and_nowhere_else(
    desk: Desk, callers: Callers, record_property: Tell
) -> None:
    wrong, asked = [], 0
    for method, address, guarded in _asks(desk):
        needs = _needs(guarded, address)
        for role, key in callers.roles.items():
            let_in = _ask(desk, method, address, _bearer(key)).status not in {401, 403}
            if let_in != (needs is None or needs.verb in ROLES[role]):
                wrong.append((method, address, role))
            asked += 1
    assert wrong == []
    record_property("number", f"0 mismatches of {asked:,}: HTTP routes x roles")


@pytest.mark.row("AUT-01")
def test_a_key_for_another_model_opens_none_of_this_one(desk: Desk, callers: Callers, record_property: Tell) -> None:
    asked = 0
    for method, address, guarded in _asks(desk):
        needs = _needs(guarded, address)
        status = _ask(desk, method, address, _bearer(callers.other)).status
        assert (status == 403) == (needs is not None and needs.verb is not Verb.METRICS), (method, address, status)
        asked += 1
    record_property("number", f"0 mismatches of {asked:,}: HTTP routes x a key of another model")


@pytest.mark.parametrize("address", ["/nowhere", "/v2/models/secret", "/models/linear/", "/v2/models/linear/nowhere"])
def test_strangers_do_not_learn_what_is_there(desk: Desk, callers: Callers, address: str) -> None:
    assert desk.ask("GET", address).status == 401
    assert desk.ask("DELETE", "/models/linear/predict").status == 401
    assert desk.ask("OPTIONS", "/models/linear/predict").status == 401
    assert desk.ask("GET", address, **_bearer(callers.roles[Role.VIEWER])).status == 404


def test_what_is_refused_by_role_says_which_scope_is_needed(desk: Desk, callers: Callers) -> None:
    answer = desk.ask("POST", "/models/linear/predict", {"feature": 3}, **_bearer(callers.roles[Role.VIEWER]))
    assert (answer.status, answer.json["code"]) == (403, "FORBIDDEN")
    assert "model:linear:predict" in answer.json["hint"]
    assert (
        desk.ask("POST", "/models/linear/predict", {"feature": 3}, **_bearer(callers.roles[Role.PREDICTOR])).status
        == 200
    )


@pytest.mark.row("AUT-01")
def test_a_route_without_a_permission_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        Guarded(answer=lambda request: None)  # type: ignore[call-arg]
    assert Route.__dataclass_fields__["handlers"].type == "Mapping[bytes, Guarded]"


class _Transport:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_reading(self) -> bool:
        return True

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("10.0.0.1", 5) if name == "peername" else None


def test_what_a_head_proved_holds_until_keys_change_and_not_from_elsewhere(tmp_path: Path, callers: Callers) -> None:
    desk, key, bound = Desk(tmp_path, gate=callers.gate), callers.roles[Role.PREDICTOR], keys.mint("live")
    desk.serve(served(desk.page, linear_bundle()))
    elsewhere = KeyGate(KeyTable(keys=(_row(key, Role.PREDICTOR), _elsewhere(bound))), {1: PEPPER})
    body = b'{"feature": 3}'
    message = b"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n" + body

    async def statuses() -> list[int]:
        connection, transport = Connection(Server(Limits(), desk.routes)), _Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        for gate, sent in (
            (callers.gate, key),
            (callers.gate, key),
            (KeyGate(KeyTable(), {1: PEPPER}), key),
            (elsewhere, key),
            (elsewhere, bound),
        ):
            desk.routes.gate = gate
            connection.data_received(message % (str(sent).encode(), len(body)))
            await asyncio.sleep(0.01)
        return [int(answer.split()[1]) for answer in transport.sent]

    assert asyncio.run(statuses()) == [200, 200, 401, 200, 403]


def test_what_a_certificate_proved_is_its_connections_whatever_the_head(tmp_path: Path) -> None:
    """Heads are remembered for all connections of a server, and say nothing of a certificate."""
    bearer = Bearer(name="dns:scorer.example.org", role=Role.PREDICTOR)
    desk = Desk(tmp_path, gate=KeyGate(KeyTable(), {1: PEPPER}, certificates=Certificates((bearer,))))
    desk.serve(served(desk.page, linear_bundle()))
    body = b'{"feature": 3}'
    message = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def statuses() -> list[int]:
        server, answers = Server(Limits(), desk.routes), []
        for named in ("scorer", None, "scorer", "other", "scorer", None):
            connection, transport = Connection(server), _Certified(named)
            connection.connection_made(transport)  # type: ignore[arg-type]
            for _ in range(2):
                connection.data_received(message)
                await asyncio.sleep(0.01)
            answers += [int(answer.split()[1]) for answer in transport.sent]
        return answers

    assert asyncio.run(statuses()) == [200, 200, 401, 401, 200, 200, 403, 403, 200, 200, 401, 401]


def test_a_key_that_may_less_is_refused_each_time(tmp_path: Path, callers: Callers) -> None:
    desk, key = Desk(tmp_path, gate=callers.gate), callers.roles[Role.PREDICTOR]
    desk.serve(served(desk.page, linear_bundle()))
    less = KeyGate(KeyTable(keys=(_row(key, Role.VIEWER),)), {1: PEPPER})
    body = b'{"feature": 3}'
    line = b"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
    message = line % (str(key).encode(), len(body), body)

    async def statuses() -> list[int]:
        connection, transport = Connection(Server(Limits(), desk.routes)), _Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        for gate in (callers.gate, callers.gate, less, less, less, callers.gate):
            desk.routes.gate = gate
            connection.data_received(message)
            await asyncio.sleep(0.01)
        return [int(answer.split()[1]) for answer in transport.sent]

    assert asyncio.run(statuses()) == [200, 200, 403, 403, 403, 200]


def test_what_is_remembered_of_a_head_keeps_no_old_model(tmp_path: Path, callers: Callers) -> None:
    desk, key = Desk(tmp_path, gate=callers.gate), callers.roles[Role.PREDICTOR]
    old = served(desk.page, linear_bundle())
    gone = weakref.ref(old.versions[1])
    desk.serve(old)
    body = b'{"feature": 3}'
    line = b"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"

    async def story() -> None:
        server, transport = Server(Limits(), desk.routes), _Transport()
        connection = Connection(server)
        connection.connection_made(transport)  # type: ignore[arg-type]
        for _ in range(3):
            connection.data_received(line % (str(key).encode(), len(body), body))
            await asyncio.sleep(0.01)
        assert [answer.split()[1] for answer in transport.sent] == [b"200"] * 3
        assert server.heads
        desk.serve(served(desk.page, linear_bundle(slope=5.0)))
        await asyncio.sleep(0.01)
        gc.collect()
        assert gone() is None

    del old
    asyncio.run(story())


class _Certified(_Transport):
    """A connection whose client has shown a certificate of this name, or none."""

    def __init__(self, named: str | None) -> None:
        super().__init__()
        self._named = named

    def get_extra_info(self, name: str) -> Any:
        if name == "peercert" and self._named:
            names = (("DNS", f"{self._named}.example.org"),)
            return {"subjectAltName": names, "notAfter": "Jan  1 00:00:00 2100 GMT"}
        return super().get_extra_info(name)


def _elsewhere(key: keys.Key) -> KeptKey:
    return msgspec.structs.replace(_row(key, Role.PREDICTOR), networks=("192.0.2.0/24",))


def test_what_is_large_is_not_read_for_who_may_not_send_it(tmp_path: Path, callers: Callers) -> None:
    desk = Desk(tmp_path, gate=callers.gate)
    desk.serve(served(desk.page, linear_bundle()))

    async def answer(headers: bytes) -> bytes:
        connection, transport = Connection(Server(Limits(), desk.routes)), _Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(b"POST /predict HTTP/1.1\r\nHost: x\r\n%bContent-Length: 10000\r\n\r\n{" % headers)
        await asyncio.sleep(0)
        return b"".join(transport.sent)

    assert asyncio.run(answer(b"")).startswith(b"HTTP/1.1 401 ")
    viewer = f"Authorization: Bearer {callers.roles[Role.VIEWER]}\r\n".encode()
    assert asyncio.run(answer(viewer)).startswith(b"HTTP/1.1 403 ")
    predictor = f"Authorization: Bearer {callers.roles[Role.PREDICTOR]}\r\n".encode()
    assert asyncio.run(answer(predictor)) == b""  # the rest of the body is waited for


def test_who_is_turned_away_is_remembered_with_what_it_wanted(tmp_path: Path, callers: Callers) -> None:
    viewer, bound = callers.roles[Role.VIEWER], keys.mint("live")
    gate = KeyGate(KeyTable(keys=(_row(viewer, Role.VIEWER), _elsewhere(bound))), {1: PEPPER})
    desk = Desk(tmp_path, contracts=tuple(CONTRACTS), gate=gate)
    desk.serve(served(desk.page, linear_bundle()))
    for _ in range(2):
        desk.ask("POST", "/models/linear/predict", {"feature": 3}, **_bearer(viewer))
    desk.ask("POST", "/v2/repository/models/other/load", b"{}", **_bearer(viewer))
    desk.ask("POST", "/v2/repository/models/other/load", b"{}")
    desk.ask("GET", "/metrics", **_bearer(bound))
    desk.ask("GET", "/nowhere")
    desk.ask("GET", "/nowhere", **_bearer(viewer))
    seen = {tuple(denial): tally.count for denial, tally in gate.visits.denied.items()}
    assert seen == {
        (f"key:{viewer.id}", "model:linear:predict", "FORBIDDEN"): 2,
        (f"key:{viewer.id}", "model:other:deploy", "FORBIDDEN"): 1,
        ("unknown", "model:other:deploy", "UNAUTHENTICATED"): 1,
        (f"key:{bound.id}", "server:metrics", "FORBIDDEN"): 1,
        ("unknown", "", "UNAUTHENTICATED"): 1,
    }
    assert set(gate.visits.used) == {viewer.id, bound.id}
