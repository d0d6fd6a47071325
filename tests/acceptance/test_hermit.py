"""Addresses in every text that a server takes: it asks none of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_UNSHARE = shutil.which("unshare")


def alone() -> bool:
    """Whether this machine gives us a network namespace of our own."""
    tried = [_UNSHARE or "", "-rn", "ip", "link", "set", "lo", "up"]
    return bool(_UNSHARE and shutil.which("ip")) and subprocess.run(tried, capture_output=True).returncode == 0


@pytest.mark.row("MOD-04")
@pytest.mark.skipif(not alone(), reason="needs a network namespace")
@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.long)])
def test_no_text_makes_a_server_call_out(tmp_path: Path, step: int, record_property: Any) -> None:
    """Every contract's every string, keys and values, headers, paths, queries, and every field of every message."""
    command = [
        _UNSHARE or "",
        "-rn",
        sys.executable,
        "-m",
        "tests.acceptance.hermit",
        str(tmp_path / "home"),
        str(step),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    record_property("number", f"{told['met']} connections of {told['answered']:,} requests, {told['texts']} addresses")
    assert told["sees"]
    assert told["met"] == 0
    assert told["answered"] > 500 * told["texts"]
