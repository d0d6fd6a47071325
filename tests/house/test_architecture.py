"""ARCHITECTURE.md says what the machine enforces, and its glossary speaks of things that exist."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from typing import Any

import pytest

from tests.house.source import PACKAGE, ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
#: ``| **bundle** | `modelyard.model.bundle.Bundle` | ... |``
GLOSSARY = re.findall(r"^\| \*\*(.+?)\*\* +\| `([\w.]+)` +\| (.+?) +\|$", TEXT, flags=re.MULTILINE)


def test_the_floor_plan_is_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    enforced = next(c["layers"] for c in contracts if c["name"] == "A floor imports only floors below it")
    drawn = re.findall(r"^floor (\d+) {2,}((?:\w+ \| )*\w+) ", TEXT, flags=re.MULTILINE)
    assert [rooms for _, rooms in drawn] == enforced
    assert [int(number) for number, _ in drawn] == list(range(len(enforced), 0, -1))


def test_every_room_is_drawn() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(re.findall(r"\w+", " ".join(re.findall(r"^floor \d+ {2,}((?:\w+ \| )*\w+) ", TEXT, re.M))))


def test_the_glossary_is_about_25_words() -> None:
    assert 18 <= len(GLOSSARY) <= 36


@pytest.mark.parametrize(("word", "symbol"), [(word, symbol) for word, symbol, _ in GLOSSARY])
def test_a_word_of_the_glossary_is_a_real_symbol(word: str, symbol: str) -> None:
    assert word
    assert _resolve(symbol) is not None


def test_every_file_and_function_that_is_named_exists() -> None:
    named = set(
        re.findall(
            r"`((?:core|model|store|registry|guard|lab|watch|serve|ship|control|client|cli)/[\w/]+(?:\.py)?)`", TEXT
        )
    )
    missing = [name for name in named if not any((PACKAGE / f"{name}{end}").exists() for end in ("", ".py"))]
    assert missing == []
    dotted = set(re.findall(r"`(modelyard\.[\w.]+)(?:\(\))?`", TEXT))
    assert [name for name in dotted if _resolve(name) is None] == []


def _resolve(dotted: str) -> Any:
    """The object of this dotted name: the longest module, then attributes."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            if not hasattr(found, name) and name not in getattr(found, "__annotations__", {}):
                return None
            found = getattr(found, name, found)
        return found
    return None
