"""Where master keys are kept: private files, a variable, a real command."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from modelyard.core.errors import Conflict, Unavailable
from modelyard.guard.keysources import VARIABLE, CommandSource, EnvironmentSource, FileSource

TEXT = "a ring of keys\n"
#: An operator's command: what it wraps is what comes in, turned round, and the log says how it was called.
KMS = """
import sys
action, raw = sys.argv[-1], sys.stdin.buffer.read()
open(sys.argv[1], "a").write(action + "\\n")
sys.stdout.buffer.write(b"\\xff" + raw[::-1] if action == "wrap" else raw[:0:-1])
"""


def kms(tmp_path: Path, program: str = KMS) -> CommandSource:
    script = tmp_path / "kms.py"
    script.write_text(program)
    return CommandSource((sys.executable, str(script), str(tmp_path / "log")), tmp_path / "secrets" / "wrapped")


def test_a_file_is_private_and_replaced_at_once(tmp_path: Path) -> None:
    source = FileSource(tmp_path / "secrets" / "master.key")
    assert source.stamp() is None
    source.write(TEXT)
    before = source.stamp()
    assert source.read() == TEXT
    assert [stat.S_IMODE(path.stat().st_mode) for path in (source.path, source.path.parent)] == [0o600, 0o700]
    source.write(TEXT)
    assert source.stamp() != before
    assert [path.name for path in source.path.parent.iterdir()] == ["master.key"]


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    source = FileSource(tmp_path / "master.key")
    source.write(TEXT)
    source.path.chmod(0o640)
    with pytest.raises(Unavailable, match="others on this machine may read") as caught:
        source.read()
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("damage", ["gone", "not text"])
def test_a_file_that_cannot_be_read(tmp_path: Path, damage: str) -> None:
    source = FileSource(tmp_path / "master.key")
    if damage == "not text":
        source.write(TEXT)
        source.path.write_bytes(b"\xff\xfe")
    with pytest.raises(Unavailable, match=r"cannot be read: master\.key"):
        source.read()


def test_the_environment_is_somebody_elses(tmp_path: Path) -> None:
    source = EnvironmentSource(TEXT)
    assert source.read() == TEXT
    assert TEXT.strip() not in repr(source)
    with pytest.raises(Conflict, match=VARIABLE) as caught:
        source.write("other")
    assert "modelyard encrypt rotate" in caught.value.hint
    assert EnvironmentSource("").stamp() is None
    with pytest.raises(Unavailable, match=f"{VARIABLE} is not set"):
        EnvironmentSource("").read()


def test_a_command_wraps_and_unwraps(tmp_path: Path) -> None:
    source = kms(tmp_path)
    assert source.stamp() is None
    source.write(TEXT)
    assert source.read() == TEXT
    raw = source.path.read_bytes()
    assert TEXT.encode() not in raw
    assert stat.S_IMODE(source.path.stat().st_mode) == 0o600
    assert (tmp_path / "log").read_text().split() == ["wrap", "unwrap", "unwrap"]


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ("import sys; sys.exit('no access to the key')", "failed to wrap"),
        ("pass", "failed to wrap"),
        ("import sys; sys.stdout.buffer.write(sys.argv[-1].encode())", "does not unwrap what it wrapped"),
    ],
)
def test_a_command_that_fails_keeps_what_there_is(tmp_path: Path, program: str, what: str) -> None:
    kms(tmp_path).write(TEXT)
    with pytest.raises(Unavailable, match=what) as caught:
        kms(tmp_path, program).write("other")
    assert "other" not in str(caught.value.to_wire())
    assert "no access" in caught.value.cause or "no access" not in program
    assert kms(tmp_path).read() == TEXT


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be run"):
        CommandSource((str(tmp_path / "nowhere"),), tmp_path / "wrapped").write(TEXT)
    with pytest.raises(Unavailable, match="cannot be read"):
        CommandSource((sys.executable,), tmp_path / "wrapped").read()
