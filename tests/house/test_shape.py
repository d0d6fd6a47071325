"""Small files, small functions, few folders, and a test for every module."""

from __future__ import annotations

import pytest

from tests.house.source import PACKAGE, ROOT, Module, modules, tracked

MAX_FILE_LINES = 500
LONG_FILE_LINES = 300
MAX_BODY_LINES = 60
LONG_BODY_LINES = 40
MAX_DEPTH = 2

#: Files above MAX_FILE_LINES, each with the reason why it is one idea all the same.
LONG_FILES: dict[str, str] = {
    "src/modelyard/core/errors.py": "the whole tree of errors in one place, so that it can be seen whole",
}
#: Folders below MAX_DEPTH, each with the reason.
DEEP_FOLDERS: dict[str, str] = {
    "store/migrations/versions": "Alembic's own layout",
    "serve/http/contracts": "a door inside one protocol: one file a contract",
    "serve/http/forms": "the bodies that contracts share: one file a form",
}
#: Modules (or folders of them) whose behaviour shows only where several meet, and the suite that shows it.
TESTED_ELSEWHERE: dict[str, str] = {
    "__init__.py": "tests/unit/client/test_local.py",
    "__main__.py": "tests/acceptance/serving.py",
    "cli/_folders.py": "tests/acceptance/test_folders.py",
    "cli/serve.py": "tests/acceptance/test_serve.py",
    "control/actions/serve.py": "tests/acceptance/test_lifecycle.py",
    "control/api/audit.py": "tests/unit/control/api/test_models.py",
    "control/api/installation.py": "tests/unit/control/api/test_app.py",
    "control/api/pages.py": "tests/unit/control/api/test_keys.py",
    "control/api/problems.py": "tests/unit/control/api/test_app.py",
    "control/api/reading.py": "tests/unit/control/api/test_edge.py",
    "control/api/reception.py": "tests/unit/control/api/test_matrix.py",
    "control/api/route.py": "tests/unit/control/api/test_matrix.py",
    "control/api/server.py": "tests/acceptance/test_control.py",
    "control/documents.py": "tests/unit/control/api/test_keys.py",
    "model/runtime/": "tests/contract/test_runtimes.py",
    "model/translate/": "tests/unit/model/translate/test_estimators.py",
    "model/worker.py": "tests/unit/model/test_sandbox.py",
    "model/inspect.py": "tests/unit/model/test_hostile.py",
    "serve/app.py": "tests/acceptance/test_lifecycle.py",
    "serve/supervisor.py": "tests/acceptance/test_lifecycle.py",
    "serve/http/endpoint.py": "tests/acceptance/test_serve.py",
    "serve/grpc/control.py": "tests/unit/serve/grpc/test_connection.py",
    "serve/grpc/frames.py": "tests/unit/serve/grpc/test_connection.py",
    "serve/grpc/question.py": "tests/unit/serve/grpc/test_call.py",
    "serve/grpc/schema.py": "tests/unit/serve/grpc/test_messages.py",
    "serve/grpc/turns.py": "tests/unit/serve/grpc/test_call.py",
    "serve/grpc/health.py": "tests/unit/serve/grpc/test_servicer.py",
    "serve/grpc/reflection.py": "tests/unit/serve/grpc/test_servicer.py",
    "serve/grpc/server.py": "tests/unit/serve/grpc/test_servicer.py",
    "store/blobs/": "tests/contract/test_blobs.py",
    "store/migrations/env.py": "tests/unit/store/test_migrations.py",
}


def _python_files() -> dict[str, int]:
    return {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in tracked()
        if path.suffix == ".py"
    }


def test_no_file_is_too_long() -> None:
    long = {name: lines for name, lines in _python_files().items() if lines > MAX_FILE_LINES and name not in LONG_FILES}
    assert not long, f"split by idea, or list it in LONG_FILES with a reason: {long}"


def test_few_files_are_long() -> None:
    files = _python_files()
    long = sorted(name for name, lines in files.items() if lines > LONG_FILE_LINES)
    assert len(long) <= 0.10 * len(files), long


def test_every_listed_exception_is_still_needed() -> None:
    files = _python_files()
    assert [name for name in LONG_FILES if files.get(name, 0) <= LONG_FILE_LINES] == []
    assert [name for name in DEEP_FOLDERS if not (PACKAGE / name).is_dir()] == []
    assert [name for name in TESTED_ELSEWHERE if not (PACKAGE / name).exists()] == []
    assert [name for name in TESTED_ELSEWHERE.values() if not (ROOT / name).is_file()] == []


def test_functions_are_small() -> None:
    functions = [function for module in modules() for function in module.functions()]
    assert [f for f in functions if f.lines > MAX_BODY_LINES] == []
    long = [f for f in functions if f.lines > LONG_BODY_LINES]
    assert len(long) <= 0.03 * len(functions), long


def test_folders_are_shallow() -> None:
    folders = {module.path.parent.relative_to(PACKAGE) for module in modules()}
    deep = sorted(str(f) for f in folders if len(f.parts) > MAX_DEPTH and str(f) not in DEEP_FOLDERS)
    assert deep == []


@pytest.mark.parametrize("word", ["utils", "util", "common", "helpers", "misc"])
def test_there_is_no_junk_room(word: str) -> None:
    assert [m.shown for m in modules() if word in m.path.with_suffix("").parts[-3:]] == []


def test_modules_have_a_test_of_the_same_path() -> None:
    elsewhere = tuple(TESTED_ELSEWHERE)
    code = [m for m in modules() if not m.says_only_what_it_is and not m.shown.startswith(elsewhere)]
    bare = sorted(module.shown for module in code if not _mirrors(module))
    assert len(bare) <= 0.15 * len(code), f"{len(bare)} of {len(code)} modules have no test of their own: {bare}"


def _mirrors(module: Module) -> bool:
    """Whether ``tests/unit/<same path>`` is there; a door's backends may be tested by the door's contract suite."""
    relative = module.path.relative_to(PACKAGE)
    stem = relative.parent.name if relative.stem == "__init__" else relative.stem
    names = {f"test_{stem}.py", f"test_{stem.strip('_')}.py"}
    folder = ROOT / "tests" / "unit" / relative.parent
    nearby = {folder, folder.parent} if relative.stem == "__init__" else {folder}
    return any((where / name).is_file() for where in nearby for name in names)
