"""Tables are total: every kind at every edge, every backend in its door's table, every extra one that exists."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module

import pytest

from modelyard.core.errors import Kind, ModelyardError, catalogue
from modelyard.serve.http.errors import REASONS, STATUS
from tests.house.source import PACKAGE, ROOT, Module, modules

FOLDERS = (ROOT / "docs", ROOT / "docs/deploy")
DOCS = "\n".join(path.read_text(encoding="utf-8") for each in FOLDERS for path in sorted(each.glob("*.md")))


def _annotated(module: Module, annotation: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every module-level table annotated like this."""
    for node in module.tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith(annotation):
            yield module.name, ast.unparse(node.target)


KIND_TABLES = [table for module in modules() for table in _annotated(module, "dict[Kind,")]
#: A door is a package whose table maps a name to the dotted path of a backend.
DOORS = [
    (name, table)
    for module in modules()
    if module.path.stem == "__init__"
    for name, table in _annotated(module, "dict[str, str]")
    if all(str(value).startswith("modelyard.") for value in getattr(import_module(name), table).values())
]


@pytest.mark.parametrize(("module", "table"), KIND_TABLES)
def test_every_edge_knows_every_kind(module: str, table: str) -> None:
    assert set(getattr(import_module(module), table)) == set(Kind)


def test_there_are_edges() -> None:
    assert {module for module, _ in KIND_TABLES} >= {"modelyard.cli.errors", "modelyard.serve.http.errors"}


def test_every_status_has_its_reason() -> None:
    assert set(STATUS.values()) <= set(REASONS)


@pytest.mark.parametrize(("module", "table"), DOORS)
def test_a_doors_table_is_its_folder(module: str, table: str) -> None:
    door = import_module(module)
    targets = {str(value).partition(":")[0] for value in getattr(door, table).values()}
    folder = PACKAGE.joinpath(*module.split(".")[1:])
    files = {f"{module}.{path.stem}" for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert targets == files


@pytest.mark.parametrize(("module", "table"), DOORS)
def test_a_doors_names_are_in_the_docs(module: str, table: str) -> None:
    assert [name for name in getattr(import_module(module), table) if f"`{name}`" not in DOCS] == []


def test_there_are_doors() -> None:
    assert ("modelyard.model.runtime", "RUNTIMES") in DOORS


def test_every_extra_that_is_asked_for_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {match for module in modules() for match in re.findall(r'\bextra="([a-z]+)"', module.text)}
    assert named <= set(extras)


def test_error_codes_are_unique_and_stable_in_form() -> None:
    classes = [cls for cls in _tree(ModelyardError) if cls.__module__.startswith("modelyard.")]
    own = [cls for cls in classes if "code" in vars(cls)]
    codes = [cls.code for cls in own]
    doubles = sorted({code for code in codes if codes.count(code) > 1})
    assert doubles in ([], ["INTERNAL"]), "the root and Internal share one code, nobody else does"
    assert [code for code in catalogue() if not re.fullmatch(r"[A-Z]+(-[A-Z]+)*", code)] == []
    assert {cls.__name__ for cls in classes if cls.__module__ != "modelyard.core.errors"} == set()


def _tree(cls: type[ModelyardError]) -> Iterator[type[ModelyardError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)
