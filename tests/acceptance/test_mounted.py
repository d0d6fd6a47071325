"""A server without a registry, as in a container: bundles or a plan that lie there, keys of another installation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.core.identity import Role, scopes
from modelyard.core.plan import Access, Plan
from modelyard.guard.grant import Grant
from tests.acceptance.serving import Served, home_with, plan_of
from tests.models import linear_bundle

ROW = {"feature": 3.0}


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "price" / "7"
    folder.mkdir(parents=True)
    linear_bundle("price").write(folder)
    return tmp_path / "models"


@pytest.fixture
def access(tmp_path: Path) -> Iterator[tuple[Path, str, Home]]:
    """A folder with the key table of another installation, and a key of it."""
    home = home_with(tmp_path / "elsewhere")
    minted = keys.create(home, Grant(name="shop", scopes=scopes(Role.PREDICTOR)))
    folder = tmp_path / "access"
    (folder / "peppers").mkdir(parents=True)
    shutil.copy(home.settings.keys, folder / "keys.json")
    for path in home.settings.secrets.glob("pepper-*"):
        shutil.copy(path, folder / "peppers")
    return folder, minted.text, home


def _ask(server: Served, key: str = "", **headers: str) -> tuple[int, Any]:
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    status, _, body = server.ask("POST", "/predict", json.dumps(ROW), headers)
    return status, json.loads(body)


def test_mounted_bundles_on_a_trusted_network(tmp_path: Path, bundles: Path) -> None:
    words = ("--bundles", str(bundles), "--name", "rent", "--host", "0.0.0.0", "--trusted-network")
    with Served(tmp_path / "home", *words, "--allow-host", "rent.internal", "--tune", "threads=1") as server:
        assert _ask(server) == (200, {"prediction": [6.0]})
        assert _ask(server, host="rent.internal:8080")[0] == 200
        assert _ask(server, host="evil.example")[0] == 421
        assert server.ask("GET", "/v2/models/rent/versions/7")[0] == 200
    assert not (tmp_path / "home").exists(), "nothing is written where there is no registry"


def test_mounted_bundles_with_keys_of_another_installation(
    tmp_path: Path, bundles: Path, access: tuple[Path, str, Home]
) -> None:
    folder, key, home = access
    words = ("--bundles", str(bundles), "--access", str(folder), "--host", "0.0.0.0", "--behind-tls-proxy")
    with Served(tmp_path / "home", *words) as server:
        assert _ask(server)[0] == 401
        assert _ask(server, key)[0] == 200
        keys.revoke(home, "shop")
        shutil.copy(home.settings.keys, folder / "keys.new")
        (folder / "keys.new").replace(folder / "keys.json")
        assert _until(lambda: _ask(server, key)[0] == 401), "a revoked key opens nothing once the table is replaced"


def test_a_plan_with_keys_can_be_tried_on_a_trusted_network(tmp_path: Path) -> None:
    path = plan_of(tmp_path, [linear_bundle("price")])
    plan = Plan.from_bytes(path.read_bytes())
    access = Access(keys=str(tmp_path / "keys.json"), peppers=str(tmp_path / "peppers"))
    path.write_bytes(msgspec.structs.replace(plan, access=access).to_bytes())
    refused = _run(tmp_path, "--plan", str(path), "--host", "0.0.0.0", "--behind-tls-proxy")
    assert refused.returncode == 4
    assert "there is no key table" in refused.stderr
    assert "--trusted-network" in refused.stderr
    with Served(tmp_path / "home", "--plan", str(path), "--host", "0.0.0.0", "--trusted-network") as server:
        assert _ask(server) == (200, {"prediction": [6.0]})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("price", "--bundles", "."), "give MODEL or --bundles, not both"),
        (("--plan", "p", "--bundles", "."), "give --plan or --bundles, not both"),
        (("--plan", "p", "--tune", "threads=1"), "no --tune"),
        (("--plan", "p", "--access", "."), "no --access"),
        (("--bundles", ".", "--signatures", "warn"), "no --signatures"),
        (("--bundles", ".", "--repository", "explicit"), "no registry"),
        (("--name", "x"), "--name is for --bundles"),
        (("--trusted-network", "--auth", "keys"), "nobody needs a key"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    refused = _run(tmp_path, *words)
    assert refused.returncode == 2
    assert said in refused.stderr


def _run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelyard", "serve", "--port", "0", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)


def _until(question: Any) -> bool:

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if question():
            return True
        time.sleep(0.05)
    return False
