"""What is loaded: a server lent for a model of the registry, or one that runs; with the questions it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from modelyard.client.load import probe
from modelyard.client.load.questions import (
    Address,
    Body,
    batches,
    parse_address,
    parse_header,
    prepare,
    read_body,
    read_cells,
    read_rows,
    wrap,
)
from modelyard.client.load.step import Question
from modelyard.client.load.wanted import Ask
from modelyard.control.actions.home import open_home
from modelyard.control.actions.lend import Lent, lend
from modelyard.core import examples
from modelyard.core.errors import InvalidInput, InvalidRequest
from modelyard.core.reference import parse_reference
from modelyard.core.rows import parse_text
from modelyard.core.settings import Settings
from modelyard.model.bundle import Bundle

GOLDEN, EXAMPLE = "golden rows", "the server's example"


@dataclass(frozen=True)
class Target:
    """A server that answers, and questions with their right answers.

    Parameters
    ----------
    address : Address
        Where the questions go.
    questions : tuple of Question
        Asked in turn.
    origin : str
        Where they are from, for people.
    subject, mark : str
        What a comparison goes by: the model's name or the address, and which questions.
    model : str, optional
        ``name@version`` of a lent one.
    lent : Lent, optional
        The server, where it was started for this.
    """

    address: Address
    questions: tuple[Question, ...]
    origin: str
    subject: str
    mark: str
    model: str | None = None
    lent: Lent | None = None


def is_address(text: str) -> bool:
    """Whether this names a server rather than a model."""
    return "://" in text


@contextmanager
def reach(settings: Settings, text: str, ask: Ask, timeout_s: float) -> Iterator[Target]:
    """The target that this text means, every question asked once; a lent server ends with the block.

    Raises
    ------
    ModelyardError
        No such model; it cannot be served; the server cannot be asked; questions cannot be read, or are refused.
    """
    if ask.data is not None and ask.bodies:
        raise InvalidRequest(what="the questions are rows (--data) or whole bodies (--body), not both")
    headers = dict(map(parse_header, ask.headers))
    if is_address(text):
        yield _running(parse_address(text, ask.ca), ask, headers, timeout_s)
        return
    version = open_home(settings).catalogue.resolve(parse_reference(text))
    bundle = open_home(settings).artifacts.read(version.digest)
    bodies, golden, origin = _of_model(bundle, ask)
    with lend(settings, str(version), workers=ask.workers) as lent:
        address = parse_address(f"{lent.url}/models/{version.name}/predict")
        asked = prepare(address, bodies, headers)
        settled = probe.settle(address, asked, golden, timeout_s=timeout_s, check_body=ask.check_body)
        mark = GOLDEN if golden else _mark(bodies)
        yield Target(address, settled, origin, version.name, mark, str(version), lent)


def _running(address: Address, ask: Ask, headers: Mapping[str, str], timeout_s: float) -> Target:
    """A server that runs already; its own documents say what it takes, where nobody else does."""
    shown: Body | None = None
    if address.path in {"", "/"} or not (ask.data or ask.bodies):
        address, shown = probe.example(address, headers, timeout_s)
    if ask.bodies:
        bodies, origin = [read_body(path) for path in ask.bodies], _named(ask)
    elif ask.data is not None:
        rows = read_rows(ask.data)
        bodies, origin = [wrap(address.path, some) for some in batches(rows, ask.rows)], _named(ask)
    elif shown is None:
        raise InvalidRequest(what=f"{address.url} gives no example of a question", hint=probe.OWN_QUESTIONS)
    elif ask.rows > 1:
        raise InvalidRequest(what="the server's example is one question; --rows needs rows", hint=probe.OWN_QUESTIONS)
    else:
        bodies, origin = [shown], EXAMPLE
    asked = prepare(address, bodies, headers)
    settled = probe.settle(address, asked, (), timeout_s=timeout_s, check_body=ask.check_body)
    return Target(address, settled, origin, address.url, _mark(bodies))


def _of_model(bundle: Bundle, ask: Ask) -> tuple[list[Body], list[bytes], str]:
    """Questions for a model of the registry, and golden answers to them; none to rows that are not golden."""
    if ask.bodies:
        return [read_body(path) for path in ask.bodies], [], _named(ask)
    if ask.data is not None:
        return [wrap("", some) for some in batches(_rows(bundle, ask), ask.rows)], [], _named(ask)
    samples = bundle.samples
    if not samples.rows:
        raise InvalidInput(what=f"{bundle.manifest.name} has no golden rows to ask", hint="give rows: --data rows.csv")
    answers = examples.friendly(bundle.manifest.signature, samples.outputs)
    bodies = [wrap("", some) for some in batches(samples.rows, ask.rows)]
    golden = [orjson.dumps({"prediction": some}) for some in batches(answers, ask.rows)]
    return bodies, golden, GOLDEN


def _rows(bundle: Bundle, ask: Ask) -> Sequence[Mapping[str, Any]]:
    """The file's rows as the model's signature reads them; columns that are no inputs are left out."""
    signature, path = bundle.manifest.signature, ask.data
    assert path is not None
    names = set(signature.field_names)
    if path.suffix.lower() != ".csv":
        return read_rows(path)
    cells = ({name: cell for name, cell in row.items() if name in names} for row in read_cells(path))
    return [parse_text(signature, row) for row in cells]


def _named(ask: Ask) -> str:
    return ", ".join(path.name for path in (*ask.bodies[:3], *([ask.data] if ask.data else [])))


def _mark(bodies: Sequence[Body]) -> str:
    digest = hashlib.sha256()
    for body in bodies:
        digest.update(len(body.content).to_bytes(8, "big") + body.content)
    return digest.hexdigest()
