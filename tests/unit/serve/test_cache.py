"""The cache against a dict that forgets nothing: the same bits, within its bytes, never another question's answer."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.core.errors import Busy, InvalidInput, ModelyardError, Timeout
from modelyard.core.inference import Call, InferRequest, InferResponse
from modelyard.core.tensor import Array, Arrays, Packed
from modelyard.model.steady import same_bits
from modelyard.serve.batching import Answered, Ask, Lane, Model, Reply
from modelyard.serve.cache import ARRAY_BYTES, ENTRY_BYTES, LARGEST, Cache, Recall, Submit
from modelyard.watch.counters import Page, read_totals
from tests.unit.serve.desk import Told, until

ROOMY = 1 << 20
ENTRY = ENTRY_BYTES + 2 * ARRAY_BYTES + 33 + 8 + 8  # one number asked, one answered
NAN = float("nan")


def number(value: float) -> tuple[Array]:
    return (np.array([[value]]),)


def texts(*rows: Sequence[str]) -> tuple[Array]:
    array = np.empty((len(rows), len(rows[0])), dtype=object)
    array[:] = rows
    return (array,)


def keep(cache: Cache, question: Arrays, answer: Sequence[Array]) -> None:
    key = cache.key(question)
    assert key is not None
    cache.keep(key, answer)


def look(cache: Cache, question: Arrays) -> Sequence[Array] | None:
    key = cache.key(question)
    return None if key is None else cache.get(key)


def same(got: Sequence[Array], want: Sequence[Array]) -> bool:
    return all(a.dtype == b.dtype and same_bits(a, b) for a, b in zip(got, want, strict=True))


questions = st.one_of(
    st.tuples(arrays.arrays(np.float64, (1, 1), elements=st.sampled_from([0.0, -0.0, 1.0, NAN, np.inf]))),
    st.tuples(arrays.arrays(st.sampled_from(["<f4", "<f8", "<i8", "u1", "?"]), arrays.array_shapes(max_dims=3))),
    st.lists(st.text(max_size=3), min_size=1, max_size=3).map(lambda row: texts(row)),
    st.lists(st.lists(st.sampled_from(["a", "b", "ab", ""]), min_size=2, max_size=2), min_size=1, max_size=2).map(
        lambda rows: texts(*rows)
    ),
)


def spelled(question: Sequence[Array]) -> Any:
    """A question's name that cannot be mistaken, made in another way than the cache's: every element by its repr."""
    elements = [array.tolist() if array.dtype == object else [v.tobytes() for v in array.ravel()] for array in question]
    return repr([(array.dtype.str, array.shape, element) for array, element in zip(question, elements, strict=True)])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(questions, st.integers(0, 300)), max_size=40), st.integers(0, 12_000))
def test_it_is_a_dict_that_forgets(steps: list[tuple[Any, int]], limit_bytes: int) -> None:
    cache = Cache("d", limit_bytes)
    all_: dict[str, Any] = {}
    for at, (question, size) in enumerate(steps):
        name, found = spelled(question), look(cache, question)
        if found is None:
            answer = [np.full(size, at), np.array([str(at)], dtype=object)]
            if (key := cache.key(question)) is not None:
                cache.keep(key, answer)
            all_[name] = answer
        else:
            assert same(found, all_[name])
        assert 0 <= cache.used_bytes <= limit_bytes
        assert (cache.used_bytes == 0) == (len(cache) == 0)


def test_without_bounds_nothing_is_forgotten() -> None:
    cache = Cache("d", ROOMY)
    for at in range(100):
        keep(cache, number(at), number(-at))
    assert len(cache) == 100
    assert cache.used_bytes == 100 * ENTRY
    for at in range(100):
        found = look(cache, number(at))
        assert found is not None
        assert same(found, number(-at))


def test_who_was_not_asked_for_longest_leaves_first() -> None:
    cache = Cache("d", 10 * ENTRY)
    for at in range(10):
        keep(cache, number(at), number(at))
    assert look(cache, number(0))
    keep(cache, number(10), number(10))
    assert [bool(look(cache, number(at))) for at in range(11)] == [True, False, *[True] * 9]
    assert cache.used_bytes == 10 * ENTRY


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (number(0.0), number(-0.0)),
        (number(NAN), (np.array([[0x7FF8000000000001]]).view("<f8"),)),  # NaNs with other bits
        (number(1.0), (np.array([[1.0]], dtype="<f4"),)),
        ((np.array([[0]]),), (np.array([[0.0]]),)),  # the same bytes, another type
        ((np.zeros((1, 4)),), (np.zeros((2, 2)),)),
        ((np.zeros((1, 2)), np.zeros((1, 1))), (np.zeros((1, 1)), np.zeros((1, 2)))),
        (texts(["ab", "c"]), texts(["a", "bc"])),
        (texts(["a,b", "c"]), texts(["a", "b,c"])),
        (texts(["", "a"]), texts(["a", ""])),
        (texts(["a", "b"]), texts(["a"], ["b"])),
        (texts(["é"]), texts(["e\u0301"])),  # they look the same
        (texts(["1"]), number(1.0)),
        (texts(["a\0"]), texts(["a"])),
    ],
)
def test_what_differs_in_a_bit_is_another_question(one: tuple[Array], other: tuple[Array]) -> None:
    cache = Cache("d", ROOMY)
    keep(cache, one, number(1))
    assert look(cache, one)
    assert look(cache, other) is None


@pytest.mark.parametrize("question", [number(NAN), number(-0.0), texts(["", "ü"]), (np.zeros((3, 0)),)])
def test_the_same_bits_are_the_same_question(question: tuple[Array]) -> None:
    cache = Cache("d", ROOMY)
    keep(cache, question, number(NAN))
    found = look(cache, tuple(array.copy() for array in question))
    assert found is not None
    assert same(found, number(NAN))


def test_how_an_array_lies_in_memory_does_not_matter() -> None:
    table, cache = np.arange(12.0).reshape(3, 4), Cache("d", ROOMY)
    keep(cache, (table,), number(1))
    assert look(cache, (np.asfortranarray(table),))
    assert look(cache, (np.arange(24.0).reshape(3, 8)[:, ::2],)) is None


def test_a_key_is_of_one_bundle() -> None:
    assert Cache("a", ROOMY).key(number(1)) != Cache("b", ROOMY).key(number(1))


def test_what_is_too_large_is_not_kept() -> None:
    limit = 80_000
    cache = Cache("d", limit)
    size = int(limit * LARGEST)
    assert cache.key((np.zeros(size // 8 + 1),)) is None
    long = texts(["x" * size])
    keep(cache, long, number(1))
    keep(cache, number(1), texts(["x" * size]))
    keep(cache, number(2), (np.zeros(size // 8),))
    assert (len(cache), cache.used_bytes) == (0, 0)
    keep(cache, number(3), (np.zeros(size // 8 - 100),))
    assert len(cache) == 1


def test_what_is_kept_is_a_copy_that_cannot_be_written_to() -> None:
    call, cache = np.arange(1000.0), Cache("d", ROOMY)
    keep(cache, number(1), (call[3:4],))
    call[:] = 0
    found = look(cache, number(1))
    assert found is not None
    assert found[0].tolist() == [3.0]
    assert found[0].base is None  # nothing of the larger call is held
    with pytest.raises(ValueError, match="read-only"):
        found[0][0] = 1


@pytest.mark.parametrize("kind", ["numbers", "columns", "texts"])
@pytest.mark.parametrize("count", [100, 690, 2800])
def test_what_it_counts_is_at_least_what_it_holds(kind: str, count: int) -> None:
    """The bound is about real memory: Python's own books on what was allocated and is still there."""
    make = {
        "numbers": lambda at: ((np.full((1, 4), at, "<f4"),), (np.ones(1, "<i8"), np.ones((1, 2), "<f4"))),
        "columns": lambda at: ([np.full((1, 1), float(at)) for _ in range(20)], (np.ones(1),)),
        "texts": lambda at: ((*texts([f"name {at}", f"ü{at}" * 300]), np.ones((1, 3))), texts([f"Größe {at}" * 300])),
    }[kind]
    cache = Cache("d", 1 << 30)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for at in range(count):
            question, answer = make(at)
            keep(cache, tuple(question), answer)
            if kind == "texts":  # Python keeps the UTF-8 of what is not ASCII beside it
                msgspec.json.encode([question[0].tolist(), answer[0].tolist()])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cache) == count
    held = after - before
    assert held <= cache.used_bytes <= 3 * held


class Asked:
    """A model of its own that answers twice the number, and remembers what it was asked."""

    def __init__(self, page: Page, cache: Cache | None = None, error: ModelyardError | None = None) -> None:
        self.questions: list[float] = []
        self.calls = 0
        self.recalled: list[tuple[Call, Answered]] = []
        self.error = error
        self.lane = Lane(Model("m@1", self._run, self._count), 100, 10.0)
        counter = page.counter("m@1")
        self.recall = Recall(cache or Cache("d", ROOMY), "m@1", self._submit, counter, self._count_recalled)

    def _run(self, asked: Sequence[Array]) -> Sequence[Array]:
        if self.error is not None:
            raise self.error
        return [asked[0].ravel() * 2]

    def _count(self, call: Call, answered: Answered) -> None:
        del call, answered
        self.calls += 1

    def _count_recalled(self, call: Call, answered: Answered) -> None:
        self.recalled.append((call, answered))

    def _submit(self, asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        self.questions += asked.arrays[0].ravel().tolist()
        return self.lane.submit(asked, reply, caller)

    async def ask(self, *values: float) -> Told:
        """Ask all of these in one turn of the loop."""
        told = Told()
        for value in values:
            self.recall.submit(InferRequest(number(value)), told)
            assert told.given == []  # never at once
        await told.all(len(values))
        return told


def recall_of(cache: Cache, ask: Submit, page: Page) -> Recall:
    """One whose counts nobody reads."""
    return Recall(cache, "m@1", ask, page.counter("m@1"), lambda call, answered: None)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path, 0)


def test_a_question_that_was_answered_is_not_asked_again(page: Page, tmp_path: Path) -> None:
    asked = Asked(page)

    async def go() -> list[list[list[float]]]:
        told = [await asked.ask(3.0, 4.0), await asked.ask(4.0, 5.0, 3.0, 3.0), await asked.ask(5.0)]
        return [[outputs[0].tolist() for outputs in each.outputs if outputs] for each in told]

    first, second, third = asyncio.run(go())
    assert first == [[6.0], [8.0]]
    assert sorted(second) == [[6.0], [6.0], [8.0], [10.0]]
    assert third == [[10.0]]
    assert asked.questions == [3.0, 4.0, 5.0]
    assert asked.calls == 2
    totals = read_totals(tmp_path)["m@1"]
    assert (totals.hits, totals.misses) == (4, 3)


def test_hits_of_a_turn_are_written_as_one_call(page: Page) -> None:
    """What codecs work out for a whole call, they work out once for all hits of a turn."""
    asked = Asked(page)

    async def go() -> Told:
        await asked.ask(1.0, 2.0)
        return await asked.ask(2.0, 1.0, 2.0)

    told = asyncio.run(go())
    calls = [given.call for given in told.given if given]
    assert calls[0] is calls[1] is calls[2]
    assert calls[0].rows == 3
    assert calls[0].ended_s - calls[0].began_s < 0.01
    ((recalled, answered),) = asked.recalled
    assert recalled is calls[0]
    assert (answered.rows, len(answered.read_s)) == (3, 3)
    assert asked.calls == 1


def test_what_is_packed_is_the_same_question_as_its_array(page: Page) -> None:
    asked, told = Asked(page), Told()
    value = np.array([[3.0]])
    packed = Packed(value.tobytes(), value.shape, value.dtype)
    questions: list[Arrays] = [packed, (value,), packed]

    async def go() -> None:
        for count, question in enumerate(questions, 1):
            asked.recall.submit(InferRequest(question), told)
            await told.all(count)

    asyncio.run(go())
    assert asked.questions == [3.0]
    assert [outputs[0].tolist() for outputs in told.outputs if outputs] == [[6.0]] * 3


def test_an_answer_from_the_cache_still_knows_its_question(page: Page) -> None:
    """Who asks again wants their own id, in the form that they asked in."""
    asked, asks = Asked(page), list[Ask]()

    def reply(ask: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        asks.append(ask)
        return ask.asked_s

    async def go() -> None:
        for count in (1, 2):
            asked.recall.submit(InferRequest(number(1.0), f"id {count}", f"form {count}"), reply, count)
            await until(lambda: len(asks) == count)  # noqa: B023 - it is waited for here

    asyncio.run(go())
    assert asked.questions == [1.0]
    assert [(ask.asked.id, ask.asked.form, ask.caller) for ask in asks] == [
        ("id 1", "form 1", 1),
        ("id 2", "form 2", 2),
    ]


def test_errors_are_not_kept(page: Page) -> None:
    asked = Asked(page, error=InvalidInput(what="no"))

    async def go() -> list[type]:
        before = await asked.ask(1.0)
        asked.error = None
        return [type(error) for told in (before, await asked.ask(1.0), await asked.ask(1.0)) for error in told.errors]

    assert asyncio.run(go()) == [InvalidInput, type(None), type(None)]
    assert asked.questions == [1.0, 1.0]


def test_a_busy_model_does_not_keep_the_cache_from_answering(page: Page) -> None:
    asked = Asked(page)

    def busy(asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        raise Busy(what="m@1")

    async def go() -> Told:
        await asked.ask(1.0)
        asked.recall._ask = busy
        with pytest.raises(Busy):
            await asked.ask(2.0)
        return await asked.ask(1.0)

    assert asyncio.run(go()).errors == [None]


def test_who_leaves_is_not_told_and_who_comes_too_late_is_told_so(page: Page) -> None:
    asked, left, late, caller = Asked(page), Told(), Told(), object()

    async def go() -> None:
        await asked.ask(1.0)
        waiting = asked.recall.submit(InferRequest(number(1.0)), left, caller)
        asked.recall.submit(InferRequest(number(1.0), deadline=0.0), late)
        assert waiting.leave(caller)
        await late.all(1)
        assert not waiting.leave(caller)

    asyncio.run(go())
    assert left.given == []
    assert [type(error) for error in late.errors] == [Timeout]


def test_a_large_question_is_a_miss_every_time(page: Page, tmp_path: Path) -> None:
    asked = Asked(page, Cache("d", 2000))
    wide = InferRequest((np.arange(100.0).reshape(1, 100),))

    async def go() -> None:
        for _ in range(2):
            told = Told()
            asked.recall.submit(wide, told)
            await told.all(1)

    asyncio.run(go())
    assert len(asked.questions) == 200
    assert read_totals(tmp_path)["m@1"].misses == 2


@pytest.mark.parametrize("outputs", [(np.array(1.0),), (np.ones(3),), (np.ones(1), np.ones((2, 1)))])
def test_an_answer_that_is_not_row_by_row_is_passed_on_and_not_kept(page: Page, outputs: tuple[Array, ...]) -> None:
    cache, told = Cache("d", ROOMY), Told()

    def answer(asked: InferRequest, reply: Reply, caller: Any = None) -> Any:
        ask = Ask(asked, asked.rows, 2.0, reply, caller)
        assert reply(ask, InferResponse(Call(outputs, 1, 0.0, 0.0), 0, 1), None) == 2.0  # it is counted like any other

    recall_of(cache, answer, page).submit(InferRequest(number(1.0)), told)
    assert told.outputs[0] is not None
    assert same(told.outputs[0], outputs)
    assert len(cache) == 0


def test_hits_of_other_widths_do_not_meet(page: Page) -> None:
    """Answers with a variable axis cannot stand in one array."""

    def answer(asked: InferRequest, reply: Reply, caller: Any = None) -> Any:
        reply(Ask(asked, 1, 0.0, reply, caller), InferResponse.whole([asked.arrays[0][:, ::-1]]), None)

    recall = recall_of(Cache("d", ROOMY), answer, page)
    wide, narrow = InferRequest((np.arange(3.0).reshape(1, 3),)), InferRequest((np.arange(2.0).reshape(1, 2),))

    async def go() -> Told:
        told = Told()
        for _ in range(2):
            for question in (wide, narrow, wide):
                recall.submit(question, told)
            await told.all(3)
        await told.all(6)
        return told

    told = asyncio.run(go())
    assert [outputs[0].tolist() for outputs in told.outputs if outputs][3:] == [[[2, 1, 0]], [[1, 0]], [[2, 1, 0]]]
