"""``modelyard encrypt``: what it says, and what it is asked."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import open_home
from modelyard.control.actions.publish import publish
from modelyard.core.settings import Settings
from modelyard.store import volatile
from tests.models import linear_bundle

SHM = Path("/dev/shm")
pytestmark = pytest.mark.skipif(not volatile.lies_in_memory(SHM), reason="needs a /dev/shm")


@pytest.fixture(autouse=True)
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="modelyard-test-", dir=SHM))
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELYARD_MEMORY", str(folder))
    monkeypatch.delenv("MODELYARD_MASTER_KEY", raising=False)
    monkeypatch.setattr(volatile, "_SWAPS", tmp_path / "swaps")
    publish(open_home(Settings(tmp_path / "home")), linear_bundle())
    yield
    shutil.rmtree(folder)


def run(*words: str) -> Result:
    return CliRunner().invoke(root, ["encrypt", *words])


def told(*words: str) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_life() -> None:
    assert run("status").stdout == "encryption   off\nblobs        0 encrypted, 4 not\n"
    said = run("on")
    assert "Encrypted   4 blob(s)" in said.stdout
    assert "/home/secrets elsewhere" in said.stdout
    status = run("status")
    assert "encryption   on\nblobs        4 encrypted, 0 not\nmaster keys  kept in: file\n" in status.stdout
    assert "4 blob(s), wraps what is new" in status.stdout
    assert status.stderr == ""
    first = told("status")["masters"]
    rotated = told("rotate", "--forget-old")
    assert rotated == {"master": rotated["master"], "blobs": 4, "forgotten": list(first)}
    assert told("off") == {"on": False, "decrypted": 4}
    assert told("status")["plain"] == 4


def test_what_was_interrupted_is_said(tmp_path: Path) -> None:
    run("on")
    (tmp_path / "home" / "encryption.json").write_text('{"on": false}')
    status = run("status")
    assert "4 blob(s) are still encrypted" in status.stderr
    assert "fix: modelyard encrypt off" in status.stderr
    assert told("on")["encrypted"] == 0
    publish_plain(tmp_path)
    assert "are not encrypted yet" in run("status").stderr


def publish_plain(tmp_path: Path) -> None:
    """Something in the clear, as from before."""
    from modelyard.store.blobs import open_blobs

    open_blobs((tmp_path / "home" / "blobs").as_uri()).put([b"in the clear"])


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    run("on")
    (tmp_path / "home" / "secrets" / "master.key").unlink()
    status = run("status")
    assert status.exit_code == 0
    assert "cannot be read" in status.stderr
    assert "is needed by 4 blob(s) and not at hand" in status.stderr
    assert run("on", "--key", "environment").exit_code != 0


def test_swap_is_said(tmp_path: Path) -> None:
    (tmp_path / "swaps").write_text("Filename\n/dev/sda2 partition 1 0 -2\n")
    assert "may write its memory to a disk" in run("on").stderr


def test_a_key_is_in_one_place() -> None:
    assert "not both" in run("on", "--key", "file", "--command", "kms").stderr
    refused = run("on", "--key", "environment")
    assert "MODELYARD_MASTER_KEY is not set" in refused.stderr
    assert "head -c 32 /dev/urandom" in refused.stderr
