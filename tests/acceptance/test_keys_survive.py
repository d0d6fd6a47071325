"""Keys over kill -9: what was acknowledged holds, what was interrupted is mended by the next command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.examine_keys import examine_keys
from modelyard.control.actions.findings import State
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.init import init
from modelyard.core.errors import Conflict, Unauthenticated
from modelyard.core.settings import Settings
from modelyard.guard import records
from modelyard.guard.gate import KeyGate
from modelyard.guard.keytable import KeyTable
from modelyard.guard.peppers import peppers
from tests.house.source import ROOT

PROGRAM = Path(__file__).parent / "keysmiths.py"


def keysmiths(settings: Settings, *words: object) -> list[list[Any]]:
    command = [sys.executable, PROGRAM, settings.home, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, cwd=ROOT, env=_environment())
    assert done.returncode == 0, done.stderr
    said: list[list[Any]] = json.loads(done.stdout)
    return said


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"}


def opens(home: Home, text: str) -> bool:
    table = KeyTable.from_bytes(home.settings.keys.read_bytes())
    try:
        KeyGate(table, peppers(home.settings.secrets)).caller(f"Bearer {text}", None)
    except Unauthenticated:
        return False
    return True


def assert_no_secret_stays(home: Home, texts: list[str]) -> None:
    """Neither in the database, its log, the table, nor any other file."""
    files = {path: path.read_bytes() for path in home.settings.home.rglob("*") if path.is_file()}
    secrets = [text.split("_")[3].encode() for text in texts]
    assert len(secrets) > 20
    assert {path.name for path, raw in files.items() for secret in secrets if secret in raw} == set()


@pytest.mark.row("AUD-01")
@pytest.mark.parametrize(
    ("kills", "seed"), [(30, 1), pytest.param(400, 2, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_kill_9_loses_no_key_and_leaves_no_revoked_one(
    settings: Settings, kills: int, seed: int, record_property: Callable[[str, object], None]
) -> None:
    said = keysmiths(settings, "work", kills, seed)
    home = open_home(settings)
    keys.refresh(home)  # as the next command does
    assert [found for found in examine_keys(settings, home) if found.state is not State.OK] == []
    newest = {name: text for word, name, *rest in said for text in rest if word in {"created", "rotated"}}
    revoked = {words[1] for words in said if words[0] == "revoked"}
    touched = {words[1] for words in said if words[0] in {"rotating", "revoking"}}
    finished = {words[1] for words in said if words[0] == "rotated"} - {w[1] for w in said if w[0] == "revoking"}
    certain = (newest.keys() - touched) | finished
    assert len(newest) >= kills, "the kills fell before the work began"
    assert [name for name in certain if not opens(home, newest[name])] == []
    assert [name for name in revoked if opens(home, newest[name])] == []
    assert_no_secret_stays(home, [words[2] for words in said if len(words) == 3])
    assert_recorded(home, said, kills)
    record_property("number", f"0 keys without a record, of {len(newest):,} made over {kills:,} kills -9")


def assert_recorded(home: Home, said: list[list[Any]], kills: int) -> None:
    """Each act that was acknowledged has its one record, and each key in the database the one of its making."""
    with home.database.read() as connection:
        made = [one for one in records.read(connection.execute) if one.outcome == "done"]
    acts = [(one.action, one.object) for one in made]
    created = [about for action, about in acts if action == "key.create"]
    assert sorted(created) == sorted(map(str, keys.read(home).keys.values()))
    words = {"key.create": "created", "key.rotate": "rotated", "key.revoke": "revoked"}
    for action, word in words.items():
        counted = sum(one[0] == action for one in acts)
        acknowledged = sum(one[0] == word for one in said)
        assert acknowledged <= counted <= acknowledged + kills


@pytest.mark.parametrize("rounds", [12, pytest.param(150, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_kill_9_while_a_home_is_set_up(settings: Settings, rounds: int) -> None:
    """Either there is a key, which works and lies in its file; or there is none, and the command can be repeated."""
    for turn, words in keysmiths(settings, "init", rounds, 3):
        home = open_home(Settings(home=Path(f"{settings.home}-{turn}")))
        keys.refresh(home)
        try:
            minted, path = init(home)
            assert words == [], "what was acknowledged is there"
            text = minted.text
        except Conflict:
            path = home.settings.secrets / "admin.key"
            text = path.read_text().strip()
            assert words in ([], [["made", text]])
        assert opens(home, text)
        assert path.read_text() == f"{text}\n"
        assert [found for found in examine_keys(home.settings, home) if found.state is not State.OK] == []
