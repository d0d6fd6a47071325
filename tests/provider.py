"""An identity provider on this machine: its key set, and tokens that it signs."""

from __future__ import annotations

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey


class Provider:
    """It answers what `pages` says, by path: a status, headers and a body; after `delay_s`."""

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "k1"})
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.delay_s = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://localhost:{self._server.server_address[1]}"
        self.publish()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def jwks(self) -> str:
        return f"{self.url}/keys"

    def publish(self) -> None:
        """Show the key as it is now."""
        document = json.dumps({"keys": [self.key.as_dict(private=False)]}).encode()
        about = json.dumps({"issuer": self.url, "jwks_uri": self.jwks}).encode()
        self.pages = {"/keys": (200, {}, document), "/.well-known/openid-configuration": (200, {}, about)}

    def rotate(self, name: str) -> None:
        """Sign with a new key from now on, and show that one only."""
        self.key = ECKey.generate_key("P-256", {"kid": name})
        self.publish()

    def token(self, life_s: float = 600, **claims: Any) -> str:
        """A token that is valid now."""
        now = int(time.time())
        body = {"iss": self.url, "aud": "modelyard", "sub": "alice", "exp": now + life_s, "iat": now, **claims}
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, body, self.key)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                time.sleep(provider.delay_s)
                status, headers, body = provider.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Handler
