"""Asks a server everything that it says it answers, with given words wherever a text can be: by its own documents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

import grpc

from modelyard.serve.grpc.messages import PACKAGE, SERVICE, message
from tests.acceptance.calls import dial
from tests.acceptance.serving import Served

#: Headers whose values are texts of the caller's.
HEADERS = (
    "accept", "accept-encoding", "authorization", "content-encoding", "content-type", "cookie", "forwarded", "from",
    "inference-header-content-length", "link", "location", "origin", "referer", "traceparent", "user-agent", "via",
    "x-amzn-sagemaker-target-model", "x-api-key", "x-forwarded-for", "x-forwarded-host", "x-original-url",
    "x-request-id",
)  # fmt: skip
#: Names that other servers take addresses under; this one has no such field.
_TAKEN_ELSEWHERE = ("url", "uri", "source", "path", "file", "callback", "model_url", "artifact_uri", "host", "endpoint")
_DEPTH = 4
_PARAMETERS = {"config": "{}", "file:1/model.onnx": "AAAA", "max_batch_size": "1"}
_BODIES = (
    {"instances": ["a"], "parameters": {"a": "b"}},
    {"inputs": "a", "params": {"a": "b"}},
    {"parameters": _PARAMETERS},
)


def ask_everything(served: Served, words: Sequence[str]) -> int:
    """How many requests and calls were answered, over HTTP and gRPC."""
    asker = _Asker(served)
    paths = json.loads(asker.ask("GET", "/openapi.json"))["paths"]
    for word in words:
        for path, operations in paths.items():
            for method, operation in operations.items():
                if method in {"get", "post"}:
                    _operation(asker, method.upper(), path, operation, word)
        for header in HEADERS:
            asker.ask("POST", "/v2/models/linear/infer", b'{"inputs":[]}', {header: word})
    asker.close()
    return asker.answered + sum(_calls(served, word) for word in words)


def _operation(asker: _Asker, method: str, path: str, operation: dict[str, Any], word: str) -> None:
    parts = path.split("{")
    filled = parts[0] + "".join(quote(word, safe="") + part.partition("}")[2] for part in parts[1:])
    asker.ask(method, f"{filled}?uri={quote(word)}&version={quote(word)}", b"" if method == "POST" else None)
    if method == "GET":
        return
    content = operation.get("requestBody", {}).get("content", {})
    given = content.get("application/json", {}).get("example")
    for body in (given,) if given is not None else _BODIES:
        for changed in placed(body, word):
            asker.ask("POST", filled, json.dumps(changed).encode(), {"content-type": "application/json"})
    for media in content:
        asker.ask("POST", filled, word.encode(), {"content-type": media})


def placed(body: Any, word: str) -> Iterator[Any]:
    """The body with the word in the place of each value, as another name of each, and under names from elsewhere."""
    yield word
    if isinstance(body, dict):
        yield {**body, **dict.fromkeys(_TAKEN_ELSEWHERE, word)}
        for key, value in body.items():
            yield {word if name == key else name: inner for name, inner in body.items()}
            for inner in placed(value, word):
                yield {**body, key: inner}
    elif isinstance(body, list):
        for at, value in enumerate(body):
            for inner in placed(value, word):
                yield [*body[:at], inner, *body[at + 1 :]]


class _Asker:
    """One connection, made again whenever the server has closed it."""

    def __init__(self, served: Served) -> None:
        self._connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
        self.answered = 0

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        """The answer's body. What the server refuses by closing is an answer too; that it is silent is not."""
        try:
            self._connection.request(method, path, body, headers or {})
            answer = self._connection.getresponse()
            assert answer.status != 500, (method, path, body, headers)
            raw = answer.read()
        except (HTTPException, ConnectionError):
            self._connection.close()
            raw = b""
        self.answered += 1
        return raw

    def close(self) -> None:
        self._connection.close()


def _calls(served: Served, word: str) -> int:
    """Every method of the service, with the word in every text of its message."""
    file = message("ModelInferRequest").DESCRIPTOR.file
    methods = file.services_by_name[SERVICE.rpartition(".")[2]].methods
    with dial(served) as channel:
        for method in methods:
            asked = filled(_name(method.input_type), word).SerializeToString()
            if method.client_streaming:
                call = channel.stream_stream(f"/{SERVICE}/{method.name}", None, None)
                _settled(lambda call=call, asked=asked: list(call(iter([asked]), timeout=20)))
            else:
                call = channel.unary_unary(f"/{SERVICE}/{method.name}", None, None)
                _settled(lambda call=call, asked=asked: call(asked, timeout=20, metadata=[("x-text", quote(word))]))
    return len(methods)


def _settled(call: Any) -> None:
    code = grpc.StatusCode.OK
    try:
        call()
    except grpc.RpcError as exc:
        code = exc.code()
    assert code not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}


def filled(name: str, word: str, depth: int = 0) -> Any:
    """A message of this name with every field set; texts and bytes are the word."""
    made = message(name)()
    for field in made.DESCRIPTOR.fields if depth < _DEPTH else ():
        of = field.message_type
        place = getattr(made, field.name)
        if of is not None and of.GetOptions().map_entry:
            value = of.fields_by_name["value"]
            if value.message_type is not None:
                place[word].CopyFrom(filled(_name(value.message_type), word, depth + 1))
            else:
                place[word] = _scalar(value, word)
        elif hasattr(place, "append"):
            place.append(_scalar(field, word) if of is None else filled(_name(of), word, depth + 1))
        elif of is not None:
            place.CopyFrom(filled(_name(of), word, depth + 1))
        else:
            setattr(made, field.name, _scalar(field, word))
    return made


def _name(descriptor: Any) -> str:
    return str(descriptor.full_name.removeprefix(f"{PACKAGE}."))


def _scalar(field: Any, word: str) -> Any:
    if field.type in {field.TYPE_STRING, field.TYPE_BYTES}:
        return word if field.type == field.TYPE_STRING else word.encode()
    return field.type == field.TYPE_BOOL or 1
