"""TLS on a real server with two workers: what is agreed to, large bodies, gRPC, new certificates, callers' own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

import modelyard
from modelyard.core.errors import Unavailable
from modelyard.guard import authority
from tests.acceptance.load import wait_until
from tests.acceptance.serving import Served, home_with, receive
from tests.models import linear_bundle

OPENSSL = shutil.which("openssl")
BODY_MB = 16
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
ASK = HEAD + b'content-length: 14\r\n\r\n{"feature": 3}'


class Papers:
    """An authority and what it has signed, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by = authority.authority()
        self.ca = self._write("ca", self.by.cert)
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.renew("localhost")
        self.caller = self.make("caller", "uri:spiffe://example.org/scorer", client=True)

    def _write(self, name: str, raw: bytes) -> Path:
        path = self.folder / f"{name}.pem"
        path.write_bytes(raw)
        return path

    def make(self, name: str, *names: str, client: bool = False) -> tuple[Path, Path]:
        pair = authority.certificate(self.by, names, client=client)
        return self._write(name, pair.cert), self._write(f"{name}-key", pair.key)

    def renew(self, *names: str) -> None:
        """A new certificate where the server has its own, as one would copy it there: one file, then the other."""
        pair = authority.certificate(self.by, ["localhost", "127.0.0.1", *names])
        self.cert.write_bytes(pair.cert)
        self.key.write_bytes(pair.key)

    @property
    def serve(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))

    def context(self, shows: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if shows:
            context.load_cert_chain(*shows)
        return context


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    home_with(path, linear_bundle())
    return path


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def served(home: Path, papers: Papers) -> Iterator[Served]:
    with Served(home, "--workers", "2", *papers.serve) as served:
        yield served
    assert "Traceback" not in served.stderr, served.stderr


@contextmanager
def connection(served: Served, context: ssl.SSLContext, name: str = "localhost") -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", served.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as sock,
    ):
        yield sock


def request(served: Served, context: ssl.SSLContext, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    https = HTTPSConnection("localhost", served.port, timeout=60, context=context)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        https.request("POST", "/v2/models/linear/infer" if named else "/predict", body, named)
        response = https.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        https.close()


def answers(served: Served, context: ssl.SSLContext, name: str = "localhost") -> bool:
    with connection(served, context, name) as sock:
        sock.sendall(ASK)
        return receive(sock).endswith(b'{"prediction": [6.0]}')


def test_a_client_asks_over_tls(served: Served, papers: Papers) -> None:
    url = f"https://localhost:{served.port}"
    with modelyard.Client(url, ca=papers.ca) as client:
        for number in range(20):
            assert client.predict({"feature": number}) == [2.0 * number]
    with modelyard.Client(url) as stranger, pytest.raises(Unavailable) as caught:
        stranger.predict({"feature": 3})
    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.cause
    assert next(event["tls"] for event in served.events if "listening" in event)


def test_both_workers_agree_on_1_3_and_http_1_1(served: Served, papers: Papers) -> None:
    context = papers.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    for _ in range(8):
        with connection(served, context) as sock:
            assert (sock.version(), sock.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")


@pytest.mark.skipif(OPENSSL is None, reason="no openssl")
@pytest.mark.parametrize(
    ("flag", "agreed"), [("-tls1", False), ("-tls1_1", False), ("-tls1_2", False), ("-tls1_3", True)]
)
def test_openssl_agrees_on_nothing_older(served: Served, papers: Papers, flag: str, *, agreed: bool) -> None:
    command = [str(OPENSSL), "s_client", "-connect", f"127.0.0.1:{served.port}", flag, "-CAfile", str(papers.ca)]
    told = subprocess.run([*command, "-brief"], input=b"", capture_output=True, timeout=30, check=False)
    assert (b"Verification: OK" in told.stderr) is agreed, told.stderr


@pytest.mark.skipif(OPENSSL is None, reason="no openssl")
def test_1_2_is_spoken_where_it_is_wanted(home: Path, papers: Papers) -> None:
    with Served(home, *papers.serve, "--tls-oldest", "1.2", "--no-grpc") as served:
        for flag, agreed in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            command = [str(OPENSSL), "s_client", "-connect", f"127.0.0.1:{served.port}", flag]
            told = subprocess.run(
                [*command, "-CAfile", str(papers.ca), "-brief"], input=b"", capture_output=True, timeout=30, check=False
            )
            assert (b"Verification: OK" in told.stderr) is agreed, told.stderr


def test_what_is_not_encrypted_is_not_answered(served: Served, papers: Papers) -> None:
    assert b"prediction" not in served.raw(ASK)
    assert answers(served, papers.context())


@pytest.mark.parametrize("rows", [1, 8_000, 9_000, 1_000_000])
def test_bodies_of_any_size_arrive_as_they_were_sent(served: Served, papers: Papers, rows: int) -> None:
    """From 64 KiB on a body is read past the parser, straight into one array; 8 MB here, and as much back."""
    sent = np.arange(rows, dtype=np.float64)
    tensor = {"name": "input", "shape": [rows, 1], "datatype": "FP64", "parameters": {"binary_data_size": sent.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    status, headers, body = request(
        served, papers.context(), head + sent.tobytes(), inference_header_content_length=str(len(head))
    )
    assert status == 200
    found = np.frombuffer(body[int(headers["inference-header-content-length"]) :], dtype=np.float64)
    assert np.array_equal(found, 2 * sent)


def test_several_large_bodies_on_one_connection(served: Served, papers: Papers) -> None:
    """Each in pieces of odd sizes, with the head of the next in the same packet as the end of the last."""
    document = json.dumps([{"feature": number} for number in range(9_000)]).encode()
    head = HEAD + b"content-length: %d\r\n\r\n"
    stream = (head % len(document) + document) * 3 + ASK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with connection(served, papers.context()) as sock:
        for at in range(0, len(stream), 40_961):
            sock.sendall(stream[at : at + 40_961])
        told = receive(sock, quiet_s=5)
    assert told.count(b"HTTP/1.1 200 ") == 4
    assert told.count(b"17998.0]") == 3
    assert told.endswith(b'{"prediction": [6.0]}')


def test_a_client_that_waits_for_100_continue_gets_it(served: Served, papers: Papers) -> None:
    lines = ["POST /predict HTTP/1.1", "host: localhost", "connection: close", "content-length: 14"]
    head = "\r\n".join([*lines, "expect: 100-continue", "", ""]).encode()
    with connection(served, papers.context()) as sock:
        sock.sendall(head)
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b'{"feature": 3}')
        assert receive(sock, quiet_s=5).endswith(b'{"prediction": [6.0]}')


def test_whoever_sends_too_much_reads_why(served: Served, papers: Papers) -> None:
    """Even who takes three seconds for what nobody wants."""
    size = (BODY_MB + 4) << 20
    with connection(served, papers.context()) as sock:
        sock.sendall(HEAD + b"content-length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            sock.sendall(bytes(1 << 20))
            time.sleep(0.15)
        told = receive(sock)
    assert told.startswith(b"HTTP/1.1 413 "), told[:80]
    assert b"larger than the limit" in told


def grpc_channel(served: Served, ca: Path, shows: tuple[Path, Path] | None = None) -> triton.InferenceServerClient:
    key, chain = (shows[1].read_bytes(), shows[0].read_bytes()) if shows else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key, chain)
    return triton.InferenceServerClient(f"localhost:{served.grpc_port}", ssl=True, creds=credentials)


def infer(client: triton.InferenceServerClient, values: np.ndarray[Any, Any]) -> Any:
    tensor = triton.InferInput("input", [len(values), 1], "FP64")
    tensor.set_data_from_numpy(values.reshape(-1, 1))
    return client.infer("linear", [tensor], client_timeout=20).as_numpy("prediction")


def test_grpc_over_tls(served: Served, papers: Papers) -> None:
    with grpc_channel(served, papers.ca) as client:
        assert infer(client, np.array([3.0, 4.5])).tolist() == [6.0, 9.0]
        large = np.arange(250_000, dtype=np.float64)
        assert np.array_equal(infer(client, large), 2 * large)
    with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as plain, pytest.raises(Exception):  # noqa: B017, PT011
        infer(plain, np.array([1.0]))


def test_slow_handshakes_hold_nobody_up(served: Served, papers: Papers) -> None:
    """Three hundred who connect and say nothing, or half a hello, while others are answered as ever."""
    hello = bytes.fromhex("160301020001000001fc0303") + bytes(20)
    slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(300)]
    try:
        for sock in slow[::2]:
            sock.sendall(hello)
        context, waits = papers.context(), list[float]()
        for _ in range(40):
            begun = time.perf_counter()
            assert answers_at_once(served, context)
            waits.append(time.perf_counter() - begun)
        assert sorted(waits)[len(waits) // 2] < 0.25
        assert max(waits) < 5
    finally:
        for sock in slow:
            sock.close()


def answers_at_once(served: Served, context: ssl.SSLContext) -> bool:
    with connection(served, context) as sock:
        sock.sendall(ASK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        return receive(sock, quiet_s=20).endswith(b'{"prediction": [6.0]}')


class Callers:
    """Some keep their connection, some make a new one for every request; none may fail."""

    def __init__(self, served: Served, papers: Papers, clients: int = 4) -> None:
        self._served, self._context = served, papers.context()
        self._stop = threading.Event()
        self.failed: list[str] = []
        self.answered = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number % 2 == 0,)) for number in range(clients)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, keeps: bool) -> None:
        https = HTTPSConnection("localhost", self._served.port, timeout=20, context=self._context)
        while not self._stop.is_set():
            try:
                https.request("POST", "/predict", b'{"feature": 3}', {"content-type": "application/json"})
                response = https.getresponse()
                right = (response.status, response.read()) == (200, b'{"prediction": [6.0]}')
                with self._lock:
                    self.answered += 1
                    if not right:
                        self.failed.append(str(response.status))
            except OSError as exc:
                with self._lock:
                    self.failed.append(f"{type(exc).__name__}: {exc}")
            if not keeps:
                https.close()
        https.close()


def test_new_certificates_cost_no_request(served: Served, papers: Papers) -> None:
    """Five of them and two broken pairs, under load: no request fails, and new connections get what is newest."""
    context = papers.context()
    with connection(served, context) as kept, Callers(served, papers) as callers:
        for number in range(5):
            name = f"v{number}.example.org"
            papers.renew(name)
            wait_until(lambda name=name: _is_shown_by_both(served, context, name), 20)  # type: ignore[misc]
            if number in {1, 3}:
                papers.key.write_bytes(b"no key")
                wait_until(lambda: any(event.get("error") for event in served.events), 20)
                assert _is_shown_by_both(served, context, name)
        kept.sendall(ASK)
        assert receive(kept).endswith(b'{"prediction": [6.0]}')
    assert callers.failed == []
    assert callers.answered > 50
    said = [event for event in served.events if "certificate" in event]
    assert any("not a certificate and its key" in event["error"] for event in said)
    assert any(not event["error"] for event in said)


def _is_shown_by_both(served: Served, context: ssl.SSLContext, name: str) -> bool:
    """Whether twelve connections in a row, which two workers share, get the certificate for this name."""
    try:
        return all(answers_at_once_for(served, context, name) for _ in range(12))
    except ssl.SSLCertVerificationError:
        return False


def answers_at_once_for(served: Served, context: ssl.SSLContext, name: str) -> bool:
    with connection(served, context, name):
        return True


@pytest.fixture(scope="module")
def strict(home: Path, papers: Papers) -> Iterator[Served]:
    ca = ("--tls-client-ca", str(papers.ca), "--tls-client-required")
    with Served(home, *papers.serve, *ca) as served:
        yield served
    assert "Traceback" not in served.stderr, served.stderr


def test_who_has_a_certificate_is_answered(strict: Served, papers: Papers) -> None:
    assert answers(strict, papers.context(papers.caller))
    with grpc_channel(strict, papers.ca, papers.caller) as client:
        assert infer(client, np.array([3.0])).tolist() == [6.0]


def test_who_has_none_or_a_strangers_is_not(strict: Served, papers: Papers, tmp_path: Path) -> None:
    stranger = Papers(tmp_path)
    for context in (papers.context(), papers.context(stranger.caller), papers.context(papers.make("s", "localhost"))):
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            assert answers(strict, context)
    with grpc_channel(strict, papers.ca) as client, pytest.raises(triton.InferenceServerException):
        infer(client, np.array([3.0]))
    assert answers(strict, papers.context(papers.caller))


def test_a_callers_certificate_that_has_ended_is_refused(
    strict: Served, papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "LIFE", timedelta(minutes=-1))
    old = papers.make("old", "uri:spiffe://example.org/scorer", client=True)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        assert answers(strict, papers.context(old))


def test_a_server_does_not_start_with_a_certificate_that_has_ended(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "LIFE", timedelta(minutes=-1))
    old = Papers(tmp_path)
    command = [sys.executable, "-m", "modelyard", "serve", "--port", "0", *old.serve]
    env = {"MODELYARD_HOME": str(home), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    assert "expired" in told.stderr
    assert "modelyard tls show cert.pem" in told.stderr


def test_stopping_leaves_nobody_without_an_answer(home: Path, papers: Papers) -> None:
    with Served(home, *papers.serve, "--drain-delay", "0.5", "--no-grpc") as served:
        context = papers.context()
        with connection(served, context) as sock:
            sock.sendall(ASK[:-5])
            time.sleep(0.2)
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            sock.sendall(ASK[-5:])
            assert receive(sock, quiet_s=5).endswith(b'{"prediction": [6.0]}')
        assert served.stop() == 0


def test_bench_loads_a_server_over_tls(served: Served, papers: Papers, home: Path) -> None:
    command = [sys.executable, "-m", "modelyard", "bench", f"https://localhost:{served.port}", "--json", "--ca"]
    limits = ["--requests", "60", "--connections", "4", "--duration", "20s"]
    env = {"MODELYARD_HOME": str(home), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    told = subprocess.run(
        [*command, str(papers.ca), *limits], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert told.returncode == 0, told.stderr
    assert sum(step["answered"] for step in json.loads(told.stdout)["steps"]) == 60
