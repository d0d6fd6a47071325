"""Keys as a home makes them: a row, a record and a table, or nothing; and the secret nowhere."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.control.actions.keys import Minted
from modelyard.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from modelyard.core.identity import Permission, Principal, Verb, parse_scope
from modelyard.guard import records
from modelyard.guard.gate import KeyGate
from modelyard.guard.grant import Grant
from modelyard.guard.keytable import KeyTable
from modelyard.guard.peppers import peppers
from modelyard.store import files

PREDICT = Permission(Verb.PREDICT, "churn")


def create(home: Home, name: str = "shop", *texts: str, **facts: Any) -> Minted:
    scopes = frozenset(map(parse_scope, texts or ("model:*:predict",)))
    return keys.create(home, Grant(name=name, scopes=scopes, **facts))


def gate(home: Home) -> KeyGate:
    """As a worker makes it, from the files alone."""
    return KeyGate(KeyTable.from_bytes(home.settings.keys.read_bytes()), peppers(home.settings.secrets))


def opens(home: Home, minted: Minted) -> bool:
    try:
        gate(home).caller(f"Bearer {minted.text}", None).check(PREDICT)
    except (Unauthenticated, Forbidden):
        return False
    return True


def written(home: Home) -> Iterator[bytes]:
    """Every byte that lies in the home."""
    yield from (path.read_bytes() for path in home.settings.home.rglob("*") if path.is_file())


def acts(home: Home) -> list[tuple[str, str, str]]:
    with home.database.read() as connection:
        return [(one.action, one.object, one.outcome) for one in records.read(connection.execute)]


def test_a_new_key_is_let_in_by_what_lies_in_the_files(home: Home) -> None:
    minted = create(home)
    assert opens(home, minted)
    assert gate(home).caller(None, minted.text).principal.name == f"key:{minted.key.id}"
    assert stat.S_IMODE(home.settings.keys.stat().st_mode) == 0o600


def test_every_change_is_recorded_once_and_reaches_the_table(home: Home) -> None:
    first = create(home)
    about = f"key:{first.key.id}"
    second = keys.rotate(home, "shop")
    assert opens(home, first)
    assert opens(home, second)
    keys.finish(home, "shop")
    assert not opens(home, first)
    assert opens(home, second)
    keys.revoke(home, "shop")
    assert not opens(home, second)
    assert acts(home) == [
        (action, about, "done") for action in ("key.create", "key.rotate", "key.finish", "key.revoke")
    ]


def test_what_changes_nothing_is_not_recorded(home: Home) -> None:
    create(home)
    before = len(acts(home))
    keys.finish(home, "shop")
    keys.revoke(home, "shop")
    keys.revoke(home, "shop")
    assert len(acts(home)) == before + 1


def test_refusals_are_recorded_with_who_was_refused(home: Home) -> None:
    minted = create(home)
    holder = replace(home, actor=Principal(str(minted.key), minted.key.grant.scopes, "key"))
    for attempt in (
        lambda: create(holder, "more"),
        lambda: keys.revoke(holder, "shop"),
        lambda: keys.renew_pepper(holder),
    ):
        with pytest.raises(Forbidden):
            attempt()
    with pytest.raises(Conflict):
        create(home)
    with pytest.raises(NotFound):
        keys.rotate(home, "other")
    refused = [act for act in acts(home) if act[2] != "done"]
    assert refused == [
        ("key.create", "more", "denied"),
        ("key.revoke", "shop", "denied"),
        ("pepper.renew", "peppers", "denied"),
        ("key.create", "shop", "failed"),
        ("key.rotate", "other", "failed"),
    ]
    assert opens(home, minted)


def test_no_secret_is_kept_anywhere(home: Home) -> None:
    minted = [create(home), keys.rotate(home, "shop"), keys.rotate(home, "shop", timedelta(0))]
    for one in minted:
        with pytest.raises(Conflict):
            create(home)
        keys.rotate(home, one.text, timedelta(0))
        assert one.text.split("_")[3] not in repr(one)
    everything = list(written(home))
    assert any(minted[0].key.id.encode() in raw for raw in everything)
    for one in minted:
        secret = one.text.split("_")[3].encode()
        assert not any(secret in raw or secret.hex().encode() in raw for raw in everything)


def test_a_whole_key_given_by_mistake_is_not_written_down(home: Home) -> None:
    minted = create(home)
    broken = minted.text.replace(minted.key.id, "0000000000")
    with pytest.raises(NotFound) as caught:
        keys.revoke(home, broken)
    secret = minted.text.split("_")[3]
    assert secret not in f"{caught.value.detail} {caught.value.cause} {caught.value.facts}"
    keys.revoke(home, minted.text)
    assert not any(secret.encode() in raw for raw in written(home))


def test_revoking_says_what_ends_with_it(home: Home) -> None:
    boss = create(home, "boss", "server:keys", "model:*:predict")
    theirs = replace(home, actor=Principal(str(boss.key), boss.key.grant.scopes, "key"))
    child = create(theirs, "clerk")
    assert opens(home, child)
    ended, others = keys.revoke(home, "boss")
    assert ended.revoked_at is not None
    assert [key.name for key in others] == ["clerk"]
    assert not opens(home, child)


def test_new_secrets_use_the_newest_pepper_and_old_ones_go_on(home: Home) -> None:
    old = create(home)
    assert keys.renew_pepper(home) == (2, ())
    new = create(home, "new")
    assert opens(home, old)
    assert opens(home, new)
    assert keys.read(home).find("new").secrets[0].pepper == 2
    keys.rotate(home, "shop", timedelta(0))
    assert keys.renew_pepper(home) == (3, (1,))
    assert peppers(home.settings.secrets).keys() == {2, 3}
    assert opens(home, new)


def test_last_use_is_no_act(home: Home) -> None:
    minted = create(home)
    before, raw = acts(home), home.settings.keys.read_bytes()
    keys.touch(home, {minted.key.id: datetime(2026, 5, 1, 12, 30, 59, tzinfo=UTC)})
    assert keys.read(home).find("shop").last_used_at == datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    assert (acts(home), home.settings.keys.read_bytes()) == (before, raw)


def test_without_keys_there_is_no_table(home: Home) -> None:
    assert not keys.refresh(home)
    assert not home.settings.keys.exists()


def test_the_table_is_written_when_it_is_not_true_and_only_then(home: Home) -> None:
    minted = create(home)
    assert not keys.refresh(home)
    before = home.settings.keys.stat().st_ino
    assert not keys.refresh(home)
    assert home.settings.keys.stat().st_ino == before
    for wrong in (b"", b"{}", KeyTable().to_bytes()):
        home.settings.keys.write_bytes(wrong)
        assert keys.refresh(home)
        assert opens(home, minted)
    home.settings.keys.unlink()
    assert keys.refresh(home)


def test_an_act_that_stands_says_so_when_servers_cannot_be_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    create(home)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(files, "replace", refused)
        with pytest.raises(Unavailable, match="shop is revoked, but") as caught:
            keys.revoke(home, "shop")
    assert "Permission denied" in caught.value.cause
    assert keys.refresh(home)
    assert KeyTable.from_bytes(home.settings.keys.read_bytes()).keys == ()


def test_many_at_once_leave_a_table_that_is_true(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        minted = list(pool.map(lambda at: create(home, f"key-{at}"), range(24)))
        list(pool.map(lambda at: keys.revoke(home, f"key-{at}"), range(0, 24, 2)))
    assert not keys.refresh(home)
    assert [opens(home, one) for one in minted] == [bool(at % 2) for at in range(24)]
