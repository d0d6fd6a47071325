"""Issuers' keys: fetched here, beside the supervisor, from addresses that the operator gave; no worker ever asks.

What was fetched lies in the issuer table, ``tokens.json``, which workers read again when it is another file. Keys that
cannot be fetched again are believed for an hour more. Issuers are asked side by side, and none longer than a while: one
that answers a byte at a time keeps nobody from the keys of the others.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from modelyard.core.errors import ModelyardError, Unavailable
from modelyard.guard import issuers
from modelyard.guard.issuers import FRESH_S, FetchedKeys, Issuer, IssuerTable
from modelyard.store import files

if TYPE_CHECKING:
    from http.client import HTTPConnection
    from pathlib import Path
    from socket import socket

    from modelyard.core.settings import Settings

_TIMEOUT_S = 5.0  # of silence; an answer may take twice as long in all
_GIVEN_UP_S = 15.0  # for an issuer, with all that has no limit of its own: names to be looked up, addresses to be tried
_LONGEST = 256 * 1024  # bytes of a key set
_ON_DEMAND_S = 60.0  # between two fetches of one issuer's keys
_LOOK_S = 15.0  # between two looks at what is due

Fetch = Callable[[Issuer], str]


def fetch(issuer: Issuer) -> str:
    """The issuer's key set as it is now.

    Raises
    ------
    Unavailable
        There is no answer in time, another one than 200 (a redirection is not followed), or it is no key set.
    """
    raw = get(issuer.jwks, issuer.ca)
    from modelyard.guard.tokens import keys_in  # noqa: PLC0415 - brings joserfc and cryptography

    if not keys_in(raw, issuer.algorithms):
        cause = f"none of its keys is one for {' or '.join(issuer.algorithms)}"
        raise Unavailable(what=f"{issuer.jwks} gives no key set", cause=cause)
    return raw.decode("utf-8", "replace")


def get(url: str, ca: str = "") -> bytes:
    """A document, from exactly this address.

    Parameters
    ----------
    url : str
        One that the operator configured: https, or http on this machine.
    ca : str
        File of the authority that vouches for it; empty for those that the system trusts.

    Raises
    ------
    Unavailable
        See `fetch`.
    """
    import http.client  # noqa: PLC0415 - it and ssl are for those servers that believe tokens

    parts, deadline_s = urlsplit(url), time.monotonic() + 2 * _TIMEOUT_S
    connection = None

    def response(sock: socket, **more: Any) -> http.client.HTTPResponse:
        clocked: Any = _Clocked(sock, deadline_s)
        return http.client.HTTPResponse(clocked, **more)

    try:
        connection = _connection(parts, ca)
        connection.response_class = response  # type: ignore[assignment]  # it is called as the class would be
        connection.request("GET", urlunsplit(("", "", parts.path or "/", parts.query, "")))
        status, raw = _answer(connection)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise Unavailable(what=f"{url} cannot be fetched", cause=str(exc) or type(exc).__name__) from exc
    finally:
        if connection is not None:
            connection.close()
    if status != http.client.OK:
        raise Unavailable(what=f"{url} cannot be fetched", cause=f"it answers {status}")
    if len(raw) > _LONGEST:
        raise Unavailable(what=f"{url} cannot be fetched", cause=f"it is longer than {_LONGEST} bytes")
    return raw


def _connection(parts: SplitResult, ca: str) -> HTTPConnection:
    import http.client  # noqa: PLC0415 - as above
    import ssl  # noqa: PLC0415 - as above

    host = str(parts.hostname)
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context(cafile=ca or None)
    return http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=context)


def _answer(connection: HTTPConnection) -> tuple[int, bytes]:
    """Its status, and a little more than the longest document that is taken."""
    raw = b""
    with connection.getresponse() as response:
        while len(raw) <= _LONGEST and (piece := response.read1(_LONGEST + 1)):
            raw += piece
    return response.status, raw


class _Clocked(io.RawIOBase):
    """What a socket says until a moment, as the response reads it: its head and its body, however slowly they come."""

    def __init__(self, sock: socket, deadline_s: float) -> None:
        self._sock, self._deadline_s = sock, deadline_s
        self._raw = sock.makefile("rb", buffering=0)  # which keeps it open when the connection is done with it

    def makefile(self, mode: str) -> io.BufferedReader:
        """Itself, buffered; asked for by the response as of a socket."""
        del mode
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """What came, within what is left of the time."""
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("it takes too long")
        self._sock.settimeout(min(left_s, _TIMEOUT_S))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


def refresh(settings: Settings, wanted: Iterable[str] = (), get_keys: Fetch = fetch) -> dict[str, str]:
    """Fetch what is due, and put the issuer table where workers read it.

    Parameters
    ----------
    settings : Settings
        Where the operator's file and the table are.
    wanted : iterable of str
        Issuers of whom there may be newer keys: fetched unless that was done less than a minute ago.
    get_keys : callable
        Fetches the key set of an issuer.

    Returns
    -------
    dict of str to str
        Why keys could not be fetched, by the issuer's url. Those that are there already stay.
    """
    trusted, wished, table = read(settings), frozenset(wanted), _kept(settings.tokens)
    kept = _still_good(table, trusted)
    due = []
    for issuer in trusted:
        age_s = _now_s() - kept[issuer.url].fetched_s if issuer.url in kept else float("inf")
        if not 0 <= age_s < (_ON_DEMAND_S if issuer.url in wished else FRESH_S):
            due.append(issuer)
    fetched, troubles = _fetch_all(due, get_keys)
    if fetched or table.issuers != trusted:
        _write(settings, fetched)
    return troubles


def _fetch_all(due: Sequence[Issuer], get_keys: Fetch) -> tuple[dict[str, FetchedKeys], dict[str, str]]:
    """Their keys, and why there are none, by url. A thread each; who has not answered by then is left alone."""
    fetched: dict[str, FetchedKeys] = {}
    troubles = {issuer.url: f"{issuer.jwks} cannot be fetched: it takes too long" for issuer in due}

    def ask(issuer: Issuer) -> None:
        try:
            fetched[issuer.url] = FetchedKeys(get_keys(issuer), _now_s())
        except ModelyardError as exc:
            troubles[issuer.url] = f"{exc.detail}: {exc.cause}" if exc.cause else exc.detail

    threads = [threading.Thread(target=ask, args=(issuer,), name="issuer", daemon=True) for issuer in due]
    for thread in threads:
        thread.start()
    deadline_s = time.monotonic() + _GIVEN_UP_S
    for thread in threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    got = dict(fetched)
    return got, {url: trouble for url, trouble in dict(troubles).items() if url not in got}


def read(settings: Settings) -> tuple[Issuer, ...]:
    """Whom the operator believes."""
    try:
        return issuers.read(settings.issuers.read_bytes())
    except FileNotFoundError:
        return ()


def _write(settings: Settings, fetched: dict[str, FetchedKeys]) -> None:
    """The table as it is to be now, from the newest of everything: others may have fetched or configured meanwhile."""
    with files.locked(settings.home):
        trusted, old = read(settings), _kept(settings.tokens)
        urls = {issuer.url for issuer in trusted}
        kept = _still_good(old, trusted)
        jwks = {url: keys for url, keys in {**kept, **fetched}.items() if url in urls}
        table = IssuerTable(issuers=trusted, jwks=jwks)
        if table != old:
            files.replace(settings.tokens, table.to_bytes())


def _still_good(table: IssuerTable, trusted: Iterable[Issuer]) -> dict[str, FetchedKeys]:
    """Keys in the table that came from where the operator says now: those from another address are not believed."""
    fetched_from = {issuer.url: (issuer.jwks, issuer.ca) for issuer in table.issuers}
    now = {issuer.url for issuer in trusted if fetched_from.get(issuer.url) == (issuer.jwks, issuer.ca)}
    return {url: keys for url, keys in table.jwks.items() if url in now}


def _kept(path: Path) -> IssuerTable:
    try:
        return IssuerTable.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return IssuerTable()


def _now_s() -> float:
    return datetime.now(UTC).timestamp()


class Keeper:
    """Keeps the issuer table fresh in a thread, as long as a server runs.

    Parameters
    ----------
    settings : Settings
        Of the home.
    on_event : callable
        Told ``{"issuer": url, "no_keys": why}`` when keys cannot be fetched, once for each reason.
    get_keys : callable
        As for `refresh`.
    """

    def __init__(
        self, settings: Settings, on_event: Callable[[Mapping[str, str]], None], get_keys: Fetch = fetch
    ) -> None:
        self._settings = settings
        self._on_event = on_event
        self._get_keys = get_keys
        self._wanted: set[str] = set()
        self._asked_s: dict[str, float] = {}
        self._wake, self._lock = threading.Event(), threading.Lock()
        self._over = False
        self._said: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="issuers", daemon=True)
        self._thread.start()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def want(self, url: str) -> None:
        """A token names a key of this issuer that is not there: look for newer ones, at most once a minute."""
        now_s = time.monotonic()
        with self._lock:
            if now_s < self._asked_s.get(url, -_ON_DEMAND_S) + _ON_DEMAND_S:
                return
            self._asked_s[url] = now_s
            self._wanted.add(url)
        self._wake.set()

    def close(self) -> None:
        """Stop; a fetch that is under way is not waited for."""
        self._over = True
        self._wake.set()

    def _run(self) -> None:
        while not self._over:
            self._look()
            self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _look(self) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, set()
        try:
            troubles = refresh(self._settings, wanted, self._get_keys)
        except (ModelyardError, OSError) as exc:
            troubles = {"": str(exc)}
        for url, trouble in troubles.items():
            if self._said.get(url) != trouble:
                self._on_event({"issuer": url, "no_keys": trouble})
        self._said = troubles
