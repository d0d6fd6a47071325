"""Before a load: what to ask a server, found in its own documents, and what the right answers are, by asking once."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from modelyard.client.load import trust
from modelyard.client.load.questions import JSON, Address, Body
from modelyard.client.load.step import Place, Question
from modelyard.client.load.verdict import alike
from modelyard.core.errors import InvalidRequest, NotFound, Timeout, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 300
OWN_QUESTIONS = "give questions of your own: --data rows.json, or --body request.json"


def settle(
    address: Address, questions: Sequence[Question], golden: Sequence[bytes], *, timeout_s: float, check_body: bool
) -> tuple[Question, ...]:
    """The questions with their right answers: the golden one where there is one, else what the server says now.

    Parameters
    ----------
    address : Address
        The server.
    questions : sequence of Question
        Each is asked once, the first one twice.
    golden : sequence of bytes
        By question, JSON; may be empty.
    timeout_s : float
        Longest wait for an answer.
    check_body : bool
        Whether bodies will be compared, or only the status.

    Raises
    ------
    InvalidRequest
        A question is refused; or the same question is answered differently each time.
    Unavailable, Timeout
        The server does not answer.
    """
    settled: list[Question] = []
    for number, question in enumerate(questions):
        status, body = _ask(address, question.request, timeout_s)
        if not 200 <= status < 300:
            raise InvalidRequest(
                what=f"{address.url} answers question {number + 1} with status {status}",
                cause=_told(body),
                hint="send what it takes: --data, --body, and -H for headers",
            )
        if not settled and check_body and not alike(body, _ask(address, question.request, timeout_s)[1]):
            raise InvalidRequest(
                what=f"{address.url} answers the same question differently each time, so answers cannot be checked",
                hint="check the status alone: --check status",
            )
        right = body if not golden or alike(golden[number], body) else golden[number]
        settled.append(msgspec.structs.replace(question, status=b"%d" % status, answer=right, check_body=check_body))
    return tuple(settled)


def example(address: Address, headers: Mapping[str, str], timeout_s: float) -> tuple[Address, Body | None]:
    """Where a server takes questions and an example of one, as its ``/openapi.json`` says.

    Parameters
    ----------
    address : Address
        With the path of a model, or none where the server has one model.
    headers : mapping of str to str
        That the server wants.
    timeout_s : float
        Longest wait for the document.

    Returns
    -------
    Address, Body
        The address with a path; no body where the document has no example.

    Raises
    ------
    InvalidRequest, NotFound
        There is no such document, or the path is not in it.
    """
    lines = {"host": address.place.netloc, "accept": JSON, **headers, "connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if name != "content-type")
    status, raw = _ask(address, f"GET /openapi.json HTTP/1.1\r\n{head}\r\n".encode("ascii"), timeout_s)
    paths: Any = None
    with suppress(orjson.JSONDecodeError, AttributeError):
        paths = orjson.loads(raw).get("paths") if status == http.client.OK else None
    if not isinstance(paths, dict):
        raise InvalidRequest(
            what=f"{address.url} does not say what to ask it", cause="there is no /openapi.json", hint=OWN_QUESTIONS
        )
    posts = {path: item["post"] for path, item in paths.items() if isinstance(item, dict) and "post" in item}
    path, query = _path(address, list(posts))
    found = posts[path]
    with suppress(KeyError, TypeError):
        content = found["requestBody"]["content"][JSON]["example"]
        return Address(address.place, query), Body(orjson.dumps(content))
    return Address(address.place, query), None


def _path(address: Address, known: Sequence[str]) -> tuple[str, str]:
    """The document's path that is meant, and how to ask for it: as given, or completed."""
    given, mark, query = address.path.partition("?")
    for path in (given, f"{given.rstrip('/')}/predict"):
        for one in known:
            if re.fullmatch(re.sub(r"\\\{[^/]+?\\\}", "[^/]+", re.escape(one)), path):
                return one, path + mark + query
    offered = [one for one in known if one.endswith("/predict") and "{" not in one] or list(known)
    raise NotFound(what="address", name=given or "/", known=offered, hint=f"one of: {', '.join(sorted(offered)[:8])}")


def _ask(address: Address, request: bytes, timeout_s: float) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    try:
        with _connected(address.place, timeout_s) as sock:
            sock.sendall(request)
            response = http.client.HTTPResponse(sock, method=request.partition(b" ")[0].decode())
            response.begin()
            return response.status, response.read()
    except TimeoutError as exc:
        raise Timeout(what=f"an answer from {address.url}", limit_s=timeout_s) from exc
    except (OSError, http.client.HTTPException) as exc:
        hint = "is it running? modelyard serve MODEL --port PORT"
        raise Unavailable(what=f"{address.url} cannot be asked", cause=str(exc), hint=hint) from exc


@contextmanager
def _connected(place: Place, timeout_s: float) -> Iterator[socket.socket]:
    with socket.create_connection((place.host, place.port), timeout=timeout_s) as plain:
        context = trust.context(place)
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname=place.host) as sock:
            yield sock


def _told(body: bytes) -> str:
    """What a refusal says: the sentence of a problem, else its beginning."""
    with suppress(orjson.JSONDecodeError):
        document = orjson.loads(body)
        if isinstance(document, dict):
            sentence = document.get("detail") or document.get("error")
            if isinstance(sentence, str):
                return sentence[:_SHOWN]
    return body[:_SHOWN].decode("utf-8", "replace")
