"""Where checkpoints go: a stream, a file, syslog, or a collector over HTTPS; only the operator says where.

A sink is a text: ``stdout``, ``stderr``, ``file:/path`` (appended to), ``syslog`` (this machine's), ``syslog:/socket``,
``syslog://host:port`` (UDP), ``https://host/path`` (a POST with a time limit, to a server whose certificate is checked;
redirects are not followed).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from modelyard.core.errors import InvalidRequest, ModelyardError, Unavailable

#: Takes the text of a checkpoint; an error when it did not arrive.
Sink = Callable[[str], None]

TIMEOUT_S = 5.0
_SYSLOG, _SYSLOG_PORT = "/dev/log", 514
_PRIORITY = 10 * 8 + 5  # facility authpriv, severity notice
_FORMS = "stdout, stderr, file:/path, syslog, syslog://host:port, https://host/path"


def open_sink(text: str) -> Sink:
    """What sends there; nothing is opened before something is sent. `InvalidRequest` when it cannot be a sink."""
    if text in {"stdout", "stderr"}:
        return lambda note: _print(text, note)
    try:
        parts = urlsplit(text)
        sink = _SCHEMES.get(parts.scheme or text, _unknown)(parts)
    except ValueError as exc:
        raise InvalidRequest(
            what=f"checkpoints cannot be sent to {text[:200]!r}", cause=str(exc), hint=f"one of: {_FORMS}"
        ) from exc
    return lambda note: _translated(sink, text, note)


def _translated(sink: Sink, text: str, note: str) -> None:
    try:
        sink(note)
    except ModelyardError:
        raise
    except (OSError, ValueError, EOFError) as exc:
        raise Unavailable(
            what=f"the checkpoint could not be sent to {text[:200]}",
            cause=getattr(exc, "strerror", None) or str(exc) or type(exc).__name__,
            hint="mend it, then: modelyard audit checkpoint",
        ) from exc


def _print(name: str, note: str) -> None:
    stream = getattr(sys, name)
    stream.write(f"{note}\n")
    stream.flush()


def _file(parts: SplitResult) -> Sink:
    path = Path(parts.path)
    if parts.netloc or not path.is_absolute():
        raise ValueError("the path must be absolute")

    def append(note: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(f"{note}\n".encode())
            file.flush()
            os.fsync(fd)

    return append


def _syslog(parts: SplitResult) -> Sink:
    if parts.netloc:
        if not parts.hostname:
            raise ValueError("a host is missing")
        address = (parts.hostname, parts.port or _SYSLOG_PORT)
        return lambda note: _send(socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0], _entry(note, remote=True))
    path = parts.path if parts.scheme else ""
    local = (socket.AF_UNIX, socket.SOCK_DGRAM, 0, "", path or _SYSLOG)
    return lambda note: _send(local, _entry(note, remote=False))


def _send(address: tuple[int, int, int, str, Any], entry: bytes) -> None:
    family, kind, protocol, _, where = address
    with socket.socket(family, kind, protocol) as link:
        link.settimeout(TIMEOUT_S)
        link.connect(where)
        link.send(entry)


def _entry(note: str, *, remote: bool) -> bytes:
    """The note on one line: as this machine's daemon takes it, or as RFC 5424 says."""
    line = note.strip().replace("\n", "\\n")
    if not remote:
        return f"<{_PRIORITY}>modelyard[{os.getpid()}]: {line}".encode()
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    return f"<{_PRIORITY}>1 {at} {socket.gethostname()[:255] or '-'} modelyard {os.getpid()} audit - {line}".encode()


def _https(parts: SplitResult) -> Sink:
    if not parts.hostname or parts.username or parts.password or parts.fragment:
        raise ValueError("an address without a name or password in it is needed")
    host, port = parts.hostname, parts.port
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def post(note: str) -> None:
        import ssl  # noqa: PLC0415 - 20 ms, for those who post
        from http.client import HTTPException, HTTPSConnection  # noqa: PLC0415 - as above

        link = HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        try:
            link.request("POST", target, note.encode(), {"Content-Type": "text/plain; charset=utf-8"})
            status = link.getresponse().status
        except HTTPException as exc:
            raise OSError(f"its answer is not HTTP: {type(exc).__name__}") from exc
        finally:
            link.close()
        if not 200 <= status < 300:  # a redirect too: only the operator says where checkpoints go
            raise OSError(f"it answered {status}")

    return post


def _unknown(parts: SplitResult) -> Sink:
    raise ValueError("whoever is on the way could change it" if parts.scheme == "http" else "it is none of the forms")


_SCHEMES: dict[str, Callable[[SplitResult], Sink]] = {"file": _file, "syslog": _syslog, "https": _https}
