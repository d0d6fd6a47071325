from __future__ import annotations

import subprocess
import sys

import msgspec

from modelyard.client.load.step import Step
from modelyard.client.load.worker import Told, Work
from tests.unit.client.load.stand import Stand, http, question


def test_what_it_reads_and_says() -> None:
    with Stand(lambda _: [http()]) as stand:
        work = Work(stand.place, (question(stand.place),))
        lines = [work, Step(connections=1, duration_s=5.0, requests=3), True]
        typed = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        command = [sys.executable, "-m", "modelyard.client.load.worker"]
        done = subprocess.run(command, input=typed, capture_output=True, check=True, timeout=30)
    told = [msgspec.json.decode(line, type=Told) for line in done.stdout.splitlines()]
    assert told[0].ready
    assert told[-1].tally is not None
    assert told[-1].tally.answered == 3
    assert done.stderr == b""


def test_it_carries_no_heavy_library() -> None:
    code = (
        "import sys, modelyard.client.load.worker\n"
        "print(sorted({'numpy', 'onnxruntime', 'sqlalchemy', 'rich', 'pandas', 'click'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
