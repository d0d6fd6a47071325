"""Which modules an image has: all that its commands need, in a Python that has nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import modelyard
from modelyard.ship.image.reach import sources

ROOT = Path(modelyard.__file__).parent


def _modules(names: dict[str, bytes]) -> set[str]:
    inner = (name.removesuffix(".py").removesuffix("__init__").strip("/") for name in names if name.endswith(".py"))
    return {f"modelyard.{each.replace('/', '.')}" if each else "modelyard" for each in inner}


@pytest.mark.parametrize("extras", [(), ("convert",), ("clouds",), ("convert", "clouds")])
def test_what_is_imported_at_a_modules_top_is_there(extras: tuple[str, ...]) -> None:
    """Read by Python's own parser, as a second opinion."""
    found = sources(extras)
    modules = _modules(found)
    for name, raw in found.items():
        if not name.endswith(".py"):
            continue
        for node in ast.parse(raw).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modelyard"):
                assert node.module in modules, name
            elif isinstance(node, ast.Import):
                assert all(a.name in modules for a in node.names if a.name.startswith("modelyard")), name


def test_what_trains_administers_and_ships_stays_out() -> None:
    found = sources()
    assert {"cli/serve.py", "serve/app.py", "serve/http/contracts/v2.py", "serve/http/docs.css"} <= set(found)
    gone = ("control/api/", "lab/train/", "ship/packages/", "ship/targets/", "store/migrations/versions/", "cli/train")
    assert not [name for name in found if name.startswith(gone)]
    assert not [name for name in found if name.endswith(".lock") or "__pycache__" in name]
    assert sum(map(len, found.values())) < 0.75 * sum(path.stat().st_size for path in ROOT.rglob("*.py"))


def test_with_convert_there_is_a_registry_to_import_into() -> None:
    found = sources(("convert",))
    assert "control/actions/import_folder.py" in found
    assert "model/worker.py" in found
    versions = sorted(path.name for path in (ROOT / "store/migrations/versions").glob("*.py"))
    assert versions
    assert [name.rpartition("/")[2] for name in found if name.startswith("store/migrations/versions/")] == versions
    assert set(sources()) < set(found)
