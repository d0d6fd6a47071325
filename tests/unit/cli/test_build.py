"""``modelyard build`` as it is typed: what is said, what is JSON, what is refused before anything is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.build import FORMATS
from modelyard.cli.root import root
from modelyard.control.actions import build as building
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.ship.deployment import Told
from modelyard.ship.packages import PACKAGES, Packed, Recipe
from modelyard.ship.shipment import Shipment
from tests.models import linear_bundle

DIGEST = "sha256:" + "12" * 32


@pytest.fixture
def given(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Recipe]:
    """The recipes that packages were given; linear@1 is there to be built."""
    publish(home, linear_bundle())
    recipes: list[Recipe] = []

    def pack(shipment: Shipment, recipe: Recipe, told: Told) -> Packed:
        recipes.append(recipe)
        told("made")
        facts = {"Plan": "all that is needed", "Image": f"{recipe.tag}  7 MB"}
        return Packed(
            path=recipe.output, tag=recipe.tag, digest=DIGEST, size_bytes=7, image_id=DIGEST, pushed="", facts=facts
        )

    monkeypatch.setattr(building, "pack", lambda kind: pack)
    monkeypatch.setenv("MODELYARD_HOME", str(home.settings.home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return recipes


def build(*words: str) -> Result:
    return CliRunner().invoke(root, ["build", *words])


def test_formats_are_those_of_the_door() -> None:
    assert set(FORMATS) == set(PACKAGES)


def test_it_says_what_was_made_and_what_comes_next(given: list[Recipe]) -> None:
    done = build("linear")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "Plan        all that is needed",
        "Image       linear:1  7 MB",
        "Next: docker run -p 127.0.0.1:8080:8080 linear:1 --trusted-network   or"
        "   modelyard deploy linear@1 --to compose --plan",
    ]
    assert given[0].cache == Path(os.environ["XDG_CACHE_HOME"]) / "modelyard"


@pytest.mark.parametrize(
    ("form", "following"),
    [("oci", "docker load -i dist/linear-1.tar"), ("context", "docker build -t linear:1 dist/linear-1")],
)
def test_each_format_says_how_it_goes_on(given: list[Recipe], form: str, following: str) -> None:
    assert f"Next: {following}" in build("linear", "--format", form).stdout


def test_what_comes_next_works_as_it_is_printed(given: list[Recipe]) -> None:
    archive = build("linear", "--format", "oci").stdout
    assert archive.endswith("linear-1.tar && docker run -p 127.0.0.1:8080:8080 linear:1 --trusted-network\n")
    other = build("linear", "--format", "context", "--platform", "linux/arm64").stdout
    assert other.endswith("Next: docker build --platform linux/arm64 -t linear:1 dist/linear-1\n")
    assert build("linear", "--format", "context", "-o", "-here").stdout.endswith(" -t linear:1 ./-here\n")


def test_json_is_one_document(given: list[Recipe]) -> None:
    told: dict[str, Any] = json.loads(build("linear", "--json").stdout)
    assert (told["name"], told["tag"], told["digest"], told["format"]) == ("linear", "linear:1", DIGEST, "image")
    assert told["models"] == [{"name": "linear", "version": 1, "digest": linear_bundle().digest}]
    assert (told["path"], told["pushed"], told["size_bytes"]) == (None, None, 7)


def test_flags_reach_the_recipe(given: list[Recipe], tmp_path: Path) -> None:
    words = ["--base", "r.example/python:3.12", "--platform", "linux/arm64", "--label", "team=risk", "--whole-base"]
    assert build("linear", *words, "--wheels", str(tmp_path), "--push", "r.example/linear").exit_code == 0
    made = given[0]
    assert (made.base, made.platform, made.labels) == ("r.example/python:3.12", "linux/arm64", {"team": "risk"})
    assert (made.whole_base, made.wheels, made.push) == (True, tmp_path, "r.example/linear")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "zip"), "'zip' is not one of"),
        (("--format", "context", "--push", "r.example/x"), "no --push with --format context"),
        (("--label", "a=b\nRUN evil"), "is not KEY=VALUE"),
        (("--label", "A B=c"), "is not KEY=VALUE"),
        (("--label", "a"), "is not KEY=VALUE"),
        (("--with", "torch"), "'torch' is not one of"),
        (("--wheels", "nowhere"), "does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(given: list[Recipe], words: tuple[str, ...], said: str) -> None:
    done = build("linear", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert given == []


def test_without_an_engine_the_next_command_is_told(home: Home, tmp_path: Path) -> None:
    """The real command in a process of its own, with nothing on its PATH."""
    publish(home, linear_bundle())
    environ = {**os.environ, "MODELYARD_HOME": str(home.settings.home), "PATH": str(tmp_path)}
    words = [sys.executable, "-m", "modelyard", "build", "linear"]
    done = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "error[ENGINE-MISSING]: --format image needs Docker or Podman" in done.stderr
    assert "cause: neither docker nor podman is installed" in done.stderr
    assert "modelyard build MODEL --format oci" in done.stderr
    assert "Traceback" not in done.stderr


def test_models_that_lie_in_clear_are_spoken_of(
    given: list[Recipe], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class On:
        on = True

    monkeypatch.setattr(building.encrypt, "read", lambda path: On())
    assert "lie in clear in what was made" in build("linear").stderr
