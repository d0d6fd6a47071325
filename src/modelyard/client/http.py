"""A server, asked over HTTP: ``modelyard.Client("http://127.0.0.1:8080").predict({"feature": 3})``."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from modelyard.client._data import Rows, split
from modelyard.client.load.trust import context_of
from modelyard.core.errors import (
    Busy,
    Conflict,
    Denied,
    Internal,
    InvalidRequest,
    ModelyardError,
    NotFound,
    NotReady,
    Timeout,
    TooLarge,
    Unavailable,
    Unsupported,
    WrongType,
    catalogue,
    from_wire,
)

_TIMEOUT_S = 30.0
_PLAIN = (InvalidRequest, TooLarge, Unsupported, Denied, NotFound, Conflict, NotReady, Busy, Timeout, Internal)


class Client:
    """One server. Keeps its connection; not for several threads at once.

    Parameters
    ----------
    url : str
        ``http://host:port`` or ``https://host:port``.
    model : str, optional
        ``name``, ``name@2`` or ``name@alias``; needed when the server serves several.
    timeout_s : float
        Longest wait for an answer.
    ca : str or Path, optional
        File of the authorities that vouch for an https address; those that the system trusts when it is not given.
    key : str, optional
        A key or token, where the server wants to know who asks.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        timeout_s: float = _TIMEOUT_S,
        ca: str | Path | None = None,
        key: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
            raise InvalidRequest(what=f"{url!r} is not an http:// address")
        if key and not (key.isascii() and key.isprintable()):
            raise InvalidRequest(what="the key has characters that no key has")
        self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout_s)
        if parts.scheme == "https":
            context = context_of(str(ca or ""))
            self._connection = http.client.HTTPSConnection(parts.hostname, port, timeout=timeout_s, context=context)
        self._headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        self._url = url
        self._timeout_s = timeout_s
        self._path = parts.path.rstrip("/") + (f"/models/{quote(model, safe='@')}/predict" if model else "/predict")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def predict(self, data: Rows) -> list[Any]:
        """One answer per row; `data` and errors as in `modelyard.client.local.Model.predict`."""
        answer = self._ask(data, "")
        if "prediction" not in answer:
            raise Unavailable(what=f"{self._url} did not answer as a Modelyard server does")
        values: list[Any] = answer["prediction"]
        return values

    def predict_proba(self, data: Rows) -> list[dict[str, float]] | None:
        """Per row, class label to probability; None when the model gives none."""
        found: list[dict[str, float]] | None = self._ask(data, "?detail=full").get("probabilities")
        return found

    def _ask(self, data: Rows, query: str) -> dict[str, Any]:
        rows, columns = split(data)
        try:
            body = orjson.dumps(rows if columns is None else columns, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as exc:
            raise WrongType(field="data", expected="values that JSON can carry", got=str(exc), where="") from exc
        status, answer = self._exchange(self._path + query, body)
        if not isinstance(answer, dict):
            raise Unavailable(what=f"{self._url} did not answer as a Modelyard server does")
        if status == http.client.OK:
            return answer
        raise _error(answer)

    def _exchange(self, path: str, body: bytes) -> tuple[int, Any]:
        """One request; a kept connection that the server has closed meanwhile is opened again, once."""
        for last in (False, True):
            try:
                self._connection.request("POST", path, body, self._headers)
                response = self._connection.getresponse()
                return response.status, orjson.loads(response.read())
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as exc:
                self._connection.close()
                if last:
                    raise Unavailable(what=f"{self._url} closed the connection") from exc
            except TimeoutError as exc:
                self._connection.close()
                raise Timeout(what=f"an answer from {self._url}", limit_s=self._timeout_s) from exc
            except (OSError, http.client.HTTPException) as exc:
                self._connection.close()
                raise Unavailable(what=f"{self._url} cannot be reached", cause=str(exc)) from exc
            except orjson.JSONDecodeError as exc:
                raise Unavailable(what=f"{self._url} did not answer with JSON") from exc
        raise AssertionError


def _error(answer: dict[str, Any]) -> ModelyardError:
    """The server's error again; what was refused before it reached a model has a kind and a sentence only."""
    facts = answer.get("facts")
    facts = dict(facts) if isinstance(facts, dict) else {}
    facts |= {key: answer[key] for key in ("cause", "hint") if key in answer}
    if answer.get("code") in catalogue():
        return from_wire({"code": answer["code"], "facts": facts})
    kind, told = answer.get("type"), str(answer.get("detail", ""))
    cls = next((cls for cls in _PLAIN if cls.kind == kind), Unavailable)
    error = from_wire({"code": cls.code, "facts": {**facts, "what": told}})
    if error.detail != told:
        error.facts.setdefault("cause", told)
    return error
