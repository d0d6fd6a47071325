from __future__ import annotations

import msgspec

from modelyard.client.load.step import Question
from modelyard.client.load.tally import Record, Tally, together

RIGHT = b'{"prediction":[6.0]}'
QUESTION = Question(request=b"", answer=RIGHT)


def test_answers_are_judged() -> None:
    record = Record()
    for status, body in [
        (b"200", RIGHT),
        (b"200", b'{"prediction": [6.0]}'),
        (b"200", b'{"prediction":[6.00001]}'),
        (b"200", b'{"prediction":[7.0]}'),
        (b"503", b"busy"),
        (b"503", RIGHT),
    ]:
        record.answer(QUESTION, status, body, 1_000, 3_000)
    tally = record.tally(2.0, 1.0)
    assert (tally.answered, tally.near, tally.wrong, tally.errors) == (6, 2, 1, {"status 503": 2})
    assert tally.failed == 3
    assert (tally.rate, tally.busy) == (3.0, 0.5)
    assert [(one.status, one.body) for one in tally.samples] == [
        ("200", '{"prediction":[7.0]}'),
        ("503", "busy"),
        ("503", RIGHT.decode()),
    ]
    assert tally.samples[0].expected == RIGHT.decode()
    assert tally.latency.percentile(0.5) == 2_000 or abs(tally.latency.percentile(0.5) - 2_000) < 8


def test_the_status_alone_can_be_checked() -> None:
    record = Record()
    record.answer(Question(request=b"", answer=RIGHT, check_body=False), b"200", b"other", 0, 1)
    assert record.tally(1.0, 0.0).failed == 0


def test_samples_are_few_and_short() -> None:
    record = Record()
    for _ in range(50):
        record.answer(QUESTION, b"200", b"\xff" * 10_000, 0, 1)
    tally = record.tally(1.0, 0.0)
    assert tally.wrong == 50
    assert len(tally.samples) == 5
    assert all(len(one.body) <= 300 for one in tally.samples)


def test_many_ways_to_write_a_right_answer_take_no_memory() -> None:
    record = Record()
    for at in range(2_000):
        record.answer(QUESTION, b"200", b'{"prediction":[6.0]}' + b" " * at, 0, 1)
    assert record.tally(1.0, 0.0).near == 1_999
    assert len(record._known) <= 256


def test_together_and_over_the_wire() -> None:
    def one(wrong: int) -> Tally:
        record = Record()
        record.asked = 3
        for _ in range(wrong):
            record.answer(QUESTION, b"200", b"no", 0, 1_000_000)
        record.errors["closed"] += 1
        return record.tally(1.0 + wrong, 0.5)

    wired = [msgspec.json.decode(msgspec.json.encode(one(n)), type=Tally) for n in (1, 2)]
    whole = together(wired)
    assert (whole.asked, whole.answered, whole.wrong, whole.errors) == (6, 3, 3, {"closed": 2})
    assert (whole.took_s, whole.cpu_s) == (3.0, 0.5)
    assert whole.latency.count == 3
    assert len(whole.samples) == 3
