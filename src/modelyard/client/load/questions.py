"""Prepared requests: from rows, bodies and headers to the bytes that are sent."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from modelyard.client.load.step import Place, Question
from modelyard.core.errors import InvalidData, InvalidRequest, NotFound
from modelyard.core.rows import is_missing, parse_number

JSON = "application/json"
MOST = 1000  # questions; more of a file are left out
MOST_BYTES = 64 * 1024 * 1024  # of all questions together
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = {"content-length", "transfer-encoding", "connection"}
_TYPES = {
    ".json": JSON,
    ".csv": "text/csv",
    ".xml": "application/xml",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.file",
    ".msgpack": "application/vnd.msgpack",
    ".npy": "application/x-npy",
}


@dataclass(frozen=True)
class Address:
    """Where questions go."""

    place: Place
    path: str

    @property
    def url(self) -> str:
        """As one would type it."""
        return f"{'https' if self.place.tls else 'http'}://{self.place.netloc}{self.path}"


@dataclass(frozen=True)
class Body:
    """What one question carries."""

    content: bytes
    media: str = JSON


def parse_address(url: str, ca: Path | None = None) -> Address:
    """Read ``http://host:port/path?query``; `InvalidRequest` when it is no such address. `ca` vouches for the host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None or not plain:
        raise InvalidRequest(
            what=f"{url[:200]!r} is not an address", hint="write http://127.0.0.1:8080/models/NAME/predict"
        )
    tls = parts.scheme == "https"
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Address(Place(parts.hostname, port or (443 if tls else 80), tls, str(ca.absolute()) if ca else ""), path)


def parse_header(text: str) -> tuple[str, str]:
    """Read ``name: value``, the name in lower case."""
    name, colon, value = text.partition(":")
    value = value.strip()
    if not colon or not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
        raise InvalidRequest(what=f"{text[:80]!r} is not a header", hint="write -H 'name: value'")
    if name.lower() in _OURS:
        raise InvalidRequest(what=f"the header {name.lower()!r} is set by the client itself")
    return name.lower(), value


def prepare(address: Address, bodies: Sequence[Body], headers: Mapping[str, str]) -> tuple[Question, ...]:
    """The questions, their answers not known yet; only the first ones when they are large, but always one."""
    room = accumulate(len(body.content) for body in bodies)
    kept = [body for body, total in zip(bodies, room, strict=True) if total <= MOST_BYTES] or bodies[:1]
    return tuple(Question(request=_request(address, body, headers)) for body in kept)


def _request(address: Address, body: Body, headers: Mapping[str, str]) -> bytes:
    lines = {"host": address.place.netloc, "content-type": body.media, **headers}
    lines["content-length"] = str(len(body.content))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {address.path or '/'} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body.content


def wrap(path: str, rows: Sequence[Mapping[str, Any]]) -> Body:
    """Rows as the contract at that address takes them: ours, TensorFlow Serving's, MLflow's.

    One row of ours is an object, several are a list. Protocol v2 takes tensors, which rows do not say.
    """
    path = path.partition("?")[0]
    if path.endswith("/infer"):
        raise InvalidRequest(
            what="protocol v2 takes tensors, not rows",
            hint="give whole bodies instead: --body request.json; or load …/models/NAME/predict",
        )
    document: Any = list(rows) if len(rows) > 1 else rows[0]
    if path.endswith(":predict"):
        document = {"instances": list(rows)}
    elif path.endswith("/invocations"):
        document = {"dataframe_records": list(rows)}
    return Body(orjson.dumps(document))


def batches(rows: Sequence[Any], size: int) -> list[list[Any]]:
    """One question of `size` rows (or answers) for each one, beginning with it and going round; at most `MOST`."""
    count = len(rows)
    return [[rows[(at + step) % count] for step in range(size)] for at in range(min(count, MOST))]


def read_body(path: Path) -> Body:
    """A file as it is; its ending names the media type."""
    return Body(_read(path), _TYPES.get(path.suffix.lower(), "application/octet-stream"))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON file (an object, or a list of them), a file of JSON lines, or a CSV.

    A CSV's cells are numbers where they look like it, null where they are empty, else text.
    """
    raw = _read(path)
    try:
        if path.suffix.lower() == ".csv":
            rows: Any = [{name: _cell(value) for name, value in row.items()} for row in read_cells(path, raw)]
        elif path.suffix.lower() in {".jsonl", ".ndjson"}:
            rows = [orjson.loads(line) for line in raw.splitlines() if line.strip()]
        else:
            rows = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise InvalidData(what=f"{path.name} is not valid JSON", cause=str(exc)) from exc
    found: list[dict[str, Any]] = rows if isinstance(rows, list) else [rows]
    if not found or not all(isinstance(row, dict) for row in found):
        raise InvalidData(what=f"{path.name} holds no rows", cause="rows are objects of named fields")
    return found


def read_cells(path: Path, raw: bytes | None = None) -> list[dict[str, str]]:
    """Rows of a CSV as text."""
    try:
        text = (_read(path) if raw is None else raw).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as exc:
        raise InvalidData(what=f"{path.name} is not a CSV", cause=str(exc)) from exc
    if not rows:
        raise InvalidData(what=f"{path.name} holds no rows")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise InvalidData(what=f"{path.name} has more or fewer cells than names in row {number}")
    return rows


def _cell(text: str) -> Any:
    if is_missing(text):
        return None
    number = parse_number(text.strip())
    return text if number is None or not isfinite(number) else number


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise NotFound(what="file", name=str(path)) from exc
    except OSError as exc:
        raise InvalidData(what=f"cannot read {path.name}", cause=exc.strerror) from exc
