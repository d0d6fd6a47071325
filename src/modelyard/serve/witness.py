"""A witness: what is written down of one version's answers, for an operator who wants that. Without one, nothing is."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Protocol

import msgspec
import numpy as np

from modelyard.core.errors import Busy, ModelyardError
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.privacy import Capture, Privacy
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array
from modelyard.guard.privacy import Pseudonyms
from modelyard.model.bundle import Bundle
from modelyard.serve.cache import Submit
from modelyard.serve.journal import Entry, Journal, Stream
from modelyard.watch.counters import Counter

_OK = "OK"
_ENTRY_BYTES = 512  # about what a line takes while it waits


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What an edge knows of a request: its id, who sent it, when it was read (`time.perf_counter`), its size."""

    id: str
    caller: str
    started_s: float
    size_bytes: int


class Line(msgspec.Struct, frozen=True, gc=False):
    """What is written down of a request: no value of it."""

    at: datetime
    id: str
    caller: str
    model: str
    version: int
    digest: str
    rows: int
    bytes_in: int
    bytes_out: int
    seconds: float
    outcome: str


class Watched(Protocol):
    """A replica, as far as a witness looks at it."""

    name: str
    version: int
    signature: Signature
    bundle: Bundle
    counter: Counter


class Witness:
    """Writes down what is wanted of one version's requests. On the event loop only.

    Parameters
    ----------
    replica : Replica
        Whose.
    journal : Journal
        The worker's.
    streams : tuple of Stream or None
        Where a line about each request goes, and where the sample of questions and answers does.
    wanted : Privacy
        What.
    pseudonyms : Pseudonyms
        Of callers and subjects.
    """

    def __init__(
        self,
        replica: Watched,
        journal: Journal,
        streams: tuple[Stream | None, Stream | None],
        wanted: Privacy,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._journal = journal
        self._counter = replica.counter
        self._counting = threading.Lock()
        self._lines, self._captures = streams
        audit, capture = wanted.audit, wanted.capture
        name = pseudonyms.of if audit is not None and audit.pseudonyms else None
        self._line = _Lines(replica, name)
        self._blocks = audit is not None and audit.policy == "block"
        self._lose_lines = None if self._blocks else self.lose
        self._kept = Kept(replica, capture, pseudonyms) if capture is not None else None

    def lose(self, count: int) -> None:
        """Count what could not be written down; also called by the journal's thread."""
        with self._counting:
            self._counter.lost(count)

    @property
    def captures(self) -> bool:
        """Whether questions have to reach the model: what a cache answers is not seen with its question."""
        return self._kept is not None

    def guarded(self, submit: Submit) -> Submit:
        """The same way to ask; closed while lines that may not be missing cannot be taken."""
        if not self._blocks:
            return submit

        def ask(asked: InferRequest, reply: Any, caller: Any = None) -> Any:
            if self._journal.full:
                raise Busy(what="what is predicted has to be recorded, and records wait to be written", retry_s=1)
            return submit(asked, reply, caller)

        return ask

    def answered(self, asked: Asked, question: InferRequest, given: InferResponse, size_bytes: int) -> None:
        """A request was answered, with so many bytes."""
        lines = self._lines
        if lines is not None:
            journal = self._journal
            if self._blocks or not journal.full:
                told = (asked, given.rows, size_bytes, perf_counter(), _OK)
                journal.put(Entry(lines, self._line, told, _ENTRY_BYTES, self._lose_lines))
            else:
                self.lose(1)
        kept = self._kept
        if kept is not None and kept.wants(asked.id):
            self._keep(kept, asked, question, given)

    def failed(self, asked: Asked, error: ModelyardError) -> None:
        """A request was refused, or failed."""
        lines = self._lines
        if lines is None:
            return
        if self._blocks or not self._journal.full:
            told = (asked, 0, 0, perf_counter(), error.code)
            self._journal.put(Entry(lines, self._line, told, _ENTRY_BYTES, self._lose_lines))
        else:
            self.lose(1)

    def _keep(self, kept: Kept, asked: Asked, question: InferRequest, given: InferResponse) -> None:
        journal = self._journal
        if journal.full:
            self.lose(1)
            return
        assert self._captures is not None
        arrays, outputs = tuple(question.arrays), tuple(given.outputs)
        size = _ENTRY_BYTES + sum([array.nbytes for array in (*arrays, *outputs)])
        journal.put(Entry(self._captures, kept, (asked, arrays, outputs, perf_counter()), size, self.lose))


class _Lines:
    """Requests as lines of JSON; called in the journal's thread."""

    def __init__(self, replica: Watched, pseudonym: Callable[[str], str] | None) -> None:
        self._model = (replica.name, replica.version, replica.bundle.digest)
        self._pseudonym = pseudonym
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, told: tuple[Asked, int, int, float, str]) -> bytes:
        asked, rows, size_bytes, ended_s, code = told
        caller = asked.caller if self._pseudonym is None else self._pseudonym(asked.caller)
        seconds = round(ended_s - asked.started_s, 6)
        at = moment(ended_s)
        return self._encode(Line(at, asked.id, caller, *self._model, rows, asked.size_bytes, size_bytes, seconds, code))


class Kept:
    """Which requests are kept, and what of them; put into words in the journal's thread.

    Parameters
    ----------
    replica : Replica
        Whose.
    capture : Capture
        What is wanted. A column that this version does not have is left out.
    pseudonyms : Pseudonyms
        Of subjects.
    """

    def __init__(self, replica: Watched, capture: Capture, pseudonyms: Pseudonyms) -> None:
        signature = replica.signature
        self._below = int(capture.sample * (1 << 32))
        self._version = replica.version
        self._inputs, self._outputs = places(signature, capture.columns)
        self._subject = input_places(signature).get(capture.subject)
        self._pseudonyms = pseudonyms

    def wants(self, request_id: str) -> bool:
        """Whether the request of this id belongs to the sample: the same in every worker."""
        (number,) = struct.unpack_from(">I", hashlib.sha256(request_id.encode()).digest())
        return bool(number < self._below)

    def __call__(self, told: tuple[Asked, Sequence[Array], Sequence[Array], float]) -> bytes:
        """What is kept of a request, as JSON."""
        asked, arrays, outputs, ended_s = told
        document: dict[str, Any] = {
            "at": moment(ended_s),
            "id": asked.id,
            "version": self._version,
            "inputs": {name: _column(arrays, place) for name, place in self._inputs.items()},
            "outputs": {name: _column(outputs, place) for name, place in self._outputs.items()},
        }
        if self._subject is not None:
            document["subjects"] = [self._pseudonyms.of(subject_text(v)) for v in _column(arrays, self._subject)]
        return msgspec.json.encode(document, enc_hook=_plain)


#: A tensor's place, and a column's in it; None for all of it.
Place = tuple[int, int | None]


def input_places(signature: Signature) -> dict[str, Place]:
    """Where each input is, by the name that people know it by."""
    return {name: (at, column) for at, spec in enumerate(signature.inputs) for name, column in _columns(spec)}


def places(signature: Signature, columns: Sequence[str]) -> tuple[dict[str, Place], dict[str, Place]]:
    """Where the inputs, and the outputs, of these names are; a name may be both."""
    inputs = input_places(signature)
    outputs: dict[str, Place] = {spec.name: _whole(at, spec) for at, spec in enumerate(signature.outputs)}
    return _only(inputs, columns), _only(outputs, columns)


def subject_text(value: Any) -> str:
    """How a subject is written, whatever type its column has: ``42`` for 42.0 too."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def moment(perf_s: float) -> datetime:
    """A time on the clock of `time.perf_counter` as a date, by the clock as it goes now."""
    return datetime.fromtimestamp(datetime.now(UTC).timestamp() - perf_counter() + perf_s, UTC)


def _columns(spec: TensorSpec) -> list[tuple[str, int | None]]:
    named: list[tuple[str, int | None]] = [(each.name, number) for number, each in enumerate(spec.features)]
    return named or [(spec.name, None)]


def _whole(at: int, spec: TensorSpec) -> Place:
    return at, 0 if spec.width == 1 else None


def _only(found: Mapping[str, Place], columns: Sequence[str]) -> dict[str, Place]:
    return {name: found[name] for name in columns if name in found}


def _column(arrays: Sequence[Array], place: Place) -> list[Any]:
    at, column = place
    array = arrays[at]
    values: list[Any] = (array if column is None else array.reshape(len(array), -1)[:, column]).tolist()
    return values


def _plain(value: Any) -> Any:
    """Texts that are bytes, and numbers of numpy."""
    if isinstance(value, np.generic):
        return value.item()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
