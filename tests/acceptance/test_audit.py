"""The audit log when processes are killed: no change without its record, no record without its change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from modelyard.control.actions.home import open_home
from modelyard.core.settings import Settings
from modelyard.guard.chain import verify
from tests.acts import log, replay, state

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kills", "seed"), [(40, 1), pytest.param(1000, 2, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_kill_9_parts_no_act_from_its_record(settings: Settings, kills: int, seed: int) -> None:
    words = [sys.executable, "-m", "tests.acceptance.actors", str(settings.home), str(kills), str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1700, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    said = [size for (size,) in json.loads(done.stdout)]
    assert len(said) >= kills, "the kills fell before the acts began"
    home = open_home(settings)
    found = log(home)
    assert max(said) <= len(found) <= max(said) + kills, "each kill falls into one act at most"
    assert replay(found) == state(home)
    assert verify(map(msgspec.structs.asdict, found)).check().size == len(found)
