"""Where the command begins: light, and with a worker on its way when one will be needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from modelyard.cli import main as entry
from modelyard.serve import recruits


class Counted:
    made = 0
    dismissed = 0

    def __init__(self) -> None:
        Counted.made += 1

    def dismiss(self) -> None:
        Counted.dismissed += 1


@pytest.mark.parametrize(
    ("words", "ahead"),
    [
        (["serve", "--plan", "/no/such/plan", "--port", "nonsense"], 1),
        (["serve", "--help"], 0),
        (["--version"], 0),
        (["explain", "NOT-FOUND"], 0),
        ([], 0),
    ],
)
def test_a_worker_goes_ahead_only_for_serve_and_never_stays(
    words: list[str], ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recruits, "Recruit", Counted)
    Counted.made = Counted.dismissed = 0
    with pytest.raises(SystemExit):
        entry.main(words)
    assert (Counted.made, Counted.dismissed) == (ahead, ahead)


def test_it_begins_before_the_command_line_is_imported() -> None:
    code = "import sys, modelyard.cli.main; print('click' in sys.modules, 'pathlib' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]
