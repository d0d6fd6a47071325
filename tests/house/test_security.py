"""What the manual says of roles is the permission table."""

from __future__ import annotations

import re
from pathlib import Path

from modelyard.control.api.app import ROUTES
from modelyard.control.api.route import PREFIX
from modelyard.core.identity import OF_MODELS, ROLES, Role, Verb

MANUAL = Path(__file__).parents[2] / "docs" / "security.md"


def test_the_manuals_table_of_roles_is_the_one_that_is_asked() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    head = next(line for line in text.splitlines() if line.startswith("| role |"))
    verbs = [Verb(name) for name in re.findall(r"`([a-z]+)`", head)]
    assert set(verbs) == set(Verb)
    told = {}
    for role in Role:
        row = next(line for line in text.splitlines() if line.startswith(f"| {role} |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")[1:]]
        told[role] = {verb for verb, cell in zip(verbs, cells, strict=True) if cell == "yes"}
    assert told == {role: set(verbs) for role, verbs in ROLES.items()}


def test_the_manual_says_which_verbs_are_about_models() -> None:
    sentence = re.search(r"((?:`[a-z]+`(?:, | and )?)+) are about models", MANUAL.read_text(encoding="utf-8"))
    assert sentence is not None
    assert {Verb(name) for name in re.findall(r"`([a-z]+)`", sentence[1])} == OF_MODELS


def test_the_manual_says_what_every_address_of_the_control_api_needs() -> None:
    told: dict[str, set[str]] = {}
    for paths, methods, _ in re.findall(
        r"^\| (`/(?:api/v1/|livez).*?) \| (.+?) \| (.+?) \|$", MANUAL.read_text("utf-8"), re.MULTILINE
    ):
        for path in re.findall(r"`(/[^`]+)`", paths):
            told[path] = set(re.findall(r"[A-Z]{3,}", methods))
    real: dict[str, set[str]] = {f"{PREFIX}/openapi.json": {"GET"}}
    for route in ROUTES:
        real.setdefault(route.path, set()).add(route.method)
    assert told == real
