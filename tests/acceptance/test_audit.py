"""The audit log when processes are killed: no change without its record, no record without its change."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.home import open_home
from modelyard.core.identity import Role, scopes
from modelyard.core.settings import Settings
from modelyard.guard.chain import verify
from modelyard.guard.grant import Grant
from tests.acceptance.serving import Served, home_with
from tests.acts import log, replay, state
from tests.models import linear_bundle

ROOT = Path(__file__).parents[2]


@pytest.mark.row("AUD-01")
@pytest.mark.parametrize(
    ("kills", "seed"), [(40, 1), pytest.param(1000, 2, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_kill_9_parts_no_act_from_its_record(
    settings: Settings, kills: int, seed: int, record_property: Callable[[str, object], None]
) -> None:
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
    record_property("number", f"0 missing or extra of {len(found):,} records over {kills:,} kills -9")


def test_who_loads_a_model_over_the_network_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "home"
    made = keys.create(home_with(path, linear_bundle()), Grant(name="ops", scopes=scopes(Role.DEPLOYER)))
    with Served(path, "--auth", "keys", "--repository", "explicit", "--drain-delay", "0") as server:
        headers = {"x-api-key": made.text}
        for action, name, status in (("load", "linear", 200), ("unload", "linear", 200), ("load", "liner", 404)):
            assert server.ask("POST", f"/v2/repository/models/{name}/{action}", b"", headers)[0] == status
    found = log(open_home(Settings(home=path)))[-3:]
    assert [(one.action, one.object, one.outcome) for one in found] == [
        ("model.load", "linear", "done"),
        ("model.unload", "linear", "done"),
        ("model.load", "liner", "failed"),
    ]
    assert {(one.actor, one.method, one.source) for one in found} == {(f"key:{made.key.id}", "key", "127.0.0.1")}
