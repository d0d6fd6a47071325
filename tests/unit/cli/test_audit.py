"""``modelyard audit``: text for people, exact JSON for programs, a clear end when the log is broken."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from tests.models import linear_bundle


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def acted(home: Home) -> Home:
    publish(home, linear_bundle(), ["production"])
    run("model", "alias", "linear@9", "canary", code=3)
    run("model", "alias", "linear@1", "canary")
    return home


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, words)
    assert result.exit_code == code, result.output + result.stderr
    return result


def document(*words: str, code: int = 0) -> Any:
    return json.loads(run("audit", *words, "--json", code=code).stdout)


def change(home: Home, statement: str) -> None:
    with closing(sqlite3.connect(home.settings.database)) as raw, raw:
        raw.execute(statement)


def test_nothing_was_done() -> None:
    assert run("audit", "list").stdout == "There are no records.\n"
    assert document("list") == []
    assert document("verify")["records"] == 0


@pytest.mark.usefixtures("acted")
def test_list() -> None:
    lines = run("audit", "list").stdout.splitlines()
    assert lines[0].split() == ["RECORD", "TIME", "(UTC)", "ACTOR", "FROM", "ACTION", "OBJECT", "OUTCOME", "DETAIL"]
    assert lines[1].split()[2:7] == ["local", "cli", "model.publish", "linear@1", "done"]
    assert lines[2].split()[2:7] == ["local", "cli", "alias.set", "linear@canary", "failed"]
    assert "error=NOT-FOUND" in lines[2]
    assert [one["sequence"] for one in document("list", "--action", "alias.*", "--outcome", "done")] == [3]
    assert [one["sequence"] for one in document("list", "--limit", "1", "--since", "1h")] == [3]
    assert document("list", "--since", "2999-01-01") == []
    assert set(document("list")[0]) == {
        *("sequence", "at", "actor", "method", "source", "action", "object", "outcome", "detail", "hash")
    }


@pytest.mark.parametrize("text", ["yesterday", "5", "2026-13-01", "999999d", "-1h"])
def test_a_time_that_is_none(text: str) -> None:
    assert "is not a time" in run("audit", "list", "--since", text, code=2).stderr


def test_what_was_written_into_the_table_cannot_drive_a_terminal(acted: Home) -> None:
    change(acted, "UPDATE audit SET object = 'x' || char(27) || '[2J' || char(10) || 'y' WHERE sequence = 1")
    shown = run("audit", "list").stdout
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 4
    assert "x\\x1b[2J\\ny" in shown


@pytest.mark.usefixtures("acted")
def test_export_and_verify(tmp_path: Path) -> None:
    printed = run("audit", "export").stdout
    assert document("export", "log.jsonl") == {"path": "log.jsonl", "records": 3}
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8") == printed
    assert document("export") == [json.loads(line) for line in printed.splitlines()]
    assert document("verify", "log.jsonl")["records"] == 3
    said = run("audit", "verify", "log.jsonl")
    assert "Verified    3 record(s)" in said.stdout
    assert "no checkpoint from elsewhere" in said.stderr


def test_checkpoints(acted: Home, tmp_path: Path) -> None:
    printed = run("audit", "checkpoint").stdout
    assert run("audit", "checkpoint", "--to", "stdout").stdout.splitlines()[:3] == printed.splitlines()[:3]
    out = tmp_path / "out"
    sent = document("checkpoint", "--to", f"file:{out}")
    assert (sent["records"], sent["to"], sent["checkpoint"] + "\n") == (3, [f"file:{out}"], out.read_text("utf-8"))
    said = run("audit", "checkpoint", "--to", f"file:{out}").stdout
    assert f"Key         {sent['key']}" in said
    run("audit", "export", "log.jsonl")
    agreed = document("verify", "log.jsonl", "--checkpoint", str(out), "--key", sent["key"])
    assert (agreed["sound"], agreed["checkpoints"]) == (True, 2)
    change(acted, "DELETE FROM audit WHERE sequence = 3")
    error = document("verify", "--checkpoint", str(out), code=1)["error"]
    assert (error["code"], error["facts"]["sequence"]) == ("AUDIT-BROKEN", 3)
    report = run("audit", "verify", "--checkpoint", str(out), code=1).stderr
    assert "1 record(s) are missing at the end" in report
    assert "the first record that cannot be trusted is 3" in report
    assert "modelyard audit export" in report
    assert document("checkpoint", code=1)["error"]["code"] == "AUDIT-BROKEN"


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (("verify", "--checkpoint", "missing"), 3, "NOT-FOUND"),
        (("verify", "missing"), 3, "NOT-FOUND"),
        (("verify", "--checkpoint", "home/modelyard.db", "--key", "x"), 1, "REQUEST-INVALID"),
        (("checkpoint", "--to", "http://collector.example/"), 1, "REQUEST-INVALID"),
        (("checkpoint", "--to", "file:/missing/folder/x"), 1, "UNAVAILABLE"),
        (("export", "missing/folder/x"), 1, "UNAVAILABLE"),
    ],
)
@pytest.mark.usefixtures("acted")
def test_errors(words: tuple[str, ...], code: int, name: str) -> None:
    assert document(*words, code=code)["error"]["code"] == name


def test_checkpoints_that_the_operator_asked_for(acted: Home, tmp_path: Path) -> None:
    acted.settings.audit.mkdir()
    (acted.settings.audit / "audit.toml").write_text(f'to = ["file:{tmp_path}/out"]')
    run("model", "alias", "linear@1", "canary2")
    run("model", "alias", "linear@9", "canary2", code=3)
    assert document("verify", "--checkpoint", str(tmp_path / "out"))["checkpoints"] == 3  # two there, one in the home


@pytest.mark.usefixtures("acted")
def test_what_holds_no_checkpoint_is_shown(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("just \x1b[31mnotes\n")
    run("audit", "checkpoint", "--to", f"file:{tmp_path / 'kept'}")
    error = document("verify", "--checkpoint", str(tmp_path / "notes"), code=3)["error"]
    assert error["detail"] == r"no checkpoint in 'just \x1b[31mnotes'"
