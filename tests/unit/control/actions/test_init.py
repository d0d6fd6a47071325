"""Init: one key that may everything, for one user alone; never a second time."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.init import init
from modelyard.control.actions.keys import Minted
from modelyard.core.errors import Conflict, Unavailable
from modelyard.core.identity import LOCAL
from modelyard.core.settings import Settings
from modelyard.guard import audit
from modelyard.guard.keys import parse
from modelyard.guard.peppers import newest
from modelyard.store import files


def test_the_admins_key_may_everything_and_is_in_a_file(home: Home) -> None:
    minted, path = init(home)
    assert path.read_text() == f"{minted.text}\n"
    assert parse(minted.text).id == minted.key.id
    assert minted.power is not None
    assert minted.power.scopes == LOCAL.scopes
    assert [key.id for key in keys.read(home).table().keys] == [minted.key.id]
    assert newest(home.settings.secrets) is not None


@pytest.mark.row("AUT-05")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_is_for_one_user_alone(
    settings: Settings, umask: int, record_property: Callable[[str, object], None]
) -> None:
    before = os.umask(umask)
    try:
        init(open_home(settings))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.secrets.iterdir()}
    assert modes == {"admin.key": 0o600, "pepper-1": 0o600}
    folders = (settings.home, settings.secrets)
    assert [stat.S_IMODE(path.stat().st_mode) for path in folders] == [0o700, 0o700]
    assert stat.S_IMODE(settings.keys.stat().st_mode) == 0o600
    others = [path.name for path in settings.home.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert others == []
    record_property("number", "0 files or folders for others, with umask 000, 022 and 077")


@pytest.mark.row("AUT-05")
def test_a_second_time_is_refused_and_changes_nothing(
    home: Home, record_property: Callable[[str, object], None]
) -> None:
    minted, path = init(home)
    before = home.settings.keys.read_bytes()
    with pytest.raises(Conflict) as caught:
        init(home)
    assert "modelyard key create" in caught.value.hint
    assert path.read_text() == f"{minted.text}\n"
    assert home.settings.keys.read_bytes() == before
    record_property("number", "a second init is refused, nothing changed")


def test_it_is_refused_too_when_the_key_was_revoked_and_its_file_removed(home: Home) -> None:
    _, path = init(home)
    keys.revoke(home, "admin")
    path.unlink()
    with pytest.raises(Conflict):
        init(home)
    assert not path.exists()


@pytest.mark.row("AUT-05")
def test_no_two_homes_share_a_secret(tmp_path: object, record_property: Callable[[str, object], None]) -> None:
    made: list[tuple[Minted, Settings]] = []
    for name in ("one", "two"):
        settings = Settings(home=tmp_path / name)  # type: ignore[operator]
        made.append((init(open_home(settings))[0], settings))
    (first, one), (second, two) = made
    assert parse(first.text).secret != parse(second.text).secret
    assert newest(one.secrets) != newest(two.secrets)
    record_property("number", "0 secrets that two homes share: none is there by default")


def test_of_many_at_once_one_succeeds(settings: Settings) -> None:
    open_home(settings)

    def attempt(_: int) -> str:
        try:
            return init(open_home(settings))[0].text
        except Conflict:
            return ""

    with ThreadPoolExecutor(8) as pool:
        (winner,) = filter(None, pool.map(attempt, range(8)))
    assert (settings.secrets / "admin.key").read_text() == f"{winner}\n"


def test_what_was_stopped_half_way_can_be_done_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written, the row is not: the key in it opens nothing, and the next attempt makes a good one."""
    with monkeypatch.context() as patched:
        patched.setattr(audit, "record", lambda *_: (_ for _ in ()).throw(RuntimeError("stopped")))
        with pytest.raises(RuntimeError):
            init(home)
    left = (home.settings.secrets / "admin.key").read_text()
    assert keys.read(home).keys == {}
    minted, path = init(home)
    assert path.read_text() == f"{minted.text}\n" != left


def test_nothing_is_made_when_the_file_cannot_be_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.pepper(home.settings)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(files, "replace", refused)
        with pytest.raises(Unavailable):
            init(home)
    assert keys.read(home).keys == {}
    assert not home.settings.keys.exists()
