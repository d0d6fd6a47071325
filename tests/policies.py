"""Policies of others on what we write: checkov, in an environment of its own (its pinned world does not fit ours).

``make policies`` prints what it finds in all that targets render; ``tests/acceptance/test_policies.py`` wants nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from modelyard.core.release import Release
from modelyard.ship.cluster.objects import by_file, objects, secrets
from modelyard.ship.targets import Wanted, open_target
from modelyard.ship.yaml import dump
from tests.house.source import ROOT
from tests.placed import ACCESS, PLACEMENTS, fitting
from tests.tools import tool

CHECKOV = "checkov==3.3.30"
_FOLDER = ROOT / ".venv-checkov"
#: Findings that are meant to be, by their number.
SKIPPED: dict[str, str] = {
    "CKV_K8S_35": "clients of object stores take their credentials from variables only (AWS_ACCESS_KEY_ID, ...); the "
    "init container that fetches models has them, the server has not",
}


def rendered(folder: Path) -> Iterator[Path]:
    """All that targets write for a cluster, as files below the folder."""
    for name, placement in PLACEMENTS.items():
        live = fitting(placement, replicas=2, max_replicas=6, cpus=0.5)
        canary = None if placement.route == "none" else fitting(placement, number=2, canary=10)
        items = [*secrets(live, placement, ACCESS), *objects(live, canary, placement)]
        files = {file: dump(item) for file, item in by_file(items).items()}
        yield from _written(folder / f"kubernetes-{name}", files)
    settings = {"namespace": "ml", "repository": "registry.example.com/models"}
    live = fitting(PLACEMENTS["plain"], replicas=2, max_replicas=6)
    chart = list(_written(folder / "chart", open_target("helm", settings, folder).files(Wanted(release=live))))
    root = next(path.parent for path in chart if path.name == "Chart.yaml")
    command = [tool("helm"), "template", live.deployment, str(root), "--namespace", "ml"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    shutil.rmtree(folder / "chart")
    yield from _written(folder / "helm", {"all.yaml": text})
    yield from _written(folder / "kserve", _kserve(folder, live, settings))


def _kserve(folder: Path, live: Release, settings: dict[str, str]) -> dict[str, str]:
    """With the model fetched, as KServe does it."""
    sourced = [msgspec.structs.replace(model, source="s3://bucket/models/churn") for model in live.models]
    release = msgspec.structs.replace(live, models=tuple(sourced))
    return dict(open_target("kserve", settings, folder).files(Wanted(release=release)))


def _written(folder: Path, files: dict[str, str]) -> Iterator[Path]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        yield path


def findings(folder: Path) -> tuple[int, list[str]]:
    """How many checks passed, and what failed that is not in `SKIPPED`: its number, title, object, file."""
    command = [str(_program()), "--directory", str(folder), "--framework", "kubernetes", "--skip-download", "--compact"]
    command += ["--output", "json", "--soft-fail", "--quiet", "--skip-check", ",".join(SKIPPED)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environ)
    if ended.returncode:
        raise RuntimeError(f"checkov ended with {ended.returncode}: {ended.stderr[-2000:]}")
    found = json.loads(ended.stdout)
    failed = found.get("results", {}).get("failed_checks", [])
    lines = [f"{each['check_id']}  {each['check_name']}  {each['resource']}  {each['file_path']}" for each in failed]
    return int(found.get("summary", found)["passed"]), sorted(lines)


def _program() -> Path:
    """Made by uv when it is not there."""
    program = _FOLDER / "bin" / "checkov"
    if program.exists():
        return program
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise RuntimeError("uv is missing: make setup")
    make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(_FOLDER)]
    install = [uv, "pip", "install", "--quiet", "--python", str(_FOLDER / "bin" / "python"), CHECKOV]
    for command in (make, install):
        subprocess.run(command, check=True, timeout=300)
    return program


def main() -> int:
    """Print what is found."""
    with tempfile.TemporaryDirectory() as folder:
        files = list(rendered(Path(folder)))
        passed, failed = findings(Path(folder))
    print(f"{len(files)} files, {passed} checks passed, {len(failed)} failed, {len(SKIPPED)} not asked:")
    for number, reason in SKIPPED.items():
        print(f"  {number}  {reason}")
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
