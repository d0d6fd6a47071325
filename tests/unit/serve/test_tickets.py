"""Small files between supervisor and workers: taken once, never half there, of living workers only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modelyard.serve import tickets


def test_an_answer_is_taken_once(tmp_path: Path) -> None:
    assert tickets.taken(tmp_path, "a1") is None
    tickets.answer(tmp_path, "a1", {"serial": 3})
    tickets.answer(tmp_path, "a2", {"error": {"code": "not-found"}})
    assert tickets.taken(tmp_path, "a1") == {"serial": 3}
    assert tickets.taken(tmp_path, "a1") is None
    assert tickets.taken(tmp_path, "a2") == {"error": {"code": "not-found"}}
    assert list(tmp_path.iterdir()) == []


def test_all_obey_when_the_last_living_one_does(tmp_path: Path) -> None:
    assert tickets.obeyed(tmp_path, 9) == {}, "nobody lives: a starting worker reads the newest plan"
    tickets.obey(tmp_path, 0, 2, {"churn": "no luck"})
    tickets.obey(tmp_path, 11, 1, {})
    assert tickets.obeyed(tmp_path, 1) == {"churn": "no luck"}
    assert tickets.obeyed(tmp_path, 2) is None
    tickets.forget(tmp_path, 11)
    assert tickets.obeyed(tmp_path, 2) == {"churn": "no luck"}


def test_a_supervisor_needs_no_event_loop_for_them() -> None:
    code = "import sys, modelyard.serve.supervisor; print('asyncio' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
