"""``--tune [MODEL:]KEY=VALUE``: how models are to be run, as an operator types it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from modelyard.core.plan import Tuning

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_TRUTH = {"yes": True, "true": True, "no": False, "false": False}


def read_tunings(texts: Sequence[str]) -> dict[str, Tuning]:
    """How models are to be run, by name; under the empty name, all others.

    Parameters
    ----------
    texts : sequence of str
        ``KEY=VALUE`` for every model, ``MODEL:KEY=VALUE`` for one, which has the rest from those for every model. Of
        two for the same, the last holds.

    Raises
    ------
    click.BadParameter
        It is not of that form, there is no such key, or the value is not one.
    """
    wanted: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, key, value = _read(text)
        wanted.setdefault(name, {})[key] = value
    usual = wanted.get("", {})
    return {name: Tuning(**(usual | values)) for name, values in wanted.items()}


def _read(text: str) -> tuple[str, str, Any]:
    """The model, or nothing; the key; what it is to be."""
    target, equals, value = text.partition("=")
    name, colon, key = target.strip().rpartition(":")
    if not equals or (colon and not name):
        raise _refusal(text, "give KEY=VALUE, or MODEL:KEY=VALUE")
    if key not in _KEYS:
        raise _refusal(text, f"there is no {key!r}; there is {', '.join(_KEYS)}")
    read, expected = _KEYS[key]
    try:
        found = read(value.strip().lower())
    except (ValueError, KeyError, OverflowError) as exc:
        raise _refusal(text, f"{key} is {expected}") from exc
    try:
        Tuning(**{key: found})
    except ValueError as exc:
        raise _refusal(text, str(exc)) from exc
    return name, key, found


def _refusal(text: str, why: str) -> click.BadParameter:
    return click.BadParameter(f"{text!r}: {why}", param_hint="'--tune'")


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(float(found[1]) * _UNITS[found[2]])


def _word(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


_WHOLE = "a whole number"
_SECONDS = "a number of seconds"
_KEYS: dict[str, tuple[Callable[[str], Any], str]] = {
    "batch_rows": (int, _WHOLE),
    "window_s": (float, _SECONDS),
    "inline": (_TRUTH.__getitem__, "yes or no"),
    "threads": (int, _WHOLE),
    "provider": (_word, "a name, such as cpu or cuda"),
    "queue": (int, _WHOLE),
    "queue_s": (float, _SECONDS),
    "cache_bytes": (_bytes, "a size, such as 500000 or 64MiB"),
}
