from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

import modelyard
from modelyard.core.errors import InvalidRequest, ModelyardError, Timeout, Unavailable, UnknownField, WrongType
from modelyard.serve.http.errors import STATUS, problem


class _Server(BaseHTTPRequestHandler):
    """Answers what the test told it, and remembers what it was asked."""

    protocol_version = "HTTP/1.1"
    answers: ClassVar[list[tuple[int, bytes]]] = []
    asked: ClassVar[list[tuple[str, Any]]] = []
    hang_up: ClassVar[bool] = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append((self.path, json.loads(body)))
        status, raw = self.answers.pop(0)
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
        self.close_connection = self.hang_up  # without having said so: what a restarted server looks like

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    _Server.answers, _Server.asked, _Server.hang_up = [], [], False
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def _answer(document: Any, status: int = 200) -> None:
    _Server.answers.append((status, json.dumps(document).encode()))


def test_rows_are_sent_and_answers_given_back(url: str) -> None:
    _answer({"prediction": [6.0, 8.0]})
    with modelyard.Client(url) as client:
        assert client.predict([{"feature": 3}, {"feature": 4}]) == [6.0, 8.0]
    assert _Server.asked == [("/predict", [{"feature": 3}, {"feature": 4}])]


@pytest.mark.parametrize("model", ["churn", "churn@2", "churn@canary"])
def test_a_model_can_be_named(url: str, model: str) -> None:
    _answer({"prediction": ["yes"]})
    with modelyard.Client(url, model) as client:
        assert client.predict({"tenure": [1]}) == ["yes"]
    assert _Server.asked == [(f"/models/{model}/predict", {"tenure": [1]})]


def test_probabilities_are_asked_for_in_detail(url: str) -> None:
    _answer({"prediction": ["yes"], "probabilities": [{"yes": 0.75, "no": 0.25}]})
    _answer({"prediction": [1.0]})
    with modelyard.Client(url) as client:
        assert client.predict_proba({"tenure": 1}) == [{"yes": 0.75, "no": 0.25}]
        assert client.predict_proba({"tenure": 1}) is None
    assert [path for path, _ in _Server.asked] == ["/predict?detail=full"] * 2


def test_a_refusal_is_the_same_error_as_in_process(url: str) -> None:
    error = UnknownField(field="tenur", known=["tenure"])
    _Server.answers.append((STATUS[error.kind], problem(error, "req_1")))
    with modelyard.Client(url) as client, pytest.raises(UnknownField) as refused:
        client.predict({"tenur": 1})
    assert str(refused.value) == str(error)
    assert refused.value.cause == "did you mean 'tenure'?"


def test_a_kept_connection_that_was_closed_is_opened_again(url: str) -> None:
    _Server.hang_up = True
    _answer({"prediction": [1.0]})
    _answer({"prediction": [2.0]})
    with modelyard.Client(url) as client:
        assert client.predict({"a": 1}) == [1.0]
        assert client.predict({"a": 1}) == [2.0]


def test_a_server_that_is_not_there(url: str) -> None:
    with modelyard.Client("http://127.0.0.1:1") as client, pytest.raises(Unavailable, match="cannot be reached"):
        client.predict({"a": 1})


def test_a_server_that_is_something_else(url: str) -> None:
    _Server.answers.append((200, b"<html>"))
    with modelyard.Client(url) as client, pytest.raises(ModelyardError, match="did not answer with JSON"):
        client.predict({"a": 1})


@pytest.mark.parametrize("document", [[1], 3, "x", None, {}, {"predictions": [1]}])
def test_a_server_that_speaks_another_language(url: str, document: Any) -> None:
    _answer(document)
    with modelyard.Client(url) as client, pytest.raises(Unavailable, match="as a Modelyard server does"):
        client.predict({"a": 1})


@pytest.mark.parametrize(
    ("document", "code", "says"),
    [
        (b'{"type":"invalid","status":400,"detail":"no Host header"}', "REQUEST-INVALID", "no Host header"),
        (b'{"type":"too-large","status":413,"detail":"the body is larger"}', "REQUEST-TOO-LARGE", "the body is larger"),
        (b'{"type":"timeout","status":408,"detail":"too slow"}', "TIMEOUT", "too slow"),
        (b'{"type":"not-ready","code":"FROM-THE-FUTURE","detail":"soon"}', "NOT-READY", "soon"),
        (b'{"type":"internal","code":"INTERNAL","detail":"x","facts":{}}', "INTERNAL", "went wrong"),
        (b'{"type":"no-kind","detail":"odd"}', "UNAVAILABLE", "odd"),
        (b'{"code":"INPUT-INVALID","facts":["what"]}', "INPUT-INVALID", ""),
        (b"{}", "UNAVAILABLE", ""),
    ],
)
def test_every_refusal_is_an_error_that_says_it(url: str, document: bytes, code: str, says: str) -> None:
    _Server.answers.append((400, document))
    with modelyard.Client(url) as client, pytest.raises(ModelyardError) as refused:
        client.predict({"a": 1})
    assert refused.value.code == code
    assert says in refused.value.detail + refused.value.cause


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 2**70, "half \ud800"])
def test_what_json_cannot_carry_is_not_sent(url: str, value: Any) -> None:
    with modelyard.Client(url) as client, pytest.raises(WrongType, match="values that JSON can carry"):
        client.predict({"a": value})
    assert _Server.asked == []


def test_a_server_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with modelyard.Client(address, timeout_s=0.2) as client, pytest.raises(Timeout, match=r"longer than 0\.2 s"):
            client.predict({"a": 1})


def test_an_answer_that_is_cut_off_or_no_http() -> None:
    for said in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"\x00\x01\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 70_000,
    ):
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=_say, args=(server, said), daemon=True).start()
            with modelyard.Client(f"http://127.0.0.1:{server.getsockname()[1]}") as client, pytest.raises(Unavailable):
                client.predict({"a": 1})
            server.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection


def _say(server: socket.socket, raw: bytes) -> None:
    """To everybody who comes, until the socket is closed."""
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw)


def test_a_gateway_may_add_a_prefix(url: str) -> None:
    _answer({"prediction": [1.0]})
    with modelyard.Client(f"{url}/ml/", "churn") as client:
        client.predict({"a": 1})
    assert _Server.asked[0][0] == "/ml/models/churn/predict"


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://", "", "http://127.0.0.1:99999", "http://127.0.0.1:x"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(InvalidRequest, match="http"):
        modelyard.Client(address)
