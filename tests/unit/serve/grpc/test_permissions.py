"""Every method, called with every kind of credential, answers as the permission table says; by gRPC's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from modelyard.core.identity import ROLES, Role, Verb, scopes
from modelyard.core.plan import Limits
from modelyard.guard import keys
from modelyard.guard.gate import KeyGate
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable
from modelyard.serve.grpc.messages import METHODS, SERVICE, message
from modelyard.serve.grpc.server import Server
from modelyard.serve.plane import Plane, Roster
from modelyard.serve.sockets import listen
from modelyard.watch.counters import UNROUTED, Page
from tests.models import linear_bundle
from tests.unit.serve.desk import served

PEPPER = b"p" * 32
NOW_S = datetime.now(UTC).timestamp()
PUBLIC = {"ServerLive", "ServerReady", "ServerMetadata"}
DEPLOYS = {"RepositoryModelLoad", "RepositoryModelUnload"}
INFERS = {"ModelInfer", "ModelStreamInfer"}
DENIED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}

Ask = Callable[..., Awaitable[grpc.StatusCode]]


def _verb(method: str) -> Verb | None:
    if method in PUBLIC:
        return None
    return Verb.DEPLOY if method in DEPLOYS else Verb.PREDICT if method in INFERS else Verb.READ


def _row(key: keys.Key, role: Role, models: str = "*", **facts: Any) -> KeptKey:
    given = {"not_before_s": NOW_S - 60, "expires_s": NOW_S + 36_000, **facts}
    secret = KeptSecret(keys.digest(PEPPER, key.secret), 1)
    return KeptKey(id=key.id, name="x", scopes=tuple(map(str, scopes(role, models))), secrets=(secret,), **given)


def _fields(method: str) -> dict[str, Any]:
    """A request of this method about the model, as far as it names one."""
    names = {one.name for one in message(next(one.request for one in METHODS if one.name == method)).DESCRIPTOR.fields}
    fields: dict[str, Any] = {name: "linear" for name in ("name", "model_name") if name in names}
    if method in INFERS:
        fields["inputs"] = [
            {"name": "input", "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [3.0]}}
        ]
    return fields


def talk(tmp_path: Path, gate: KeyGate, work: Callable[[Server, Ask], Awaitable[None]]) -> None:
    """Run `work` with a server behind this gate, and a way to call its methods that gives the status."""

    async def run() -> None:
        page, plane = Page(tmp_path, 0), Plane()
        plane.ready, plane.roster = True, Roster(models={"linear": served(page, linear_bundle())})
        with listen("127.0.0.1", 0, 0) as sockets:
            assert sockets.grpc
            server = Server(plane, tmp_path, Limits(), page.counter(UNROUTED), gate)
            await server.start(sockets.grpc)
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{sockets.grpc_port}") as channel:
                    await work(server, lambda method, **metadata: _status(channel, method, metadata))
            finally:
                await server.stop(0)

    asyncio.run(run())


async def _status(channel: grpc.aio.Channel, method: str, metadata: dict[str, str]) -> grpc.StatusCode:
    """The status of a call; of a stream, that of the refusal in its message too."""
    kinds = next(one for one in METHODS if one.name == method)
    request, response = message(kinds.request), message(kinds.response)
    told = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    asked = request(**_fields(method))
    try:
        if not kinds.streaming:
            call = channel.unary_unary(f"/{SERVICE}/{method}", request.SerializeToString, response.FromString)
            await call(asked, metadata=told)
            return grpc.StatusCode.OK
        stream = channel.stream_stream(f"/{SERVICE}/{method}", request.SerializeToString, response.FromString)
        async for answer in stream(iter([asked]), metadata=told):
            if "may not" in answer.error_message:
                return grpc.StatusCode.PERMISSION_DENIED
    except grpc.aio.AioRpcError as exc:
        return exc.code()
    return grpc.StatusCode.OK


@pytest.mark.row("AUT-01")
def test_every_method_and_every_credential(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    roles = {role: keys.mint("live") for role in Role}
    other, expired, early = (keys.mint("live") for _ in range(3))
    rows = [_row(key, role) for role, key in roles.items()]
    rows += [_row(other, Role.DEPLOYER, "another"), _row(expired, Role.ADMIN, expires_s=NOW_S - 1)]
    rows += [_row(early, Role.ADMIN, not_before_s=NOW_S + 3600)]
    strangers: dict[str, object] = {
        "unknown": keys.mint("live"),
        "expired": expired,
        "revoked": keys.mint("live", other.id),
    }
    strangers |= {"early": early, "malformed": "my_live_nonsense"}
    asked = 0

    async def work(server: Server, ask: Ask) -> None:
        nonlocal asked
        del server
        wrong = []
        for method in (one.name for one in METHODS):
            verb = _verb(method)
            statuses = {name: await ask(method, authorization=f"Bearer {key}") for name, key in strangers.items()}
            statuses |= {"none": await ask(method), "basic": await ask(method, authorization="Basic eDp4")}
            statuses |= {"two": await ask(method, authorization=f"Bearer {other}", x_api_key=str(other))}
            asked += len(statuses) + len(roles) + 1
            for name, status in statuses.items():
                if (status is grpc.StatusCode.UNAUTHENTICATED) != (verb is not None):
                    wrong.append((method, name, status))
            for role, key in roles.items():
                let_in = await ask(method, x_api_key=str(key)) not in DENIED
                if let_in != (verb is None or verb in ROLES[role]):
                    wrong.append((method, role, let_in))
            if ((await ask(method, x_api_key=str(other))) is grpc.StatusCode.PERMISSION_DENIED) != (verb is not None):
                wrong.append((method, "another model", "let in"))
        assert wrong == []

    talk(tmp_path, KeyGate(KeyTable(keys=tuple(rows)), {1: PEPPER}), work)
    record_property("number", f"0 mismatches of {asked:,}: gRPC methods x credentials and roles")


def test_a_connection_is_let_in_until_keys_change(tmp_path: Path) -> None:
    key, bound = keys.mint("live"), keys.mint("live")
    rows = (_row(key, Role.PREDICTOR), _row(bound, Role.PREDICTOR, networks=("192.0.2.0/24",)))

    async def work(server: Server, ask: Ask) -> None:
        assert await ask("ModelInfer", authorization=f"Bearer {key}") is grpc.StatusCode.OK
        assert await ask("ModelInfer", authorization=f"Bearer {bound}") is grpc.StatusCode.PERMISSION_DENIED
        assert await ask("ModelInfer", authorization=f"Bearer {key}") is grpc.StatusCode.OK
        server.gate = KeyGate(KeyTable(), {1: PEPPER})
        assert await ask("ModelInfer", authorization=f"Bearer {key}") is grpc.StatusCode.UNAUTHENTICATED

    talk(tmp_path, KeyGate(KeyTable(keys=rows), {1: PEPPER}), work)


@pytest.mark.parametrize("method", sorted(INFERS))
def test_whether_there_is_a_model_or_version_is_told_to_those_it_concerns(tmp_path: Path, method: str) -> None:
    """To others, one that is there and one that is not look alike, whatever version they name."""
    other, insider = keys.mint("live"), keys.mint("live")
    gate = KeyGate(KeyTable(keys=(_row(other, Role.PREDICTOR, "another"), _row(insider, Role.PREDICTOR))), {1: PEPPER})

    async def work(server: Server, ask: Ask) -> None:
        del ask
        port = server._listener.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            said = {
                who: {
                    (await _said(channel, method, key, name, version)).replace(name, "…")
                    for name in ("linear", "missing")
                    for version in ("", "9", "x")
                }
                for who, key in (("other", other), ("insider", insider))
            }
        assert [text for text in said["other"] if "may not predict model …" not in text] == []
        assert len(said["other"]) == 1
        assert any("no model" in text for text in said["insider"])

    talk(tmp_path, gate, work)


async def _said(channel: grpc.aio.Channel, method: str, key: keys.Key, model: str, version: str) -> str:
    """What is answered to a question without rows, as an error."""
    fields = {"model_name": model, "model_version": version}
    raw = json_format.ParseDict(fields, message("ModelInferRequest")()).SerializeToString()
    path, metadata = f"/inference.GRPCInferenceService/{method}", [("x-api-key", str(key))]
    if method == "ModelInfer":
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(raw, metadata=metadata)
        return str(caught.value.details())
    answers = channel.stream_stream(path)(iter([raw]), metadata=metadata)
    response = message("ModelStreamInferResponse")
    return "".join([str(response.FromString(answer).error_message) async for answer in answers])


@pytest.mark.parametrize("path", ["/inference.GRPCInferenceService/Nothing", "/nothing.At/All"])
def test_strangers_do_not_learn_what_is_there(tmp_path: Path, path: str) -> None:
    async def work(server: Server, ask: Ask) -> None:
        del ask
        port = server._listener.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(b"")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    talk(tmp_path, KeyGate(KeyTable(), {}), work)


def test_who_is_turned_away_is_remembered_with_what_it_wanted(tmp_path: Path) -> None:
    key = keys.mint("live")
    gate = KeyGate(KeyTable(keys=(_row(key, Role.VIEWER),)), {1: PEPPER})

    async def work(server: Server, ask: Ask) -> None:
        for method in ("ModelInfer", "ModelStreamInfer"):
            await ask(method, x_api_key=str(key))
            await ask(method)
        await ask("ServerLive")
        assert server.gate.visits is gate.visits

    talk(tmp_path, gate, work)
    seen = {tuple(denial): tally.count for denial, tally in gate.visits.denied.items()}
    assert seen == {
        (f"key:{key.id}", "model:linear:predict", "FORBIDDEN"): 2,
        ("unknown", "ModelInfer", "UNAUTHENTICATED"): 1,
        ("unknown", "ModelStreamInfer", "UNAUTHENTICATED"): 1,
    }
    assert set(gate.visits.used) == {key.id}
