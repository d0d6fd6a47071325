"""Where things are, as the environment says."""

from __future__ import annotations

from pathlib import Path

from modelyard.core.settings import Settings


def test_the_home_is_named_or_usual(tmp_path: Path) -> None:
    named = {"MODELYARD_HOME": str(tmp_path), "XDG_DATA_HOME": "/nowhere"}
    assert Settings.from_environ(named).home == tmp_path
    assert Settings.from_environ({"XDG_DATA_HOME": str(tmp_path)}).home == tmp_path / "modelyard"
    assert Settings.from_environ({}).home == Path.home() / ".local" / "share" / "modelyard"
    assert Settings.from_environ({"MODELYARD_HOME": ""}).home == Settings.from_environ({}).home


def test_a_home_is_absolute() -> None:
    assert Settings.from_environ({"MODELYARD_HOME": "here"}).home == Path.cwd() / "here"
    assert Settings.from_environ({"MODELYARD_HOME": "~/there"}).home == Path.home() / "there"


def test_everything_lies_in_the_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    places = {settings.database, settings.blobs, settings.bundles, settings.plans}
    places |= {settings.secrets, settings.keys, settings.tls}
    assert len(places) == 7
    assert {place.parent for place in places} == {tmp_path}


def test_memory_and_the_master_key_are_the_environments(tmp_path: Path) -> None:
    assert Settings.from_environ({"MODELYARD_MEMORY": str(tmp_path)}).memory == (tmp_path,)
    usual = Settings.from_environ({"XDG_RUNTIME_DIR": str(tmp_path), "MODELYARD_MASTER_KEY": "secret"})
    assert usual.memory == (Path("/dev/shm"), tmp_path)
    assert usual.master_key == "secret"
    assert "secret" not in repr(usual)
