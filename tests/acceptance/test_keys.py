"""Keys as an operator uses them: made, sent, rotated without a failed request, revoked in every worker at once."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelyard.control.actions.publish import publish
from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle
from tests.provider import Provider

EFFECTIVE_S = 5.0
BODY = b'{"feature": 3}'


def modelyard(home: Path, *args: str, code: int = 0) -> str:
    """Standard output of a command that ends with this code."""
    env = {**os.environ, "MODELYARD_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", *args], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    modelyard(path, "init")
    publish(home_with(path), linear_bundle())
    return path


@pytest.fixture
def server(home: Path) -> Iterator[Served]:
    with Served(home, "--auth", "keys", "--workers", "2", "--drain-delay", "0") as served:
        yield served


def _status(server: Served, key: str) -> int:
    return server.ask("POST", "/predict", BODY, {"content-type": "application/json", "x-api-key": key})[0]


def _made(home: Path, *args: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(modelyard(home, "key", *args, "--json"))
    return made


def test_without_a_key_nothing_and_with_one_what_it_may(home: Path, server: Served) -> None:
    key = modelyard(home, "key", "create", "ci", "--role", "predictor").strip()
    assert {_status(server, key) for _ in range(20)} == {200}
    assert server.post("/predict", {"feature": 3})[0] == 401
    assert server.ask("GET", "/livez")[0] == 200
    bearer = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    assert json.loads(server.ask("POST", "/predict", BODY, bearer)[2]) == {"prediction": [6.0]}
    assert server.ask("POST", "/v2/repository/models/linear/load", b"", bearer)[0] == 403
    admin = (home / "secrets" / "admin.key").read_text(encoding="utf-8").strip()
    assert server.ask("GET", "/models", None, {"x-api-key": admin})[0] == 200


class _Load:
    """Asks over kept connections until told to stop, and remembers statuses with their times."""

    def __init__(self, server: Served, keys: list[str]) -> None:
        self.answers: list[tuple[float, str, int]] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(server, key)) for key in keys for _ in range(3)]

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, server: Served, key: str) -> None:
        headers = {"content-type": "application/json", "x-api-key": key}
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        while not self._over.is_set():
            connection.request("POST", "/predict", BODY, headers)
            answer = connection.getresponse()
            answer.read()
            self.answers.append((time.monotonic(), key, answer.status))
        connection.close()

    def of(self, key: str) -> list[tuple[float, int]]:
        return [(at, status) for at, whose, status in self.answers if whose == key]


@pytest.mark.row("AUT-04")
def test_a_revoked_key_opens_nothing_in_any_worker_within_five_seconds(
    home: Path, server: Served, record_property: Callable[[str, object], None]
) -> None:
    gone, stays = (modelyard(home, "key", "create", name).strip() for name in ("gone", "stays"))
    with _Load(server, [gone, stays]) as load:
        time.sleep(0.5)
        modelyard(home, "key", "revoke", "gone")
        revoked = time.monotonic()
        time.sleep(EFFECTIVE_S + 1.0)
    assert {status for _, status in load.of(stays)} == {200}
    after = load.of(gone)
    assert {status for at, status in after if at > revoked + EFFECTIVE_S} == {401}
    assert after[0][1] == 200
    last_s = max(at for at, status in after if status == 200) - revoked
    record_property("number", f"last answer {max(last_s, 0.0):.2f} s after the command, of {len(load.answers):,}")


@pytest.mark.row("AUT-04")
def test_rotating_a_key_fails_no_request(
    home: Path, server: Served, record_property: Callable[[str, object], None]
) -> None:
    """The secret before, under load, nor the new one from the moment that it is printed: in every worker."""
    sent = modelyard(home, "key", "create", "app").strip()
    answers = 0
    for _ in range(3):
        with _Load(server, [sent]) as load:
            new = modelyard(home, "key", "rotate", "app", "--overlap", "1h").strip()
            fresh = [_status(server, new) for _ in range(40)]
            time.sleep(0.5)
        assert new != sent
        assert set(fresh) == {200}
        assert {status for _, status in load.of(sent)} == {200}
        answers += len(load.answers) + len(fresh)
        modelyard(home, "key", "rotate", "app", "--finish")
        _until(lambda gone=sent: _status(server, gone) == 401)
        sent = new
    record_property("number", f"0 failed of {answers:,} over 3 rotations, old and new secret")


@pytest.mark.row("AUT-05")
def test_other_machines_need_keys_and_nobody_reads_them_on_the_way(
    home: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    refused = modelyard(home, "serve", "--host", "0.0.0.0", "--port", "0", code=4)
    assert "without TLS" in refused
    refused = modelyard(home, "serve", "--host", "0.0.0.0", "--port", "0", "--auth", "none", code=4)
    assert "without keys" in refused
    bare = tmp_path / "bare"
    publish(home_with(bare), linear_bundle())
    refused = modelyard(bare, "serve", "--host", "0.0.0.0", "--port", "0", "--behind-tls-proxy", code=4)
    assert "modelyard init" in refused
    record_property("number", "3 of 3 open binds refused, each with what mends it")


def _until(condition: Any) -> None:
    deadline = time.monotonic() + EFFECTIVE_S
    while not condition():
        assert time.monotonic() < deadline, "the keys have not arrived"
        time.sleep(0.05)


def test_tokens_of_a_trusted_issuer_are_as_good_as_keys(home: Path) -> None:
    with Provider() as provider:
        modelyard(
            home, "issuer", "add", provider.url, "--audience", "modelyard", "--claim", "team=risk", "predictor:lin*"
        )
        with Served(home, "--auth", "keys", "--drain-delay", "0") as server:

            def status(token: str) -> int:
                headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
                return server.ask("POST", "/predict", BODY, headers)[0]

            assert status(provider.token(team="risk")) == 200
            assert status(provider.token(team="sales")) == 403
            assert status(provider.token(team="risk", aud="another")) == 401
            assert status(provider.token(team="risk")[:-4] + "AAAA") == 401
            fresh = provider.token(team="risk")
            modelyard(home, "issuer", "remove", provider.url)
            _until(lambda: status(fresh) == 401)


def test_a_callers_certificate_opens_http_and_grpc(home: Path) -> None:
    name = "dns:scorer.example.org"
    modelyard(home, "tls", "dev")
    modelyard(home, "tls", "dev", "--client", name)
    tls = home / "tls"
    with Served(
        home, "--auth", "keys", "--tls", "dev", "--tls-client-ca", str(tls / "ca.pem"), "--drain-delay", "0"
    ) as server:
        pair = next(path for path in tls.glob("client-*.pem") if "-key" not in path.name)
        key = pair.with_name(pair.name.replace(".pem", "-key.pem"))
        context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        bare = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        context.load_cert_chain(pair, key)

        def status(with_context: ssl.SSLContext) -> int:
            connection = HTTPSConnection("localhost", server.port, timeout=30, context=with_context)
            try:
                connection.request("POST", "/predict", BODY, {"content-type": "application/json"})
                return connection.getresponse().status
            finally:
                connection.close()

        assert (status(bare), status(context)) == (401, 403)
        modelyard(home, "tls", "allow", name, "predictor:linear")
        _until(lambda: status(context) == 200)
        assert status(bare) == 401
        parts = [path.read_bytes() for path in (tls / "ca.pem", key, pair)]
        credentials = grpc.ssl_channel_credentials(*parts)
        with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as channel:
            ready = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
            assert ready(b"\n\x06linear") == b"\x08\x01"
        with grpc.secure_channel(f"localhost:{server.grpc_port}", grpc.ssl_channel_credentials(parts[0])) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/inference.GRPCInferenceService/ModelReady")(b"\n\x06linear")
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_who_was_turned_away_and_which_keys_were_used_is_written_down(home: Path) -> None:
    """Over HTTP and gRPC, by two workers: one record for each caller and what it wanted, however often that was."""
    made = _made(home, "create", "app", "--role", "viewer")
    other = _made(home, "create", "idle")
    with Served(home, "--auth", "keys", "--workers", "2", "--drain-delay", "0") as server:
        for _ in range(20):
            assert _status(server, made["key"]) == 403
            assert _status(server, "my_live_nonsense") == 401
        channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        for _ in range(10):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\n\x06linear")
        channel.close()
    records = json.loads(modelyard(home, "audit", "list", "--action", "gate.denied", "--json"))
    told = {(one["actor"], one["object"]): one for one in records}
    assert len(told) == len(records) == 3
    assert told[f"key:{made['id']}", "model:linear:predict"]["detail"]["count"] == "20"
    assert told["unknown", "model:linear:predict"]["detail"]["from"] == "127.0.0.1 (20)"
    assert told["unknown", "ModelInfer"]["detail"]["count"] == "10"
    assert {(one["outcome"], one["source"]) for one in records} == {("denied", "127.0.0.1")}
    used = {one["id"]: one["last_used_at"] for one in json.loads(modelyard(home, "key", "list", "--json"))}
    assert used[made["id"]] is not None
    assert used[other["id"]] is None
    assert "LAST USED" in modelyard(home, "key", "list")
