"""Starting costs nothing: importing is light, has no side effects, and no ring of imports hides."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import modelyard
from tests.house.source import Module, modules

HEAVY = {
    *("numpy", "onnxruntime", "onnx", "skl2onnx", "sklearn", "skops", "joblib", "pandas", "scipy"),
    *("sqlalchemy", "alembic", "uvloop", "httptools", "rich", "asyncio", "socket", "http.client"),
    *("fastapi", "starlette", "uvicorn"),
}
#: What a replica may carry; the rest of HEAVY (scikit-learn, pandas, SQLAlchemy, ...) may not be in it.
REPLICA = {"numpy", "onnxruntime", "uvloop", "httptools", "asyncio", "socket", "http.client"}
ROUNDS = 5


def _cpu_seconds(*arguments: str) -> float:
    """CPU of a fresh interpreter, user and system, the best of a few: noise only ever adds."""
    return min(_once(arguments) for _ in range(ROUNDS))


def _once(arguments: tuple[str, ...]) -> float:
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_utime + usage.ru_stime


def _loaded(statement: str, names: set[str]) -> set[str]:
    """Which of `names` a fresh interpreter holds after `statement`."""
    code = f"import sys; {statement}; print(*(set({sorted(names)!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_is_cheap() -> None:
    assert _cpu_seconds("-c", "import modelyard") < 0.15


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert _loaded("import modelyard", HEAVY) == set()


def test_help_is_instant() -> None:
    assert _cpu_seconds("-m", "modelyard", "--help") < 0.3


def test_the_command_line_loads_nothing_heavy() -> None:
    assert _loaded("import modelyard.cli.main, modelyard.cli.root", HEAVY - {"socket", "asyncio"}) == set()


def test_a_replica_carries_no_training_library() -> None:
    names = [module.name for module in modules() if module.name.startswith("modelyard.serve.")]
    assert names
    assert _loaded(f"import {', '.join(names)}", HEAVY - REPLICA) == set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_every_module_can_be_imported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a fork of an interpreter that has imported nothing of ours: hidden rings of imports show here."""
    names = [module.name for module in modules() if _importable(module)]
    script = tmp_path / "cold.py"
    script.write_text(_COLD.format(names=names, libraries=_LIBRARIES), encoding="utf-8")
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "", "importing a module printed something"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cold.py"], "importing a module wrote something"


def _importable(module: Module) -> bool:
    """Alembic runs its own environment file, and that only."""
    return not (module.path.parent.name == "migrations" and module.path.stem == "env")


_LIBRARIES = ("numpy", "pandas", "sklearn.pipeline", "onnx", "skl2onnx", "sqlalchemy", "alembic", "msgspec", "yaml")
_COLD = """
import importlib, os, sys, traceback
for name in {libraries!r}:  # once, instead of in every fork
    importlib.import_module(name)
failed = 0
for name in {names!r}:
    pid = os.fork()
    if pid == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            print(name, file=sys.stderr)
            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    failed += os.waitpid(pid, 0)[1] != 0
sys.exit(bool(failed))
"""


def test_the_version_is_one() -> None:
    assert version("modelyard") == modelyard.__version__
