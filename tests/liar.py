"""A server of this machine that says whatever a test wants: registries that lie, redirect, stall or break off."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Said:
    """What to answer. A body without a length in `headers` gets its own; `broken` cuts the connection after it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    broken: bool = False


Answers = Callable[[Asked], Said]


class Liar:
    """Answers as it is told, until the block ends; `seen` is what it was asked.

    Parameters
    ----------
    answers : callable
        What to say to each request.
    tls : tuple of Path, optional
        Certificate and key, in PEM.
    host : str
        Address of this machine to listen on.
    """

    def __init__(self, answers: Answers, tls: tuple[Path, Path] | None = None, host: str = "127.0.0.1") -> None:
        self.seen: list[Asked] = []
        self._server = ThreadingHTTPServer((host, 0), self._handler(answers))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"{host}:{self._server.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Liar:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self, answers: Answers) -> type[BaseHTTPRequestHandler]:
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the client went away, as some tests want it to
                    self.close_connection = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                asked = Asked(self.command, self.path, self.headers, body)
                seen.append(asked)
                said = answers(asked)
                pieces = [said.body] if isinstance(said.body, bytes) else said.body
                headers = dict(said.headers)
                if isinstance(said.body, bytes):
                    headers.setdefault("Content-Length", str(len(said.body)))
                self.send_response(said.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in pieces if self.command != "HEAD" else ():
                    self.wfile.write(piece)
                if said.broken or "Content-Length" not in headers:
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - as http.server wants it

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        return Handler
