"""The home is made for one user, whatever the umask, and opened again as it was."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.control.actions.home import open_home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import StoreDamaged, Unavailable
from modelyard.core.settings import Settings
from tests.models import linear_bundle


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_is_private(settings: Settings, umask: int) -> None:
    before = os.umask(umask)
    try:
        publish(open_home(settings), linear_bundle())
    finally:
        os.umask(before)
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    folders = [settings.home, settings.plans, settings.blobs, settings.bundles]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    files = [settings.database, *(settings.blobs / "sha256").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_opened_again(settings: Settings) -> None:
    publish(open_home(settings), linear_bundle())
    assert [model.name for model in open_home(settings).catalogue.models()] == ["linear"]


def test_a_damaged_database_stops_it(settings: Settings) -> None:
    open_home(settings)
    settings.database.write_bytes(b"")
    with pytest.raises(StoreDamaged):
        open_home(settings)
    assert settings.database.read_bytes() == b""


def test_a_home_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        open_home(Settings(home=tmp_path / "file" / "home"))


def test_importing_the_verbs_imports_no_database() -> None:
    code = (
        "import sys\n"
        "from modelyard.control.actions import aliases, compare, export, home, plans, publish, remove, show\n"
        "from modelyard.cli import model\n"
        "print(sorted({'sqlalchemy', 'alembic', 'onnxruntime', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
