"""Doctor on keys: each trouble by its name, with the command that mends it, and that command mends it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.examine_keys import examine_keys
from modelyard.control.actions.findings import Finding, State
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.init import init
from modelyard.core.identity import Principal, Role, scopes
from modelyard.core.settings import Settings
from modelyard.guard.grant import Grant
from modelyard.guard.keytable import KeyTable

WELL = {State.OK}


def look(home: Home) -> list[Finding]:
    return list(examine_keys(home.settings, home))


def troubles(home: Home) -> list[Finding]:
    return [finding for finding in look(home) if finding.state is not State.OK]


def make(home: Home, name: str, days: float = 90, role: Role = Role.PREDICTOR) -> None:
    keys.create(home, Grant(name=name, scopes=scopes(role), life=timedelta(days=days)))


def test_a_home_without_keys_says_how_to_get_one(home: Home) -> None:
    (found,) = look(home)
    assert (found.state, found.fix) == (State.SKIP, "modelyard init")


def test_without_a_database_the_files_are_looked_at(settings: Settings) -> None:
    init(open_home(settings))
    (settings.secrets / "admin.key").chmod(0o644)
    found = list(examine_keys(settings, None))
    assert [finding.state for finding in found] == [State.FAIL, State.SKIP]
    assert found[0].fix == f"chmod 600 {settings.secrets / 'admin.key'}"


def test_a_home_that_was_set_up_is_well(home: Home) -> None:
    init(home)
    assert {finding.state for finding in look(home)} == WELL
    assert "1 key" in look(home)[-1].text


@pytest.mark.parametrize("name", ["secrets", "secrets/pepper-1", "secrets/admin.key", "keys.json"])
def test_what_others_can_read_fails(home: Home, name: str) -> None:
    init(home)
    path = home.settings.home / name
    path.chmod(0o755 if path.is_dir() else 0o640)
    (found,) = troubles(home)
    assert found.state is State.FAIL
    assert found.fix == f"chmod {'700' if path.is_dir() else '600'} {path}"


@pytest.mark.parametrize("raw", [None, b"", KeyTable().to_bytes()], ids=["gone", "empty", "without it"])
def test_a_table_that_is_not_true_fails_and_is_mended(home: Home, raw: bytes | None) -> None:
    init(home)
    if raw is None:
        home.settings.keys.unlink()
    else:
        home.settings.keys.write_bytes(raw)
    (found,) = troubles(home)
    assert (found.state, found.fix) == (State.FAIL, "modelyard key list")
    keys.refresh(home)
    assert troubles(home) == []


@pytest.mark.parametrize("days", [1, 13, 90])
def test_a_new_key_does_not_end_soon_however_short_its_life(home: Home, days: float) -> None:
    make(home, "shop", days)
    assert troubles(home) == []


def test_keys_that_end_soon_or_have_ended_are_warned_of(home: Home) -> None:
    make(home, "shop")
    make(home, "brief", 8)
    ages = {0: [], 5: [], 7: ["brief ends in 24 hours"], 80: ["brief has ended", "shop ends in 10 days"]}
    for days, expected in ages.items():
        findings = examine_keys(home.settings, home, datetime.now(UTC) + timedelta(days=days))
        found = [finding for finding in findings if finding.state is not State.OK]
        assert [one.text for one in found] == expected
        assert {one.state for one in found} <= {State.WARN}
        assert all("modelyard key rotate" in one.fix for one in found)


def test_a_key_whose_maker_was_revoked_is_warned_of(home: Home) -> None:
    make(home, "boss", role=Role.ADMIN)
    boss = keys.read(home).find("boss")
    theirs = Home(home.settings, home.database, home.artifacts, Principal(str(boss), boss.grant.scopes, "key"))
    make(theirs, "clerk")
    keys.revoke(home, "boss")
    (found,) = troubles(home)
    assert "clerk opens nothing" in found.text
    assert found.fix == "modelyard key revoke clerk"
    keys.revoke(home, "clerk")
    assert troubles(home) == []


def test_a_lost_pepper_fails_by_name_and_rotating_mends_it(home: Home) -> None:
    make(home, "shop")
    keys.renew_pepper(home)
    (home.settings.secrets / "pepper-1").unlink()
    (found,) = troubles(home)
    assert found.state is State.FAIL
    assert "pepper-1" in found.text
    keys.rotate(home, "shop", timedelta(0))
    assert troubles(home) == []


def test_a_damaged_pepper_fails(home: Home) -> None:
    make(home, "shop")
    (home.settings.secrets / "pepper-1").write_text("x")
    (found,) = troubles(home)
    assert (found.state, "pepper-1" in found.text) == (State.FAIL, True)
