"""What came of a step: how many answers, how many of them right, how long they took, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from modelyard.client.load.histogram import Histogram
from modelyard.client.load.step import Question
from modelyard.client.load.verdict import alike

#: An answer to an open loop's question counts as late when the question left this much after its time.
LATE_NS = 1_000_000
_SAMPLES = 5
_SHOWN = 300  # bytes of a wrong answer
_FORMS = 256  # ways of writing a right answer that are remembered


class Wrong(msgspec.Struct, frozen=True):
    """One answer that was not the expected one, shortened."""

    status: str
    body: str
    expected: str


class Tally(msgspec.Struct, kw_only=True):
    """What one client process counted in one step, or all of them together.

    Parameters
    ----------
    asked, answered : int
        Questions sent; answers that came whole, right or not.
    near : int
        Right answers among them whose numbers differ in their last digits.
    wrong : int
        Answers with the right status and another content.
    errors : dict of str to int
        By kind: ``status 503``, ``timeout``, ``closed``, ``reset``, ``refused``, ``unreachable``, ``broken``.
    late, dropped : int
        Of an open loop: questions sent more than a millisecond after their time; questions never sent.
    reconnects : int
        Connections that the server closed between two questions.
    took_s, cpu_s : float
        From the first question to the last answer; what one client process computed meanwhile, the busiest's.
    counts, total_ns, longest_ns : dict, int, int
        The histogram of times; see `Histogram`.
    samples : list of Wrong
        A few.
    """

    asked: int = 0
    answered: int = 0
    near: int = 0
    wrong: int = 0
    errors: dict[str, int] = {}
    late: int = 0
    dropped: int = 0
    reconnects: int = 0
    took_s: float = 0.0
    cpu_s: float = 0.0
    counts: dict[int, int] = {}
    total_ns: int = 0
    longest_ns: int = 0
    samples: list[Wrong] = []

    @property
    def failed(self) -> int:
        """Questions without a right answer."""
        return self.wrong + self.dropped + sum(self.errors.values())

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.took_s if self.took_s else 0.0

    @property
    def busy(self) -> float:
        """Share of a core that the busiest client process took; near 1, the client is what limits."""
        return self.cpu_s / self.took_s if self.took_s else 0.0

    @property
    def latency(self) -> Histogram:
        """The times."""
        found = Histogram()
        found.merge(self.counts, self.total_ns, self.longest_ns)
        return found


def together(tallies: Sequence[Tally]) -> Tally:
    """One tally of several clients' that worked side by side."""
    latency = Histogram()
    errors: Counter[str] = Counter()
    for one in tallies:
        latency.merge(one.counts, one.total_ns, one.longest_ns)
        errors.update(one.errors)
    return Tally(
        asked=sum(one.asked for one in tallies),
        answered=sum(one.answered for one in tallies),
        near=sum(one.near for one in tallies),
        wrong=sum(one.wrong for one in tallies),
        errors=dict(errors),
        late=sum(one.late for one in tallies),
        dropped=sum(one.dropped for one in tallies),
        reconnects=sum(one.reconnects for one in tallies),
        took_s=max(one.took_s for one in tallies),
        cpu_s=max(one.cpu_s for one in tallies),
        counts=latency.counts(),
        total_ns=latency.total_ns,
        longest_ns=latency.longest_ns,
        samples=[sample for one in tallies for sample in one.samples][:_SAMPLES],
    )


class Record:
    """A tally while it is made; what connections call for every answer."""

    def __init__(self) -> None:
        self.latency = Histogram()
        self.asked = self.near = self.wrong = self.late = self.dropped = self.reconnects = 0
        self.last_ns = 0
        self.errors: Counter[str] = Counter()
        self._samples: list[Wrong] = []
        self._known: set[tuple[bytes, bytes]] = set()

    def answer(self, question: Question, status: bytes, body: bytes, due_ns: int, now_ns: int) -> None:
        """An answer that came whole; its time is from when it was due to be asked."""
        self.latency.add(now_ns - due_ns)
        self.last_ns = now_ns
        if status != question.status:
            self.errors[f"status {status.decode('latin-1')}"] += 1
            self._sample(question, status, body)
        elif body != question.answer and question.check_body and not self._near(question, body):
            self.wrong += 1
            self._sample(question, status, body)

    def _near(self, question: Question, body: bytes) -> bool:
        form = (question.answer, body)
        if form not in self._known:
            if not alike(question.answer, body):
                return False
            if len(self._known) < _FORMS:
                self._known.add(form)
        self.near += 1
        return True

    def _sample(self, question: Question, status: bytes, body: bytes) -> None:
        if len(self._samples) < _SAMPLES:
            shown = (part[:_SHOWN].decode("utf-8", "replace") for part in (status, body, question.answer))
            self._samples.append(Wrong(*shown))

    def tally(self, took_s: float, cpu_s: float) -> Tally:
        """The sums."""
        return Tally(
            asked=self.asked,
            answered=self.latency.count,
            near=self.near,
            wrong=self.wrong,
            errors=dict(self.errors),
            late=self.late,
            dropped=self.dropped,
            reconnects=self.reconnects,
            took_s=took_s,
            cpu_s=cpu_s,
            counts=self.latency.counts(),
            total_ns=self.latency.total_ns,
            longest_ns=self.latency.longest_ns,
            samples=self._samples,
        )
