"""A client in another language: TypeScript's types from the OpenAPI document, a program that uses them, a server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.actions.home import open_home
from modelyard.control.actions.openapi import openapi, write
from modelyard.core.settings import Settings
from tests.acceptance.serving import Served, home_with
from tests.models import count_bundle, image_bundle, linear_bundle, mixed_bundle

TOOLS = ("openapi-typescript@7.13.0", "typescript@5.9.3")
SOURCES = Path(__file__).resolve().parents[1] / "typescript"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: the TypeScript client is NOT tried"),
]


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    home_with(path, linear_bundle(), linear_bundle(slope=3.0), mixed_bundle(), image_bundle(), count_bundle())
    return path


@pytest.fixture(scope="module")
def project(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the tools, the generated types and the program; nothing of it stays."""
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "package.json").write_text('{"name": "client", "private": true, "type": "module"}')
    install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", *TOOLS]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=240)
    if done.returncode:
        pytest.skip(f"npm cannot install {TOOLS}, the TypeScript client is NOT tried: {done.stderr[-300:]}")
    document = openapi(open_home(Settings(home=home)), ["linear@1", "mixed", "image", "count"])
    write(document, folder / "openapi.json")
    run(folder, "node_modules/.bin/openapi-typescript", "openapi.json", "-o", "api.ts")
    for source in SOURCES.iterdir():
        shutil.copy(source, folder)
    (folder / "examples.ts").write_text(examples(document))
    yield folder
    shutil.rmtree(folder / "node_modules")


def examples(document: dict[str, Any]) -> str:
    """Every example of the document as a value of the type that its schema became."""
    lines = ['import type { paths } from "./api.js";']
    for path, item in document["paths"].items():
        operation = item.get("post", {})
        places = {
            '["requestBody"]["content"]': operation.get("requestBody", {}).get("content", {}),
            '["responses"][200]["content"]': operation.get("responses", {}).get("200", {}).get("content", {}),
        }
        for place, content in places.items():
            if "example" in content.get("application/json", {}):
                kind = f'paths[{json.dumps(path)}]["post"]{place}["application/json"]'
                lines.append(
                    f"export const e{len(lines)}: {kind} = {json.dumps(content['application/json']['example'])};"
                )
    return "\n".join(lines)


def test_the_program_and_every_example_have_the_types_of_the_document(project: Path) -> None:
    assert (project / "examples.ts").read_text().count("export const") >= 40
    run(project, "node_modules/.bin/tsc", "--noEmit")


def test_a_wrong_value_does_not_compile(project: Path) -> None:
    wrong = project / "wrong.ts"
    wrong.write_text(
        'import type { components } from "./api.js";\n'
        'export const row: components["schemas"]["MixedRow"] = { species: "dodo", length: 1 };\n'
    )
    try:
        done = subprocess.run(["node_modules/.bin/tsc", "--noEmit"], cwd=project, capture_output=True, text=True)
    finally:
        wrong.unlink()
    assert done.returncode != 0
    assert "dodo" in done.stdout


def test_the_program_is_answered_by_a_server(project: Path, home: Path) -> None:
    run(project, "node_modules/.bin/tsc")
    with Served(home, "linear@1", "mixed", "image", "count") as server:
        said = run(project, "node", "built/client.js", server.url)
    assert said == "typed answers: small, big\n"
