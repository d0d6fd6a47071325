"""What a worker does with its memory: frozen after loading, collected after unloading, code let go and brought back."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.serve import memory
from tests.models import linear_bundle


class Ring:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_what_is_settled_is_not_looked_at_and_what_comes_later_is() -> None:
    gc.collect()
    gc.disable()
    old = weakref.ref(Ring())
    memory.settle()
    new = weakref.ref(Ring())
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000
    gc.collect()
    assert (old() is None, new() is None) == (False, True)
    memory.sweep()
    assert old() is None


_LOADED = """
import sys
from pathlib import Path
import numpy as np
from modelyard.model import runtime
from modelyard.model.bundle import open_bundle
from modelyard.serve import memory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssFile"))

runner = runtime.load(open_bundle(Path(sys.argv[1])))
rows = (np.full((3, 1), 2.0),)
before, answer = resident(), runner.run(rows)[0].tolist()
given = memory.let_go_of_code()
after = resident()
assert runner.run(rows)[0].tolist() == answer
print(before, after, resident(), given)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux")
def test_code_is_let_go_and_comes_back(tmp_path: Path) -> None:
    linear_bundle().write(tmp_path)
    done = subprocess.check_output([sys.executable, "-c", _LOADED, tmp_path], text=True)
    before, after, again, given = map(int, done.split())
    assert given > 8 << 20
    assert before - after > 8 * 1024, "KiB that only loading needed"
    assert again < before - 6 * 1024


def test_elsewhere_nothing_is_given_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_MAPS", tmp_path / "none")
    assert memory.let_go_of_code() == 0
