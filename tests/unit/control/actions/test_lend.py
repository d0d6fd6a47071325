"""A real server, lent: it answers while the block runs, and is gone afterwards, however that ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from modelyard.control.actions.home import Home
from modelyard.control.actions.lend import lend
from modelyard.control.actions.publish import publish
from modelyard.core.errors import NotFound
from tests.models import linear_bundle


def _ask(url: str) -> object:
    with urllib.request.urlopen(f"{url}/models/linear/predict", b'{"feature": 3}', timeout=10) as answer:
        return json.load(answer)


def _gone(pids: list[int], within_s: float = 15.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def test_it_answers_and_is_gone(home: Home) -> None:
    publish(home, linear_bundle())
    with lend(home.settings, "linear@1", workers=2) as lent:
        assert _ask(lent.url) == {"prediction": [6.0]}
        assert lent.loaded["loaded"] == "linear@1"
        family = _family(lent.pid)
        assert len(family) == 3
        assert lent.cpu_s() > 0
        assert len(list(home.settings.plans.iterdir())) == 1
    assert _gone(family)
    assert list(home.settings.plans.iterdir()) == []


def test_an_error_in_the_block_gives_it_back(home: Home) -> None:
    publish(home, linear_bundle())
    family: list[int] = []

    def borrow() -> None:
        with lend(home.settings, "linear@1") as lent:
            family.extend(_family(lent.pid))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        borrow()
    assert len(family) == 2
    assert _gone(family)


def test_what_cannot_be_served_is_said(home: Home) -> None:
    with pytest.raises(NotFound, match="linear"), lend(home.settings, "linear@1"):
        pytest.fail("there is nothing to serve")


def test_it_does_not_outlive_a_borrower_that_is_killed(home: Home, tmp_path: Path) -> None:
    publish(home, linear_bundle())
    script = tmp_path / "borrower.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom modelyard.control.actions.lend import lend\n"
        "from modelyard.core.settings import Settings\n"
        "with lend(Settings(Path(sys.argv[1])), 'linear@1') as lent:\n"
        "    print(lent.pid, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script, home.settings.home], stdout=subprocess.PIPE, text=True) as borrower:
        assert borrower.stdout is not None
        family = _family(int(borrower.stdout.readline()))
        os.kill(borrower.pid, signal.SIGKILL)
        borrower.wait(10)
    assert len(family) == 2
    assert _gone(family)
