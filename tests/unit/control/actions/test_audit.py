"""The verbs of the audit log, on a home and on an export elsewhere."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.control.actions import aliases, audit
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.remove import remove
from modelyard.core.errors import AuditBroken, ModelyardError, NotFound
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.guard.records import Filter
from tests.models import linear_bundle


@pytest.fixture
def acted(home: Home) -> Home:
    """Three records: published, an alias set, a removal refused."""
    publish(home, linear_bundle())
    aliases.set_alias(home, parse_reference("linear@1"), "production")
    with pytest.raises(ModelyardError):
        remove(home, parse_reference("linear"))
    return home


def change(home: Home, statement: str) -> None:
    with closing(sqlite3.connect(home.settings.database)) as raw, raw:
        raw.execute(statement)


def test_find(acted: Home) -> None:
    found = audit.find(acted, Filter())
    assert [(one.action, one.object, one.outcome) for one in found] == [
        ("model.publish", "linear@1", "done"),
        ("alias.set", "linear@production", "done"),
        ("model.remove", "linear", "failed"),
    ]
    assert [one.sequence for one in audit.find(acted, Filter(action="model.*", limit=1))] == [3]


def test_an_export_is_verified_elsewhere(acted: Home, tmp_path: Path) -> None:
    sent = audit.checkpoint(acted)
    kept = tmp_path / "kept"
    kept.write_text(sent.text, encoding="utf-8")
    path = tmp_path / "export.jsonl"
    assert audit.write(acted, path) == 3
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines == list(audit.export(acted))
    assert [json.loads(line)["sequence"] for line in lines] == [1, 2, 3]
    elsewhere = open_home(Settings(home=tmp_path / "elsewhere"))
    report = audit.verify(elsewhere, [kept], exported=path, key=sent.key)
    assert (report.size, report.checkpoints) == (3, 1)
    with pytest.raises(NotFound):
        audit.verify(elsewhere, [kept], exported=path)
    for broken in (
        lines[:2],
        [*lines[:1], *lines[2:]],
        [*lines, "{"],
        ["", *lines],
        [*lines[:2], lines[2][:-9] + '0000000"}'],
    ):
        path.write_text("\n".join(broken), encoding="utf-8")
        with pytest.raises(AuditBroken):
            audit.verify(elsewhere, [kept], exported=path, key=sent.key)


def test_the_home_keeps_its_last_checkpoint_too(acted: Home) -> None:
    assert audit.verify(acted).checkpoints == 0
    audit.checkpoint(acted)
    assert audit.verify(acted).checkpoints == 1
    change(acted, "DELETE FROM audit WHERE sequence = 3")
    with pytest.raises(AuditBroken, match="1 record"):
        audit.verify(acted)
    with pytest.raises(AuditBroken):
        audit.checkpoint(acted)


def test_a_home_made_anew_with_its_key_is_found_by_what_lies_outside(acted: Home, tmp_path: Path) -> None:
    """Everything in the home is replaced: log, key, last checkpoint. What was kept outside remains."""
    kept = tmp_path / "kept"
    sent = audit.checkpoint(acted, [f"file:{kept}"])
    other = open_home(Settings(home=tmp_path / "other"))
    for slope in (2.0, 3.0, 4.0):
        publish(other, linear_bundle(slope=slope))
    audit.checkpoint(other, [f"file:{kept}"])  # signed by its own key, into the same file
    assert audit.verify(other).size == 3
    with pytest.raises(AuditBroken, match="not signed with the key"):
        audit.verify(other, [kept])
    with pytest.raises(AuditBroken):
        audit.verify(other, [kept], key=sent.key)


@pytest.mark.parametrize("value", ["x'ff00'", "'not json'", "'[1]'", "1", '\'{"a": "\\ud800"}\''])
def test_what_somebody_wrote_into_the_table_breaks_no_verb(acted: Home, value: str) -> None:
    change(acted, f"UPDATE audit SET detail = {value} WHERE sequence = 2")
    for verb in (lambda: audit.find(acted, Filter()), lambda: list(audit.export(acted)), lambda: audit.verify(acted)):
        with pytest.raises(AuditBroken) as caught:
            verb()
        assert caught.value.facts["sequence"] == 2


@pytest.mark.parametrize("value", ["CAST(x'ff41' AS TEXT)", "'\x1b[2J'", "x'41'"])
def test_texts_that_are_none_are_found(acted: Home, value: str) -> None:
    change(acted, f"UPDATE audit SET object = {value} WHERE sequence = 2")
    with pytest.raises(AuditBroken) as caught:
        audit.verify(acted)
    assert caught.value.facts["sequence"] == 2


def test_a_server_sends_what_others_did_meanwhile(acted: Home, tmp_path: Path) -> None:
    acted.settings.audit.mkdir()
    configured = f'to = ["file:{tmp_path}/out"]\nevery = 100\ninterval_s = 0.2'
    (acted.settings.audit / "audit.toml").write_text(configured)
    with audit.told(acted, every_s=0.05):
        _wait_for(lambda: (tmp_path / "out").exists())
        with acted.database.write() as connection:  # as another process does that tells nobody
            acted.record(connection, "alias.set", "x@y", {})
        _wait_for(lambda: (tmp_path / "out").read_text(encoding="utf-8").count("\u2014") == 2)
    assert audit.verify(acted, [tmp_path / "out"]).size == 4


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_files_that_are_not_there(acted: Home, tmp_path: Path) -> None:
    audit.checkpoint(acted)
    for words in ({"checkpoints": [tmp_path / "no"]}, {"exported": tmp_path / "no"}):
        with pytest.raises(NotFound):
            audit.verify(acted, **words)  # type: ignore[arg-type]
