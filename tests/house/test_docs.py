"""Documents stay true: what they show runs, what the code offers is in them, and they give nothing private away."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import modelyard
from modelyard.core.plan import Plan, PlannedModel, PlannedVersion
from modelyard.guard.gate import OpenGate
from modelyard.serve.http.contracts import CONTRACTS
from modelyard.serve.http.routes import Routes
from modelyard.serve.http.site import Site
from modelyard.serve.plane import Loader, Plane, Roster
from modelyard.watch.counters import Page
from tests.house.source import ROOT, modules, tracked
from tests.house.transcript import matches, run, steps, unknown_blocks
from tests.models import linear_bundle

FOLDERS = (ROOT / "docs", ROOT / "docs/deploy")
PAGES = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    *(page for each in FOLDERS for page in sorted(each.glob("*.md"))),
]
DOCS = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
PROGRAMS = [page for page in PAGES if steps(page)]


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_what_docs_show_is_what_happens(page: Path, tmp_path: Path) -> None:
    assert run(page, tmp_path) == []


def test_the_readme_shows_commands() -> None:
    assert ROOT / "README.md" in PROGRAMS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    assert unknown_blocks(page) == []


def test_docs_written_from_code_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs/reference.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_environment_variable_is_in_the_docs() -> None:
    named = {name for module in modules() for name in re.findall(r"\bMODELYARD_[A-Z_]+\b", module.text)}
    assert "MODELYARD_HOME" in named
    assert [name for name in sorted(named) if f"`{name}`" not in DOCS] == []


def test_every_address_is_in_the_docs(tmp_path: Path) -> None:
    """The router's own table, for one served version of one model with one alias."""
    bundle = linear_bundle()
    bundle.write(tmp_path)
    version = PlannedVersion(version=1, digest=bundle.digest, path=str(tmp_path))
    plan = Plan(models=(PlannedModel(name="linear", default=1, versions=(version,), aliases={"canary": 1}),))
    counter = Page(tmp_path, 0).counter
    routes = Routes(Site(Plane(), tmp_path, contracts=tuple(CONTRACTS)), counter("none"), OpenGate())
    routes.replace(Loader(counter).load(plan, Roster(), strict=True))
    general = {
        "/linear": "/{name}",
        "@canary": "@{alias}",
        "/labels/canary": "/labels/{alias}",
        "@1": "@{alias}",
        "/versions/1": "/versions/{n}",
    }
    documented = {path.rstrip("/") for path in re.findall(r"`(/[^`]*)`", DOCS)}
    assert [path for path in map(bytes.decode, routes._table) if _general(path, general) not in documented] == []


def _general(path: str, words: dict[str, str]) -> str:
    for special, word in words.items():
        path = path.replace(special, word)
    return path.rstrip("/")


def test_every_metric_is_in_the_docs() -> None:
    watched = [module for module in modules() if module.name.startswith(("modelyard.watch.", "modelyard.serve."))]
    named = {name for module in watched for name in re.findall(r"\bmodelyard_[a-z_]+[a-z]\b", module.text)}
    assert named
    assert [name for name in sorted(named) if f"`{name}`" not in DOCS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_changelog_speaks_of_this_version() -> None:
    assert f"## {modelyard.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_file_names_a_package_registry_or_a_machine() -> None:
    """A lock or a document that names hosts sends its readers there; paths of one machine mean nothing on another."""
    hosts = ["py" + r"pi\.org", "python" + r"hosted\.org", "npm" + r"js\.(org|com)", "deb" + r"\.debian\.org"]
    pattern = re.compile("|".join([*hosts, "/" + "work/"]).encode())
    assert [str(path.relative_to(ROOT)) for path in tracked() if pattern.search(path.read_bytes())] == []


def test_the_reader_of_transcripts_can_fail() -> None:
    assert matches("a …\nb", "a 12 s\nb")
    assert matches("a\n…\nz", "a\nb\nc\nz")
    assert matches("a\n…", "a\nb\nc")
    assert matches("a", "a\nb", begins=True)
    assert not matches("a …\nb", "a 12 s\nc")
    assert not matches("a\n…\nz", "a\nb")
    assert not matches("b", "a\nb", begins=True)
    assert not matches("a", "a\nb")
