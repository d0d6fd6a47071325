"""HTTP to registries: TLS except where nobody could listen, asked again when it may help, every answer bounded.

What proves who we are goes to the host it is meant for, and to no other that a redirect names.
"""

from __future__ import annotations

import random
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ProxySchemeUnsupported
from urllib3.exceptions import SSLError as TlsError

import modelyard
from modelyard.core.errors import RegistryRefused
from modelyard.core.imagename import is_host, shown
from modelyard.core.network import Network

_Result = TypeVar("_Result")
#: Times that something is tried, and the first pause between them; each one is twice as long, and never longer than the
#: last.
TRIES, PAUSE_S, LONGEST_S = 4, 0.5, 30.0
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_KEEPS_METHOD = frozenset({307, 308})
_REDIRECTS = 5
_CONNECT_S, _READ_S, _PROBE_S = 10.0, 60.0, 3.0
#: A host that gives less than that in a second, after a minute, is not waited for.
SLOWEST = 16 << 10
CHUNK_BYTES = 1 << 20
SMALL_BYTES = 1 << 20
#: Where Docker and Podman look for a registry's own authority: ``HOST:PORT/*.crt``.
AUTHORITIES = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
_OBJECT = re.compile(r"^(?:<[^>]*>|\w+\([^)]*\)): ")
_PORTS = {"https": 443, "http": 80}


class Broken(Exception):
    """It did not work this time, and may the next: tried again, or told as `RegistryRefused`.

    Parameters
    ----------
    what, cause : str
        For a person.
    wait_s : float
        When to try again, where the host said so.
    down : bool
        Whether nobody seems to be there at all.
    """

    def __init__(self, what: str, cause: str = "", *, wait_s: float = 0.0, down: bool = False) -> None:
        super().__init__(what)
        self.what, self.cause, self.wait_s, self.down = what, cause, wait_s, down


@dataclass(frozen=True)
class Request:
    """What is asked. `body` gives its pieces anew each time, since it may be asked more than once.

    `authorization` is sent to the host of `url` only. With `secret`, the rest is for that host only, too.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Iterable[bytes]] | None = field(default=None, repr=False)
    authorization: str = field(default="", repr=False)
    secret: bool = False


@dataclass(frozen=True)
class Answer:
    """What was answered, whole."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    url: str


class Https:
    """Connections to hosts, as `network` says. Safe in threads.

    Parameters
    ----------
    network : Network
        Proxies, and who may be asked without TLS.
    host : str
        ``HOST[:PORT]`` whose own authority counts too, where Docker knows one.
    """

    def __init__(self, network: Network, host: str) -> None:
        self._network = network
        self._host = host
        self._pools: dict[str, urllib3.PoolManager] = {}

    def base(self) -> str:
        """``https://HOST``, or ``http://`` where plain HTTP will do and TLS is not spoken, as Docker finds out."""
        plain = self._is_plain(urlsplit(f"//{self._host}"))
        return f"{'http' if plain and not self._speaks_tls() else 'https'}://{self._host}"

    def ask(self, request: Request, limit: int = SMALL_BYTES) -> Answer:
        """The answer, whatever its status; tried again when that may help.

        Raises
        ------
        RegistryRefused
            There is none, or it is larger than `limit`.
        """
        return self.persist(lambda: self.once(request, limit))

    def persist(self, act: Callable[[], _Result]) -> _Result:
        """What it gives, tried again as long as it is `Broken` and that is worth it."""
        for left in range(TRIES - 1, -1, -1):
            try:
                return act()
            except Broken as exc:
                if not left or exc.wait_s > LONGEST_S:
                    raise self.refused(exc) from exc
                self.rest(TRIES - 1 - left, exc.wait_s)
        raise AssertionError("the last try returns or raises")

    def refused(self, exc: Broken) -> RegistryRefused:
        """What to tell a person after the last try."""
        hint = f"is {self._host} the right address, and is it running?" if exc.down else "try the same command later"
        return RegistryRefused(registry=self._host, what=exc.what, cause=exc.cause, hint=hint)

    @staticmethod
    def rest(tried: int, wait_s: float = 0.0) -> None:
        """Wait before the next try: as long as was asked for, else longer each time."""
        pause = PAUSE_S * 2**tried * random.uniform(0.75, 1.25)  # noqa: S311 - a pause, not a secret
        time.sleep(min(wait_s or pause, LONGEST_S))

    @contextmanager
    def opened(self, request: Request) -> Iterator[tuple[Answer, Callable[[int], Iterator[bytes]]]]:
        """One try: status and headers, and what gives so many bytes of the answer at most; `Broken` when it breaks."""
        response, url = self._sent(request)
        try:
            answer = Answer(response.status, response.headers, b"", url)
            yield answer, lambda limit: self._pieces(response, limit)
        finally:
            response.close()  # what was not read is not waited for
            response.release_conn()

    def once(self, request: Request, limit: int = SMALL_BYTES) -> Answer:
        """As `ask`, for those who try again themselves: `Broken` when it did not work this time."""
        with self.opened(request) as (answer, pieces):
            whole = replace(answer, raw=b"".join(pieces(limit + 1)))
        if whole.status in _AGAIN:
            raise Broken(f"it answers {whole.status}", said(whole.raw), wait_s=_wait_s(whole))
        if len(whole.raw) > limit:
            raise RegistryRefused(registry=self._host, what=f"its answer is larger than {limit} bytes")
        return whole

    def _sent(self, request: Request) -> tuple[urllib3.BaseHTTPResponse, str]:
        """The answer to the request, or to those that redirects ask for."""
        here = request
        for _ in range(_REDIRECTS + 1):
            response = self._send(here)
            location = response.headers.get("Location", "")
            kept = response.status in _KEEPS_METHOD or here.method in {"GET", "HEAD"}
            if response.status not in _MOVED or not location or not kept or request.secret:
                return response, here.url
            response.close()
            url = self.resolved(here.url, location)
            stays = origin(url) == origin(request.url)
            here = replace(here, url=url, authorization=here.authorization if stays else "")
        raise RegistryRefused(registry=self._host, what=f"it redirects more than {_REDIRECTS} times")

    def _send(self, request: Request) -> urllib3.BaseHTTPResponse:
        parts = urlsplit(request.url)
        headers = {"User-Agent": f"modelyard/{modelyard.__version__}", "Accept-Encoding": "identity", **request.headers}
        if request.authorization:
            headers["Authorization"] = request.authorization
        try:
            return self._pool(parts).request(
                request.method,
                request.url,
                body=request.body() if request.body else None,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            )
        except TlsError as exc:
            hint = f"put its authority into {AUTHORITIES[0]}/{parts.netloc}/ca.crt, or name a file in SSL_CERT_FILE"
            raise RegistryRefused(
                registry=self._host, what="its certificate is not one that counts here", cause=str(exc)[:300], hint=hint
            ) from exc
        except (ValueError, ProxySchemeUnsupported) as exc:  # of an address, or of a proxy's
            raise RegistryRefused(
                registry=self._host, what="an address cannot be asked", cause=shown(str(exc))
            ) from exc
        except HTTPError as exc:
            who = "it" if parts.netloc == self._host else parts.netloc
            raise Broken(f"{who} does not answer", _words(exc), down=True) from exc

    def resolved(self, url: str, location: str) -> str:
        """Where `location` leads to from there; `RegistryRefused` when it leads away from HTTP, or from TLS."""
        found = urljoin(url, location)
        parts = urlsplit(found)
        plain = parts.scheme == "http" and urlsplit(url).scheme == "http" and self._is_plain(parts)
        if not (parts.scheme == "https" or plain) or not is_host(parts.netloc):
            raise RegistryRefused(
                registry=self._host, what=f"it leads to {found[:100]!r}", cause="that is not asked: it is not https"
            )
        return found

    def _pieces(self, response: urllib3.BaseHTTPResponse, limit: int) -> Iterator[bytes]:
        until = time.monotonic() + _READ_S
        seen = 0
        try:
            while seen < limit and (piece := response.read1(min(CHUNK_BYTES, limit - seen))):
                seen += len(piece)
                yield piece
                if time.monotonic() > until + seen / SLOWEST:
                    raise Broken("its answer takes too long")
        except HTTPError as exc:
            raise Broken("the connection broke", _words(exc)) from exc

    def _speaks_tls(self) -> bool:
        """Whether a handshake begins; a certificate that does not count is one, too, and is told with the next try."""
        url = f"https://{self._host}/v2/"
        try:
            self._pool(urlsplit(url)).request("GET", url, retries=False, redirect=False, timeout=_PROBE_S).close()
        except TlsError as exc:
            return "CERTIFICATE_VERIFY_FAILED" in str(exc)
        except HTTPError:  # nobody is there, or nobody who understands
            return False
        return True

    def _is_plain(self, parts: SplitResult) -> bool:
        return self._network.is_plain((parts.hostname or ""), parts.port)

    def _pool(self, parts: SplitResult) -> urllib3.PoolManager:
        """Connections, through the proxy for this host if there is one."""
        proxy = self._network.proxy(parts.scheme, parts.hostname or "")
        if proxy not in self._pools:
            context = trusting(self._host)
            if proxy:
                given = urlsplit(proxy)
                login = f"{given.username}:{given.password or ''}" if given.username else None
                headers = urllib3.make_headers(proxy_basic_auth=login)
                self._pools[proxy] = urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=context)
            else:
                self._pools[proxy] = urllib3.PoolManager(ssl_context=context)
        return self._pools[proxy]


def trusting(host: str) -> ssl.SSLContext:
    """The system's authorities (or those of ``SSL_CERT_FILE``), and the one that Docker knows for this host."""
    context = ssl.create_default_context()
    for folder in AUTHORITIES:
        for path in sorted((folder / host).glob("*.crt")):
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as exc:
                raise RegistryRefused(
                    registry=host, what=f"its authority cannot be read: {path.name}", cause=str(exc)[:200]
                ) from exc
    return context


def said(raw: bytes) -> str:
    """The first 300 characters of a text that somebody else wrote, on one line, nothing in it that a terminal obeys."""
    text = raw[:4096].decode("utf-8", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:300]


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _wait_s(answer: Answer) -> float:
    """What Retry-After asks for; a date is as good as nothing."""
    text = answer.headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _words(exc: HTTPError) -> str:
    """What urllib3 says, without the object that it says it of."""
    return said(_OBJECT.sub("", str(exc)).encode())
