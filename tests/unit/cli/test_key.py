"""``modelyard init`` and ``modelyard key``: the key alone on standard output, once; all else beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.core.settings import Settings
from modelyard.guard.keys import parse
from modelyard.guard.keytable import KeyTable


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, list(words))
    assert result.exit_code == code, result.output + result.stderr
    return result


def key(*words: str, code: int = 0) -> Result:
    return run("key", *words, code=code)


def document(*words: str) -> Any:
    return json.loads(key(*words, "--json").stdout)


def listed() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in document("list")}


def test_init_prints_the_key_once_and_says_where_it_is(settings: Settings) -> None:
    result = run("init")
    (text,) = result.stdout.splitlines()
    assert parse(text).environment == "live"
    assert text not in result.stderr
    assert str(settings.secrets / "admin.key") in result.stderr
    assert (settings.secrets / "admin.key").read_text().strip() == text
    assert "Next: modelyard key create" in result.stderr


def test_a_second_init_says_what_to_do() -> None:
    run("init")
    result = run("init", code=1)
    assert result.stdout == ""
    assert "fix:   make another key that may everything: modelyard key create NAME --role admin" in result.stderr


def test_init_as_json_is_one_document(settings: Settings) -> None:
    found = json.loads(run("init", "--json").stdout)
    assert parse(found["key"]).id == found["id"]
    assert found["file"] == str(settings.secrets / "admin.key")
    assert "server:keys" in found["scopes"]


def test_create_prints_the_key_alone() -> None:
    result = key("create", "shop", "--models", "price*", "--network", "10.0.0.0/8", "--expires", "7d", "--env", "test")
    (text,) = result.stdout.splitlines()
    assert parse(text).environment == "test"
    assert text not in result.stderr
    lines = {line.split()[0]: line for line in result.stderr.splitlines()}
    assert lines["May"].endswith("predictor of price*")
    assert lines["From"].endswith("10.0.0.0/8")
    assert "7 days" in lines["Until"]
    assert "shown this once" in result.stderr


def test_quiet_prints_the_key_and_nothing_else() -> None:
    result = key("create", "shop", "-q")
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("words", "scopes"),
    [
        ((), {"model:*:predict", "model:*:read", "server:metrics"}),
        (("--role", "auditor"), {"server:audit"}),
        (("--scope", "model:churn:predict"), {"model:churn:predict"}),
        (("--role", "auditor", "--scope", "model:a:read", "--scope", "server:keys"), {"server:audit", "model:a:read"}),
        (
            ("--role", "viewer", "--models", "a", "--models", "b*"),
            {"model:a:read", "model:b*:read", "server:metrics"},
        ),
    ],
)
def test_rights_are_a_role_for_models_and_single_scopes(words: tuple[str, ...], scopes: set[str]) -> None:
    found = set(document("create", "shop", *words)["scopes"])
    assert found - {"server:keys"} == scopes
    assert ("server:keys" in found) == ("server:keys" in words)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create", "Shop"), 2, "use 'shop'"),
        (("create", "shop", "--models", "Price"), 2, "a scope"),
        (("create", "shop", "--scope", "everything"), 2, "model:PATTERN:VERB"),
        (("create", "shop", "--scope", "model:a:read", "--models", "b"), 2, "--models"),
        (("create", "shop", "--expires", "soon"), 2, "30d"),
        (("create", "shop", "--expires", "400d"), 1, "365 days"),
        (("create", "shop", "--network", "10.0.0.1/8"), 1, "10.0.0.0/8"),
        (("create", "shop", "--env", "Live!"), 2, "1 to 16"),
        (("create", "shop", "--role", "king"), 2, "auditor"),
        (("rotate", "nobody"), 3, "modelyard init"),
        (("rotate", "nobody", "--overlap", "31d"), 1, "30 days"),
        (("revoke", "nobody"), 3, "no key 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_are_explained(words: tuple[str, ...], code: int, said: str) -> None:
    result = key(*words, code=code)
    assert said in result.stderr
    assert result.stdout == ""
    assert document("list") == []


def test_list_of_nothing_says_what_to_type() -> None:
    assert key("list").stdout.splitlines() == ["There are no keys yet.", "Next: modelyard init"]


def test_list_shows_what_each_may_and_never_a_secret() -> None:
    made = [key("create", "shop", "--models", "price*").stdout, key("create", "ci", "--role", "deployer").stdout]
    lines = key("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "ID", "MAY", "FROM", "UNTIL", "(UTC)", "STATE", "MADE", "BY"]
    assert [line.split()[0] for line in lines[1:]] == ["ci", "shop"]
    assert "predictor of price*" in lines[2]
    both = key("list").stdout + key("list", "--json").stdout
    assert not any(parse(text.strip()).secret in both for text in made)


def test_rotating_says_until_when_the_older_secret_works() -> None:
    first = key("create", "shop").stdout.strip()
    result = key("rotate", "shop", "--overlap", "2h")
    assert parse(result.stdout.strip()).id == parse(first).id
    assert "its secret before works until" in result.stderr
    assert "--finish" in result.stderr
    assert "older secret until" in key("list").stdout
    assert "is being rotated" in key("rotate", "shop", code=1).stderr
    assert "newest secret only" in key("rotate", "shop", "--finish").stdout
    assert len(listed()["shop"]["secrets"]) == 1
    assert "works no more" in key("rotate", "shop", "--overlap", "0s").stderr


def test_revoke_by_name_by_id_and_by_the_key_itself(settings: Settings) -> None:
    for name in ("a", "b", "c"):
        key("create", name)
    text = key("create", "d").stdout.strip()
    key("revoke", "a")
    key("revoke", listed()["b"]["id"])
    result = key("revoke", text)
    assert parse(text).secret not in result.stdout + result.stderr
    assert list(listed()) == ["c"]
    assert [kept.name for kept in KeyTable.from_bytes(settings.keys.read_bytes()).keys] == ["c"]
    shown = {one["name"]: one["state"] for one in document("list", "--all")}
    assert shown == {"a": "revoked", "b": "revoked", "c": "live", "d": "revoked"}


def test_list_mends_the_table_and_says_so(settings: Settings) -> None:
    key("create", "shop")
    settings.keys.unlink()
    result = key("list")
    assert "Mended" in result.stderr
    assert settings.keys.exists()
    assert "Mended" not in key("list").stderr


def test_a_pepper_is_renewed() -> None:
    key("create", "shop")
    assert document("pepper") == {"pepper": 2, "removed": []}
    key("rotate", "shop", "--overlap", "0s")
    assert document("pepper") == {"pepper": 3, "removed": [1]}
    assert "pepper-4" in key("pepper").stdout


def test_a_key_that_begins_later() -> None:
    made = document("create", "later", "--not-before", "2d", "--expires", "1d")
    assert made["state"] == "waiting"
    begins, ends = (datetime.fromisoformat(made[name]) for name in ("not_before", "expires_at"))
    assert timedelta(days=1, hours=23) < begins - datetime.now(UTC) <= timedelta(days=2)
    assert ends - begins == timedelta(days=1)
    assert "Begins" in key("create", "then", "--not-before", "2d").stderr
    at = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    exact = document("create", "exact", "--not-before", at.replace(tzinfo=None).isoformat())
    assert abs(datetime.fromisoformat(exact["not_before"]) - at) < timedelta(seconds=1)
    for wrong in ("2020-01-01", "soon", "-1d", "366d"):
        assert run("key", "create", "never", "--not-before", wrong, code=1 if wrong == "366d" else 2).stdout == ""


def test_a_key_without_a_name_is_said_to_be_none() -> None:
    assert "no key ''" in run("key", "revoke", "", code=3).stderr
