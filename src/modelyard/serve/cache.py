"""Answers that are kept: a question that was answered before is answered again with the same bits, without the model.

What is kept depends on the model and on the question, never on who asked: neither knows a caller. So everybody who gets
here may ask this model; that is checked before, at the one way in (`Replica.submit`). Each worker keeps its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from sys import getsizeof
from typing import Any, Protocol, TypeAlias

from modelyard.core.errors import ModelyardError
from modelyard.core.inference import Call, InferRequest, InferResponse
from modelyard.core.tensor import Array, Arrays
from modelyard.serve.batching import Answered, Ask, Lane, Model, Reply
from modelyard.watch.counters import Counter

Key: TypeAlias = tuple[Hashable, ...]

#: What an entry costs besides the bytes of its question and its answer: places in tables, and the key.
ENTRY_BYTES = 256
#: What one array costs besides its elements, in a key or in an answer.
ARRAY_BYTES = 160
#: The largest entry, as a part of the cache; one that is larger would drive too many others out.
LARGEST = 1 / 8
_TOGETHER_ROWS = 256  # of the hits that are answered as if they were one call
_TEXT = "O"  # the kind of arrays that hold text
_UTF8_BYTES = 4  # of a character, at most


class Submit(Protocol):
    """The way to ask a model; see `replica.Replica.submit`."""

    def __call__(self, asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        """Tell `reply` the answer."""
        ...


class Cache:
    """Answers by their question, in bounded memory; who was not asked for longest leaves first.

    Parameters
    ----------
    digest : str
        Of the bundle that answers; it is a part of every key, so that nothing is ever answered for another one.
    limit_bytes : int
        Most memory of all entries: elements and texts of questions and answers, `ARRAY_BYTES` for each array of them,
        and `ENTRY_BYTES` for each entry.
    """

    def __init__(self, digest: str, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._digest = digest
        self._largest_bytes = int(limit_bytes * LARGEST)
        self._kept: OrderedDict[Key, tuple[tuple[Array, ...], int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def key(self, arrays: Arrays) -> Key | None:
        """The name of exactly this question: every array's type, shape and bits. None when it is too large to be kept.

        Texts stand in it one by one, so that no two lists of texts have one name.
        """
        parts: list[Hashable] = [self._digest]
        for array in arrays:
            if array.nbytes > self._largest_bytes:
                return None
            kind = array.dtype.char
            parts += (kind, array.shape, tuple(array.ravel().tolist()) if kind == _TEXT else array.tobytes())
        return tuple(parts)

    def get(self, key: Key) -> tuple[Array, ...] | None:
        """The answer that is kept under this name, and used again now."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        self._kept.move_to_end(key)
        return entry[0]

    def keep(self, key: Key, outputs: Sequence[Array]) -> None:
        """Keep a copy of this answer, which is not written to again; nothing happens when it is too large."""
        if key in self._kept:
            return
        size_bytes = ENTRY_BYTES + _bytes_in(key, outputs)
        if size_bytes > self._largest_bytes:
            return
        copies = tuple([array.copy() for array in outputs])  # what was answered may be a part of a larger call
        for copy in copies:
            copy.setflags(write=False)
        self._kept[key] = copies, size_bytes
        self.used_bytes += size_bytes
        while self.used_bytes > self.limit_bytes:
            _, (_, left_bytes) = self._kept.popitem(last=False)
            self.used_bytes -= left_bytes


class Recall:
    """Answers what is in the cache, and has the model answer the rest. On the event loop only.

    Parameters
    ----------
    cache : Cache
        Of this model.
    label : str
        ``name@version``, for messages.
    ask : callable
        Asks the model.
    counter : Counter
        Counts hits and misses; a question that is too large to be kept is a miss.
    count : callable
        Told of the requests that the cache answered.
    """

    def __init__(
        self, cache: Cache, label: str, ask: Submit, counter: Counter, count: Callable[[Call, Answered], None]
    ) -> None:
        self._cache = cache
        self._ask = ask
        self._counter = counter
        # What is kept goes through a lane as questions do, to a model that answers what it is given. So answers come
        # later, as from the model, and all hits of a turn of the loop are written as one call.
        known = Model(label, lambda outputs: outputs, count, varies=True)
        self._lane = Lane(known, _TOGETHER_ROWS, float("inf"))

    def submit(self, asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        """Answer it from the cache in the next turn of the loop, or ask the model and keep what it says."""
        key = self._cache.key(asked.arrays)
        kept = None if key is None else self._cache.get(key)
        self._counter.looked(hit=kept is not None)
        if kept is not None:
            return self._lane.submit(InferRequest(kept, asked.id, asked.form, asked.deadline), reply, caller)
        return self._ask(asked, reply if key is None else partial(self._reply, key, reply), caller)

    def _reply(
        self, key: Key, reply: Reply, ask: Ask, given: InferResponse | None, error: ModelyardError | None
    ) -> float | None:
        """Pass the model's answer on, and keep it; errors are not kept, nor what is not an answer row by row."""
        if given is not None:
            outputs = given.outputs
            if all(array.shape[:1] == (given.rows,) for array in outputs):
                self._cache.keep(key, outputs)
        return reply(ask, given, error)


def _bytes_in(key: Key, outputs: Sequence[Array]) -> int:
    """Memory of the arrays of a question and of its answer."""
    contents = key[3::3]  # behind the digest, each array's type, shape and content
    size_bytes = ARRAY_BYTES * (len(contents) + len(outputs))
    for content in contents:
        size_bytes += getsizeof(content)
        if isinstance(content, tuple):
            size_bytes += sum(map(_text_bytes, content))
    for array in outputs:
        size_bytes += array.nbytes
        if array.dtype.char == _TEXT:
            size_bytes += sum(map(_text_bytes, array.ravel().tolist()))
    return size_bytes


def _text_bytes(text: str) -> int:
    """Memory of a text, and of its UTF-8, which Python may keep beside it from the first time it is written."""
    return getsizeof(text) + (0 if text.isascii() else _UTF8_BYTES * len(text))
