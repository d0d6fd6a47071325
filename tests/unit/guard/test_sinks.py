"""Sinks against real files, sockets and a real HTTPS server; what did not arrive is an error."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelyard.core.errors import InvalidRequest, Unavailable
from modelyard.guard import sinks
from modelyard.guard.sinks import open_sink

NOTE = "modelyard/audit/00\n1\nhash=\ntime now\n\n— name signature\n"
LINE = "modelyard/audit/00\\n1\\nhash=\\ntime now\\n\\n— name signature"


def test_a_file_is_appended_to_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    for _ in range(2):
        open_sink(f"file:{path}")(NOTE)
    assert path.read_text(encoding="utf-8") == f"{NOTE}\n{NOTE}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for name in ("missing/x", "link"):
        with pytest.raises(Unavailable, match="could not be sent") as caught:
            open_sink(f"file:{tmp_path / name}")(NOTE)
        assert caught.value.cause
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_streams(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    open_sink(name)(NOTE)
    assert getattr(capsys.readouterr(), name[3:]) == f"{NOTE}\n"


def test_this_machines_syslog(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(5)
        open_sink(f"syslog:{tmp_path / 'log'}")(NOTE)
        heard = daemon.recv(65536).decode()
    assert heard.startswith("<85>modelyard[")
    assert heard.endswith(f"]: {LINE}")


def test_no_syslog_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        open_sink(f"syslog:{tmp_path / 'log'}")(NOTE)


def test_a_syslog_elsewhere_gets_rfc_5424() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(5)
        open_sink(f"syslog://127.0.0.1:{daemon.getsockname()[1]}")(NOTE)
        heard = daemon.recv(65536).decode()
    version, at, _, program, _, kind, nothing, rest = heard.split(" ", 7)
    assert (version, program, kind, nothing, rest) == ("<85>1", "modelyard", "audit", "-", LINE)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(at)) < timedelta(seconds=60)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nowhere",
        "http://collector.example/x",
        "ftp://collector.example/x",
        "https:///x",
        "https://user:password@collector.example/",
        "https://collector.example:99999/",
        "file:relative",
        "file://host/x",
        "syslog://:514",
        "https://[",
    ],
)
def test_what_is_no_sink_is_refused_before_anything_is_sent(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_sink(text)
    assert caught.value.cause
    assert "https://" in caught.value.hint


class Collector(BaseHTTPRequestHandler):
    """Keeps what it is sent; the address says how it answers."""

    got: list[tuple[str, str, str]] = []  # noqa: RUF012 - emptied by the fixture

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.got.append((self.path, self.headers["Content-Type"], body))
        if self.path == "/silent":
            self.server.done.wait(5)  # type: ignore[attr-defined]
        elif self.path == "/garbage":
            self.wfile.write(b"hello\r\n\r\n")
            return
        self.send_response(int(self.path[1:4]) if self.path[1:4].isdigit() else 200)
        self.send_header("Location", "/200/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collector")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, form, open_ = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, open_))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def collector(certificate: tuple[Path, Path]) -> Iterator[str]:
    Collector.got.clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.done = threading.Event()  # type: ignore[attr-defined]
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.done.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


@pytest.mark.usefixtures("trusted")
def test_a_collector_gets_the_text(collector: str) -> None:
    open_sink(f"{collector}/logs/a?b=c")(NOTE)
    assert Collector.got == [("/logs/a?b=c", "text/plain; charset=utf-8", NOTE)]
    open_sink(f"{collector}/204")(NOTE)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("answer", ["301", "302", "307", "308", "400", "401", "500", "503", "garbage"])
def test_any_other_answer_is_told_and_no_redirect_followed(collector: str, answer: str) -> None:
    with pytest.raises(Unavailable) as caught:
        open_sink(f"{collector}/{answer}")(NOTE)
    assert caught.value.cause == (
        f"it answered {answer}" if answer.isdigit() else "its answer is not HTTP: BadStatusLine"
    )
    assert [path for path, _, _ in Collector.got] == [f"/{answer}"]


def test_a_certificate_that_nobody_vouches_for_is_refused(collector: str) -> None:
    with pytest.raises(Unavailable):
        open_sink(f"{collector}/200")(NOTE)
    assert Collector.got == []


@pytest.mark.usefixtures("trusted")
def test_a_collector_that_never_answers_costs_the_time_limit(collector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "TIMEOUT_S", 0.3)
    with pytest.raises(Unavailable, match="could not be sent"):
        open_sink(f"{collector}/silent")(NOTE)
    assert len(Collector.got) == 1
