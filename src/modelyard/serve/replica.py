"""A replica: one version of one model, loaded, checked, timed, and ready to be asked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from math import prod
from time import perf_counter
from typing import Any

from modelyard.core.errors import Kind, ModelyardError
from modelyard.core.inference import Call, InferRequest
from modelyard.core.plan import MEASURED, Tuning
from modelyard.core.signature import ANY, Signature
from modelyard.core.tensor import Array
from modelyard.model import golden, runtime
from modelyard.model.bundle import Bundle
from modelyard.model.repeatable import unrepeatable
from modelyard.model.steady import steady
from modelyard.model.threads import fastest_threads
from modelyard.model.trial import varied
from modelyard.serve.batching import Answered, Lane, Model, Reply, ThreadLane
from modelyard.serve.cache import Cache, Recall, Submit
from modelyard.serve.policy import Policy, decide, measure, unheeded
from modelyard.serve.witness import Witness
from modelyard.watch.counters import Counter

log = logging.getLogger("modelyard")

_TRIALS = 64  # rows to time a model with, and to try whether their company matters
_TRIAL_BYTES = 8 * 1024 * 1024  # most of them together: pictures are large
_STEADY_S = 0.05
_EPOCH_S = datetime.now(UTC).timestamp() - perf_counter()  # what to add to perf_counter for seconds since 1970


class Replica:
    """One version of one model. Lives on the event loop; its runner is called from threads too.

    Parameters
    ----------
    bundle : Bundle
        Verified.
    name, version : str, int
        What it is called by.
    counter : Counter
        Of ``name@version`` on this worker's page.
    tuning : Tuning
        What is not left to measurement.
    cores : int
        How many threads a call of a large model may have, where they make it faster.
    """

    #: Asks the model, or its cache: the one way in, for every contract. `reply` is told once, on the event loop, after
    #: this turn of it. `Busy` when too much waits for the model already. Until the model is called, `caller` may
    #: `leave` the lane that is returned; then nothing is run and `reply` is not told.
    #:
    #: Whoever calls it vouches that the caller may ask this model: behind it nobody knows who asks, and what one
    #: caller asked may be answered to another from the cache.
    submit: Submit

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        version: int,
        counter: Counter,
        tuning: Tuning = MEASURED,
        cores: int = 1,
    ) -> None:
        started = perf_counter()
        self.bundle = bundle
        self.name = name
        self.version = version
        self.signature: Signature = bundle.manifest.signature
        self.counter = counter
        self.tuning = tuning
        self.executor: Executor | None = None  # where long calls run, instead of threads of the model's own
        self._runner = runtime.load(bundle, threads=tuning.threads or 1, provider=tuning.provider)
        self.checked = golden.check(self._runner, bundle.samples, self.label)
        trials = varied(self.signature, bundle.samples.rows, _trials(self.signature))
        if cores > 1 and tuning.threads is None and self._runner.facts["provider"] == "cpu":
            _, self._runner = fastest_threads(bundle, cores, trials, self._runner)
        self._times = measure(self._runner.run, lambda rows: [array[:rows] for array in trials])
        self.policy = decide(self._times, lambda: steady(self._runner, trials, _STEADY_S), tuning)
        self.unheeded = unheeded(tuning, self.policy)
        self.cache = self._make_cache(trials)
        self._recall: Submit | None = None
        if self.cache is not None:
            self._recall = Recall(self.cache, self.label, self._ask, counter, self._count).submit
        self.watch(None)
        for note in self.unheeded:
            log.warning("%s: %s", self.label, note)
        self.load_s = perf_counter() - started

    def watch(self, witness: Witness | None) -> None:
        """Have this witness write down what is asked from now on; None for nobody, which costs nothing.

        What is captured is asked of the model, for a cache knows answers without their questions.
        """
        #: Told of every answer and refusal by whoever gives it.
        self.witness = witness
        submit: Submit = self._ask
        if self._recall is not None and not (witness is not None and witness.captures):
            submit = self._recall
        self.submit = submit if witness is None else witness.guarded(submit)

    def _make_cache(self, trials: Sequence[Array]) -> Cache | None:
        """What is asked before the model, when it is wanted and may be; without one nothing is paid."""
        if not self.tuning.cache_bytes:
            return None
        if why := unrepeatable(self.bundle, self._runner, trials):
            self.unheeded.append(f"cache_bytes is not heeded: {why}")
            return None
        return Cache(self.bundle.digest, self.tuning.cache_bytes)

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def policy(self) -> Policy:
        """How requests are put together and run."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        varies = any(ANY in spec.shape[1:] for spec in self.signature.inputs)
        model = Model(self.label, self._run, self._count_call, varies=varies)
        self._policy, self._inline_rows = policy, policy.inline_rows
        self._loop_lane = Lane(model, policy.batch_rows, policy.queue_s)
        self._thread_lane = ThreadLane(model, policy, self.executor)

    @property
    def waiting(self) -> int:
        """Requests that no call has taken yet."""
        return self._loop_lane.waiting + self._thread_lane.waiting

    def facts(self) -> dict[str, Any]:
        """What was found out at load: seconds to load, golden rows checked, what calls cost, how they are run."""
        policy = self._policy
        return {
            "load_s": round(self.load_s, 4),
            "checked": self.checked,
            "policy": policy.mode,
            "first_row_s": policy.cost.first_s,
            "next_row_s": policy.cost.next_s,
            "call_s": {str(rows): seconds for rows, seconds in self._times.items()},
            "batch_rows": policy.batch_rows,
            "batch_why": policy.why,
            "window_s": policy.window_s,
            "queue": policy.queue,
            "queue_s": policy.queue_s,
            "cache_bytes": 0 if self.cache is None else self.cache.limit_bytes,
            "unheeded": self.unheeded,
            **self._runner.facts,
        }

    def _ask(self, asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        lane = self._loop_lane if asked.rows <= self._inline_rows else self._thread_lane
        return lane.submit(asked, reply, caller)

    def _run(self, arrays: Sequence[Array]) -> Sequence[Array]:
        return self._runner.run(arrays)

    def _count_call(self, call: Call, answered: Answered) -> None:
        self.counter.executed()
        self._count(call, answered)

    def _count(self, call: Call, answered: Answered) -> None:
        """Count the requests of a call, and what their time went into."""
        if not answered.read_s:
            return
        now, read_s, asked_s = perf_counter(), answered.read_s, answered.asked_s
        asks, all_read_s = len(read_s), sum(read_s)
        spent = (asked_s - all_read_s, asks * call.began_s - asked_s, asks * (call.ended_s - call.began_s))
        self.counter.ok(answered.rows, [now - at for at in read_s], spent, now + _EPOCH_S)

    def count_error(self, error: ModelyardError, started_s: float) -> None:
        """Count one request that was refused, or that failed. On the event loop only."""
        seconds = perf_counter() - started_s
        if error.kind is Kind.LIMITED:
            self.counter.limited()
        elif error.kind in {Kind.INVALID, Kind.TOO_LARGE, Kind.UNSUPPORTED, Kind.NOT_FOUND}:
            self.counter.invalid(seconds)
        else:
            self.counter.failed(seconds)


def _trials(signature: Signature) -> int:
    """How many rows to try a model with."""
    row_bytes = sum(
        (spec.datatype.size_bytes or 1) * prod(max(axis, 1) for axis in spec.shape[1:]) for spec in signature.inputs
    )
    return max(1, min(_TRIALS, _TRIAL_BYTES // row_bytes))
