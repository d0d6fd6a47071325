"""Requests that two parsers could read differently, and hosts that are not this server: on raw sockets."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelyard.core.plan import Limits
from tests.acceptance.serving import Served, plan_of
from tests.models import linear_bundle

LIMITS = Limits(header_s=1.0, body_s=1.0, idle_s=3.0)
_LINE = b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\n"
_INNER = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
_END = b"0\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"

#: After the request's line and its Host: framing that says two things, or nothing that can be said.
FRAMING = {
    "CL and TE": b"Content-Length: 6\r\n" + _CHUNKED + b"\r\n" + _END + _INNER,
    "TE and CL": _CHUNKED + b"Content-Length: 6\r\n\r\n" + _END + _INNER,
    "CL of 0 and TE": b"Content-Length: 0\r\n" + _CHUNKED + b"\r\n" + _END + _INNER,
    "two CL": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(_INNER) + _INNER,
    "two equal CL": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + _INNER,
    "list of CL": b"Content-Length: 0, %d\r\n\r\n" % len(_INNER) + _INNER,
    "negative CL": b"Content-Length: -1\r\n\r\n" + _INNER,
    "CL with plus": b"Content-Length: +5\r\n\r\nhello" + _INNER,
    "CL in hex": b"Content-Length: 0x5\r\n\r\nhello" + _INNER,
    "CL with underscore": b"Content-Length: 1_0\r\n\r\n0123456789" + _INNER,
    "CL with spaces inside": b"Content-Length: 1 0\r\n\r\n0123456789" + _INNER,
    "CL with letters": b"Content-Length: 5a\r\n\r\nhello" + _INNER,
    "CL with fraction": b"Content-Length: 5.0\r\n\r\nhello" + _INNER,
    "CL of 2^64 + 2": b"Content-Length: 18446744073709551618\r\n\r\n{}" + _INNER,
    "CL without value": b"Content-Length:\r\n\r\n" + _INNER,
    "CL in wide digits": b"Content-Length: \xef\xbc\x95\r\n\r\nhello" + _INNER,
    "space before colon of CL": b"Content-Length : 5\r\n\r\nhello" + _INNER,
    "tab before colon of CL": b"Content-Length\t: 5\r\n\r\nhello" + _INNER,
    "space before colon of TE": b"Transfer-Encoding : chunked\r\n\r\n" + _END + _INNER,
    "folded CL": b"Content-Length:\r\n 5\r\n\r\nhello" + _INNER,
    "folded TE": b"Transfer-Encoding:\r\n chunked\r\n\r\n" + _END + _INNER,
    "folded header": b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n" + _INNER,
    "header that begins with space": b" Content-Length: 5\r\n\r\nhello" + _INNER,
    "TE twice": _CHUNKED + _CHUNKED + b"\r\n" + _END + _INNER,
    "TE, then identity": _CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + _END + _INNER,
    "identity, then TE": b"Transfer-Encoding: identity\r\n" + _CHUNKED + b"\r\n" + _END + _INNER,
    "TE of chunked, identity": b"Transfer-Encoding: chunked, identity\r\n\r\n" + _END + _INNER,
    "TE of gzip": b"Transfer-Encoding: gzip\r\n\r\n" + _END + _INNER,
    "TE of gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n" + _END + _INNER,
    "TE of xchunked": b"Transfer-Encoding: xchunked\r\n\r\n" + _END + _INNER,
    "TE of chunkedx": b"Transfer-Encoding: chunkedx\r\n\r\n" + _END + _INNER,
    "TE in quotes": b'Transfer-Encoding: "chunked"\r\n\r\n' + _END + _INNER,
    "TE with vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n" + _END + _INNER,
    "TE with NUL": b"Transfer-Encoding: chunked\0\r\n\r\n" + _END + _INNER,
    "TE without value": b"Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello" + _INNER,
    "TE after a bare CR": b"X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + _END + _INNER,
    "TE after a bare LF": b"X: a\nTransfer-Encoding: chunked\r\n\r\n" + _END + _INNER,
    "bare LF everywhere": b"Content-Length: 5\n\nhello" + _INNER,
    "CR CR LF": b"Content-Length: 5\r\r\n\r\nhello" + _INNER,
    "NUL in a value": b"X: a\0b\r\nContent-Length: 0\r\n\r\n" + _INNER,
    "NUL in a name": b"X\0: a\r\nContent-Length: 0\r\n\r\n" + _INNER,
    "no colon": b"Content-Length 5\r\n\r\nhello" + _INNER,
    "no name": b": 5\r\nContent-Length: 0\r\n\r\n" + _INNER,
    "chunk of no size": _CHUNKED + b"\r\n\r\nhello\r\n" + _END + _INNER,
    "chunk of letters": _CHUNKED + b"\r\nzz\r\nhello\r\n" + _END + _INNER,
    "chunk of negative size": _CHUNKED + b"\r\n-5\r\nhello\r\n" + _END + _INNER,
    "chunk with 0x": _CHUNKED + b"\r\n0x5\r\nhello\r\n" + _END + _INNER,
    "chunk with plus": _CHUNKED + b"\r\n+5\r\nhello\r\n" + _END + _INNER,
    "chunk of 2^64 + 2": _CHUNKED + b"\r\n10000000000000002\r\nhi\r\n" + _END + _INNER,
    "chunk of 20 digits": _CHUNKED + b"\r\n00000000000000000005\r\nhello\r\n" + _END + _INNER,
    "chunk longer than it says": _CHUNKED + b"\r\n2\r\nhello\r\n" + _END + _INNER,
    "chunk shorter than it says": _CHUNKED + b"\r\n6\r\nhello\r\n" + _END + _INNER,
    "chunk with LF": _CHUNKED + b"\r\n5\nhello\n0\n\n" + _INNER,
    "chunk with LF in its extension": _CHUNKED + b"\r\n5;a\nb\r\nhello\r\n" + _END + _INNER,
    "chunk with a bare CR": _CHUNKED + b"\r\n5\rhello\r\n" + _END + _INNER,
    "chunk with space after size": _CHUNKED + b"\r\n5 \r\nhello\r\n" + _END + _INNER,
    "last chunk with LF": _CHUNKED + b"\r\n5\r\nhello\r\n0\n\n" + _INNER,
    "trailer that frames": _CHUNKED + b"\r\n5\r\nhello\r\n0\r\nContent-Length: 50\r\nHost: b\r\n\r\n",
    "nothing after the last chunk": _CHUNKED + b"\r\n5\r\nhello\r\n0\r\n",
    "TE in HTTP/1.0": b"",
    "HTTP/1.2": b"",
    "HTTP/0.9": b"",
    "space in the target": b"",
    "tab in the line": b"",
    "line that goes on": b"",
}
_WHOLE = {
    "TE in HTTP/1.0": b"POST /models/linear/predict HTTP/1.0\r\nHost: localhost\r\n"
    + _CHUNKED
    + b"\r\n"
    + _END
    + _INNER,
    "HTTP/1.2": b"POST /livez HTTP/1.2\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"GET /livez\r\n\r\n" + _INNER,
    "space in the target": b"GET /livez /x HTTP/1.1\r\nHost: localhost\r\n\r\n" + _INNER,
    "tab in the line": b"GET\t/livez\tHTTP/1.1\r\nHost: localhost\r\n\r\n" + _INNER,
    "line that goes on": b"GET /livez HTTP/1.1 x\r\nHost: localhost\r\n\r\n" + _INNER,
}
#: Zeros before a size are right by every reading, so what follows is a request of its own.
_RIGHT = {"chunk of 20 digits"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("plan")
    with Served(folder / "home", "--plan", str(plan_of(folder, [linear_bundle()], LIMITS))) as server:
        yield server


def said(served: Served, data: bytes) -> tuple[bytes, bool]:
    """What the server says to this until it closes, or has said nothing for longer than any deadline; did it close?"""
    with socket.create_connection(("127.0.0.1", served.port), timeout=2.5) as sock:
        sock.sendall(data)
        found, until = b"", time.monotonic() + 10
        try:
            while time.monotonic() < until:
                chunk = sock.recv(65536)
                if not chunk:
                    return found, True
                found += chunk
        except TimeoutError:
            return found, False
        except ConnectionResetError:
            return found, True
    return found, False


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@pytest.mark.row("NET-03")
def test_framing_is_read_one_way_or_refused(served: Served, record_property: Any) -> None:
    """One answer, or 400 and the connection closed; what hides in a body is never answered."""
    cases = {name: _WHOLE.get(name, _LINE + rest) for name, rest in FRAMING.items()}
    with ThreadPoolExecutor(24) as pool:
        answers = dict(zip(cases, pool.map(lambda data: said(served, data), cases.values()), strict=True))
    wrong = {}
    for name, (answer, closed) in answers.items():
        if name in _RIGHT:
            assert statuses(answer) == [400, 404]
            continue
        got = statuses(answer)
        refused = closed and all(400 <= status < 500 for status in got) and len(got) <= 1
        if not (refused or (len(got) == 1 and got[0] < 500 and b"smuggled" not in answer)):
            wrong[name] = (got, closed, answer[-300:])
    record_property("number", f"{len(wrong)} violations of {len(cases) - len(_RIGHT)}")
    assert wrong == {}
    assert len(cases) >= 57
    assert served.post("/models/linear/predict", {"feature": 3})[0] == 200


HOSTS: dict[str, tuple[bytes, bytes, int]] = {
    "none": (b"/models", b"", 400),
    "empty": (b"/models", b"Host:\r\n", 400),
    "two": (b"/models", b"Host: localhost\r\nHost: evil.example\r\n", 400),
    "two, the other way": (b"/models", b"Host: evil.example\r\nHost: localhost\r\n", 400),
    "two equal": (b"/models", b"Host: localhost\r\nHost: localhost\r\n", 400),
    "list": (b"/models", b"Host: localhost, evil.example\r\n", 400),
    "evil": (b"/models", b"Host: evil.example\r\n", 421),
    "evil with our port": (b"/models", b"Host: evil.example:8080\r\n", 421),
    "begins as ours": (b"/models", b"Host: localhost.evil.example\r\n", 421),
    "ends as ours": (b"/models", b"Host: evil-localhost\r\n", 421),
    "address of the cloud's metadata": (b"/models", b"Host: 169.254.169.254\r\n", 421),
    "another address of this machine": (b"/models", b"Host: 127.0.0.2\r\n", 421),
    "decimal address": (b"/models", b"Host: 2130706433\r\n", 421),
    "short address": (b"/models", b"Host: 127.1\r\n", 421),
    "mapped address": (b"/models", b"Host: [::ffff:127.0.0.1]\r\n", 421),
    "every address": (b"/models", b"Host: 0.0.0.0\r\n", 421),
    "port of letters": (b"/models", b"Host: localhost:http\r\n", 400),
    "port too high": (b"/models", b"Host: localhost:65536\r\n", 400),
    "two ports": (b"/models", b"Host: localhost:80:80\r\n", 400),
    "user": (b"/models", b"Host: localhost@evil.example\r\n", 400),
    "user, the other way": (b"/models", b"Host: evil.example@localhost\r\n", 400),
    "path": (b"/models", b"Host: localhost/docs\r\n", 400),
    "space": (b"/models", b"Host: local host\r\n", 400),
    "percent": (b"/models", b"Host: localhost%00\r\n", 400),
    "forwarded": (b"/models", b"Host: evil.example\r\nX-Forwarded-Host: localhost\r\n", 421),
    "forwarded, by the standard": (b"/models", b"Host: evil.example\r\nForwarded: host=localhost\r\n", 421),
    "original": (b"/models", b"Host: evil.example\r\nX-Original-Host: localhost\r\nX-Host: localhost\r\n", 421),
    "absolute": (b"http://localhost/models", b"Host: localhost\r\n", 400),
    "absolute, evil": (b"http://evil.example/models", b"Host: localhost\r\n", 400),
    "absolute, evil host": (b"http://localhost/models", b"Host: evil.example\r\n", 421),
    "absolute without host": (b"http://localhost/models", b"", 400),
}


@pytest.mark.row("NET-05")
def test_a_server_answers_to_its_own_names(served: Served, record_property: Any) -> None:
    asked = {name: b"GET %b HTTP/1.1\r\n%b\r\n" % (path, host) for name, (path, host, _) in HOSTS.items()}
    found = {name: statuses(said(served, data)[0]) for name, data in asked.items()}
    accepted = [name for name, got in found.items() if got != [HOSTS[name][2]]]
    record_property("number", f"{len(accepted)} accepted of {len(HOSTS)}")
    assert accepted == [], found
    for right in (b"localhost", b"LOCALHOST:1", b"127.0.0.1:%d" % served.port, b"[::1]", b"localhost.:9"):
        assert statuses(served.raw(b"GET /models HTTP/1.1\r\nHost: %b\r\n\r\n" % right)) == [200], right


def test_a_forwarded_host_changes_nothing(served: Served) -> None:
    plain = served.ask("GET", "/openapi.json")[2]
    told = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil"}
    assert served.ask("GET", "/openapi.json", None, told)[2] == plain
    assert b"evil" not in served.ask("GET", "/docs", None, told)[2]
