"""Bytecode: what Python imports without looking for a source, the same whoever makes it."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.core.errors import BuildFailed
from modelyard.ship.image import bytecode, compiler

SOURCE = b"WORDS = {'b', 'a', 'c'} & frozenset(('x', 'a'))\ndef f(x):\n    return x in {'one', 'two', 'three'}\n"
MODULES = {
    "/opt/app/a.py": SOURCE,
    "/opt/app/sub/__init__.py": b"",
    "/opt/app/template.py": b"def {{ name }}(:",
    "/opt/app/nul.py": b"x = '\0'",
}
_AGAIN = """
import hashlib, pathlib
from modelyard.ship.image.bytecode import compiled
root = pathlib.Path(pathlib.__file__).parent
modules = {f"/lib/{path.name}": path.read_bytes() for path in sorted(root.glob("[a-m]*.py"))}
print(hashlib.sha256(repr(sorted(compiled(modules).items())).encode()).hexdigest())
"""


def test_the_files() -> None:
    found = bytecode.compiled(MODULES)
    tag = sys.implementation.cache_tag
    assert set(found) == {f"/opt/app/__pycache__/a.{tag}.pyc", f"/opt/app/sub/__pycache__/__init__.{tag}.pyc"}
    raw = found[f"/opt/app/__pycache__/a.{tag}.pyc"]
    assert raw[:4] == importlib.util.MAGIC_NUMBER
    assert raw[4:8] == b"\x01\0\0\0"  # by hash, and never checked
    assert raw[8:16] == importlib.util.source_hash(SOURCE)
    code = marshal.loads(raw[16:])
    assert code.co_filename == "/opt/app/a.py"
    assert bytecode.compiled({}) == {}


def test_python_imports_it_instead_of_the_source(tmp_path: Path) -> None:
    """Were the source looked at, the module would not be there: it has changed since."""
    for path, raw in bytecode.compiled({f"{tmp_path}/found.py": b"ANSWER = 42\n"}).items():
        Path(path).parent.mkdir()
        Path(path).write_bytes(raw)
    (tmp_path / "found.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [sys.executable, "-c", "import found; print(found.ANSWER)"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "42\n"


def test_nothing_of_who_makes_it_shows(tmp_path: Path) -> None:
    """Other seeds of hashes, locales, folders and variables; dozens of modules of the standard library."""
    found = set()
    for number, more in enumerate(
        ({"PYTHONHASHSEED": "0"}, {"PYTHONHASHSEED": "7", "LC_ALL": "C"}, {"PYTHONOPTIMIZE": "2", "LANG": "de_DE"})
    ):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        env = {**os.environ, **more, "TMPDIR": str(folder), "HOME": str(folder)}
        done = subprocess.run(
            [sys.executable, "-c", _AGAIN], env=env, cwd=folder, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == 2 * hashlib.sha256().digest_size


def test_the_child_answers_alone() -> None:
    assert compiler.bytecode(b"/a.py", b"x = 1")
    assert compiler.bytecode(b"/a.py", b"x = ") == b""


def test_a_child_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    with pytest.raises(BuildFailed, match="cannot be compiled"):
        bytecode.compiled(MODULES)
