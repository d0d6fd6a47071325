"""What deploying for MLflow is made of: options, bodies, errors, and servers that refuse or are not there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import InvalidRequest, Kind, Unavailable
from modelyard.registry.versions import Version
from tests.flow import flow

VERSION = Version(
    name="line",
    version=2,
    digest="d",
    task="regression",
    source_format="onnx",
    size_bytes=1,
    metrics=(),
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
)


@pytest.fixture(scope="module")
def deploy() -> Any:
    return flow("modelyard.client._deploy")


@pytest.fixture(scope="module")
def error(deploy: Any) -> type[Exception]:
    found: type[Exception] = deploy.MlflowException
    return found


def test_every_kind_of_error_has_mlflows_word(deploy: Any) -> None:
    assert set(deploy.CODES) == set(Kind)
    assert all(deploy.ErrorCode.Value(word) is not None for word in deploy.CODES.values())


def test_errors_say_why_and_what_to_do(deploy: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught, deploy.translated():
        raise InvalidRequest(what="it is wrong", cause="so it is", hint="do it right")
    assert caught.value.message == "it is wrong (so it is); do it right"  # type: ignore[attr-defined]
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"  # type: ignore[attr-defined]
    with pytest.raises(error, match="not here"):
        deploy.refuse("not here")


def test_options_are_known(deploy: Any) -> None:
    assert deploy.options(None, "create") == {}
    assert deploy.options({"port": "1"}, "run-local") == {"port": "1"}
    with pytest.raises(InvalidRequest, match="no option 'port' of delete"):
        deploy.options({"port": "1"}, "delete")
    assert [deploy.flag({"force": value}, "force") for value in ("true", True, "False")] == [True, True, False]
    assert not deploy.flag({}, "force")


def test_bodies_are_those_of_invocations(deploy: Any) -> None:
    def body(inputs: Any) -> Any:
        return json.loads(deploy.body_of(inputs))

    assert body(pd.DataFrame({"a": [1]}))["dataframe_split"]["columns"] == ["a"]
    assert body(np.array([[1.0]])) == {"inputs": [[1.0]]}
    assert body({"a": np.array([1, 2]), "b": pd.Series([3, 4])}) == {"inputs": {"a": [1, 2], "b": [3, 4]}}
    assert body({"instances": [[1]]}) == {"instances": [[1]]}
    assert body('{"inputs": [1]}') == {"inputs": [1]}
    with pytest.raises(InvalidRequest, match="hold object, which JSON cannot carry"):
        body({"a": object()})


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        busy = b'{"error_code": "RESOURCE_EXHAUSTED", "message": "too much"}'
        self._answer(429, busy) if "busy" in self.path else self._answer(502, b"<html>")

    def do_GET(self) -> None:
        self._answer(200, b"{}") if self.path == "/models/line/versions/2" else self._answer(404, b"gone")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        del args


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_refusals_of_a_server_are_mlflows_errors(deploy: Any, error: type[Exception], url: str) -> None:
    with pytest.raises(error, match="too much") as caught:
        deploy.ask(url, "/models/busy/invocations", b"{}")
    assert caught.value.error_code == "RESOURCE_EXHAUSTED"  # type: ignore[attr-defined]
    with pytest.raises(error, match="<html>"):
        deploy.ask(url, "/invocations", b"{}")
    with pytest.raises(error, match="cannot be reached"):
        deploy.ask("http://127.0.0.1:1", "/invocations", b"{}")
    with pytest.raises(error, match="not an http"):
        deploy.ask("file:///etc", "/passwd")


def test_waiting_for_a_version_ends(deploy: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy.wait_live(url, VERSION)
    monkeypatch.setattr(deploy, "_LIVE_S", 0.0)
    monkeypatch.setattr(deploy, "_POLL_S", 0.0)
    with pytest.raises(Unavailable, match=r"other@1 is imported, but .* does not serve it") as caught:
        deploy.wait_live(url, Version(**{**_fields(VERSION), "name": "other", "version": 1}))
    assert caught.value.hint == "modelyard serve other"


def _fields(version: Version) -> dict[str, Any]:
    return {name: getattr(version, name) for name in version.__struct_fields__}
