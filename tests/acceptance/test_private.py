"""What a server writes is for its user alone, whatever others may by the umask that it was started with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_nothing_of_a_server_can_be_read_by_others(umask: int, tmp_path: Path) -> None:
    """The home, and the folder of the run: counters, orders, what workers lay down; while it serves, and after."""
    home, run = tmp_path / "home", tmp_path / "run"
    run.mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        home_with(home, linear_bundle())
        with Served(home, "--repository", "explicit", "linear", TMPDIR=str(run)) as served:
            served.post("/models/linear/predict", {"feature": 3})
            served.ask("POST", "/v2/repository/models/linear/load", b"{}", {"content-type": "application/json"})
            assert [path.name for path in run.iterdir()] != []
            during = _open_to_others(home, run)
        assert (during, _open_to_others(home, run)) == ([], [])
    finally:
        os.umask(before)


def _open_to_others(*folders: Path) -> list[str]:
    """What others may read, write or enter."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    assert len(paths) > 5
    return [f"{path} {path.stat().st_mode:o}" for path in paths if path.exists() and path.stat().st_mode & 0o077]
