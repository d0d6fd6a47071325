"""The source tree, as the house rules look at it."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "modelyard"


@dataclass(frozen=True)
class Function:
    """One function or method: where it is, and how many lines its body has without the docstring."""

    name: str
    lines: int


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    @property
    def name(self) -> str:
        """Dotted, as it is imported."""
        parts = self.path.relative_to(PACKAGE.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def shown(self) -> str:
        """Path below the package, for messages."""
        return str(self.path.relative_to(PACKAGE))

    @cached_property
    def text(self) -> str:
        """Its source."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @property
    def says_only_what_it_is(self) -> bool:
        """Whether there is nothing but a docstring and plain assignments such as ``__version__``."""
        return all(isinstance(node, (ast.Expr, ast.Assign)) for node in self.tree.body)

    def functions(self) -> Iterator[Function]:
        """Every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                yield Function(f"{self.shown}: {node.name}", lines)


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, migrations left out: Alembic decides what those look like."""
    versions = PACKAGE / "store" / "migrations" / "versions"
    return tuple(Module(path) for path in sorted(PACKAGE.rglob("*.py")) if versions not in path.parents)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that belongs to the project: what git tracks, else (a source archive) what lies there."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
        paths = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not any(part.startswith(".venv") for part in path.parts)]
    return tuple(path for path in paths if path.is_file())
