"""What an operator types after --tune, and what is said when it is not right."""

from __future__ import annotations

import click
import msgspec
import pytest

from modelyard.cli._tuning import _KEYS, read_tunings
from modelyard.core.plan import Plan, Tuning


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("batch_rows=8", "batch_rows", 8),
        ("window_s=0.002", "window_s", 0.002),
        ("window_s=0", "window_s", 0.0),
        ("inline=yes", "inline", True),
        ("inline=False", "inline", False),
        ("inline=no", "inline", False),
        ("threads=2", "threads", 2),
        ("provider=cuda", "provider", "cuda"),
        ("queue=1000", "queue", 1000),
        ("queue_s=1e1", "queue_s", 10.0),
        ("cache_bytes=0", "cache_bytes", 0),
        ("cache_bytes=123", "cache_bytes", 123),
        ("cache_bytes=64MiB", "cache_bytes", 64 << 20),
        ("cache_bytes = 1.5 GiB", "cache_bytes", 3 << 29),
        ("cache_bytes=10kb", "cache_bytes", 10_000),
    ],
)
def test_a_value_is_read_as_its_key_wants_it(text: str, key: str, value: object) -> None:
    assert read_tunings([text]) == {"": Tuning(**{key: value})}  # type: ignore[arg-type]
    assert read_tunings([f"churn:{text}"]) == {"churn": Tuning(**{key: value})}  # type: ignore[arg-type]


def test_every_key_of_a_tuning_can_be_typed() -> None:
    assert list(_KEYS) == [field.name for field in msgspec.structs.fields(Tuning)]


def test_one_model_has_what_is_said_of_all_and_its_own() -> None:
    texts = ["churn:threads=4", "queue=10", "queue=20", "churn:queue=256", "inline=no", "price:inline=yes"]
    assert read_tunings(texts) == {
        "": Tuning(queue=20, inline=False),
        "churn": Tuning(queue=256, threads=4, inline=False),
        "price": Tuning(queue=20, inline=True),
    }
    assert read_tunings([]) == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cache", "give KEY=VALUE, or MODEL:KEY=VALUE"),
        (":queue=1", "give KEY=VALUE, or MODEL:KEY=VALUE"),
        ("cache=1", "there is no 'cache'; there is batch_rows, window_s, inline, threads, provider, queue, queue_s"),
        ("churn:=1", "there is no ''"),
        ("batch_rows=many", "batch_rows is a whole number"),
        ("batch_rows=1.5", "batch_rows is a whole number"),
        ("batch_rows=0", "batch_rows is 0, and has to be 1 to 1048576"),
        ("churn:threads=-1", "threads is -1, and has to be 1 to 1024"),
        ("window_s=2", "window_s is 2.0, and has to be 0 to 1"),
        ("window_s=nan", "window_s is nan, and has to be"),
        ("window_s=", "window_s is a number of seconds"),
        ("inline=maybe", "inline is yes or no"),
        ("provider=", "provider is a name, such as cpu or cuda"),
        ("queue=0", "queue is 0, and has to be 1 to"),
        ("queue_s=inf", "queue_s is inf, and has to be"),
        ("queue_s=nan", "queue_s is nan, and has to be"),
        ("cache_bytes=64 potatoes", "cache_bytes is a size, such as 500000 or 64MiB"),
        ("cache_bytes=-1", "cache_bytes is a size"),
        ("cache_bytes=1e9", "cache_bytes is a size"),
        ("cache_bytes=99999999999 GiB", "has to be 0 to"),
        ("threads=1" + "0" * 5000, "threads is a whole number"),
    ],
)
def test_what_is_not_right_is_refused_and_what_there_is_listed(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        read_tunings(["queue=9", text])
    assert why in caught.value.message
    assert repr(text) in caught.value.message


def test_what_is_typed_survives_the_plan_file() -> None:
    tunings = read_tunings(["queue_s=0.5", "churn:cache_bytes=1MiB"])
    plan = Plan(models=(), tunings=tunings)
    assert Plan.from_bytes(plan.to_bytes()).tunings == tunings
    assert plan.tuning("churn").cache_bytes == 1 << 20
    assert plan.tuning("other") == Tuning(queue_s=0.5)
    assert Plan(models=()).tuning("churn") == Tuning()
