"""schemathesis: thousands of requests made from the OpenAPI document, in every contract; it keeps its word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from openapi_spec_validator import validate

from tests.acceptance.serving import Served
from tests.conformance import check

CLIENT = "schemathesis"
EXAMPLES = 6
SEED = 20250601

#: What no JSON Schema can say, so that some requests that fit it are rightly refused: how many elements fill a shape,
#: lists of equal length, nothing named twice. What fits a row's schema is another matter; see `valid_rows`.
_EVERYTHING = """
[checks]
positive_data_acceptance.enabled = false

# Triton's statuses: 501 for what a server never does, 503 for a repository that nobody may change.
[[operations]]
include-path-regex = "^/v2"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "501", "503"]

# MLflow says that a line end and a bare version are JSON; its clients look at the status.
[[operations]]
include-path-regex = "^/(ping|health|version)$"
checks.response_schema_conformance.enabled = false
"""
_VALID_ROWS = """
[checks]
enabled = false
positive_data_acceptance.enabled = true
positive_data_acceptance.expected-statuses = ["200"]
response_schema_conformance.enabled = true
content_type_conformance.enabled = true
"""


@check(client="modelyard openapi", feature="says what a server says", server="openapi")
def same_document(server: Served) -> None:
    told = document_of(server)
    home = {"MODELYARD_HOME": str(server.home), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "modelyard", "openapi", "mixed", "--contracts", "all"]
    done = subprocess.run(command, env=home, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == told


def run(document: dict[str, Any], url: str, config: str, *args: str, examples: int = EXAMPLES) -> None:
    """Run schemathesis with this document against this server; an `AssertionError` names what it found."""
    with TemporaryDirectory(prefix="schemathesis-") as folder:
        settings, schema = Path(folder) / "schemathesis.toml", Path(folder) / "openapi.json"
        settings.write_text(config)
        schema.write_text(json.dumps(document))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", str(schema)]
        command += ["--url", url, "--seed", str(SEED), "--max-examples", str(examples), "--no-color"]
        command += ["--suppress-health-check", "all", "--warnings", "off", "--generation-database", "none", *args]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3000)
    found = done.stdout[done.stdout.find("= FAILURES") :] if "= FAILURES" in done.stdout else done.stdout[-3000:]
    assert done.returncode == 0, f"{_count(done.stdout)}\n{found}\n{done.stderr[-2000:]}"


def everything(server: Served, *args: str, examples: int = EXAMPLES) -> None:
    """Every address, with what fits the document and what does not."""
    document = document_of(server)
    validate(document)
    run(document, server.url, _EVERYTHING, "--phases", "examples,coverage,fuzzing", *args, examples=examples)


def valid_rows(server: Served, examples: int = EXAMPLES) -> None:
    """What fits a row's schema is answered with 200, whatever it is."""
    document = rows_only(document_of(server))
    assert document["paths"]
    run(document, server.url, _VALID_ROWS, "--phases", "coverage,fuzzing", "--mode", "positive", examples=examples)


def document_of(server: Served) -> dict[str, Any]:
    """What the server says of itself."""
    status, _, body = server.ask("GET", "/openapi.json")
    assert status == 200
    found: dict[str, Any] = json.loads(body)
    return found


def rows_only(document: dict[str, Any]) -> dict[str, Any]:
    """The friendly addresses, without columns, whose lists must be equally long, other formats and their parameters."""
    kept = {}
    for path, item in document["paths"].items():
        if path.startswith("/models/") and path.endswith("/predict") and "{" not in path:
            content = item["post"]["requestBody"]["content"]
            schema = content["application/json"]["schema"]
            rows = [form for form in schema["anyOf"] if not form.get("$ref", "").endswith("Columns")]
            content = {"application/json": {"schema": {"anyOf": rows}}}
            body = {"required": True, "content": content}
            kept[path] = {"post": {**item["post"], "requestBody": body, "parameters": []}}
    return {**document, "paths": kept}


def _count(text: str) -> str:
    """The lines of the summary that count failures."""
    lines = [line.strip() for line in text.splitlines()]
    return "; ".join(line.removeprefix("❌ ") for line in lines if line.startswith("❌ ST")) or "schemathesis failed"


@check(client=CLIENT, feature="every address: no 5xx, schemas, content types", server="openapi", long=True)
def every_address(server: Served) -> None:
    everything(server)


@check(client=CLIENT, feature="rows that fit the schema are answered", server="openapi")
def rows(server: Served) -> None:
    valid_rows(server)
