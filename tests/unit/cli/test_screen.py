from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from modelyard.cli.errors import report
from modelyard.cli.screen import Screen
from modelyard.core.errors import TargetUnavailable


def test_narration_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().say("Read", "data.csv: 5 rows")
    Screen().next("modelyard serve x", "modelyard model list")
    said = capsys.readouterr()
    assert said.out == "Read        data.csv: 5 rows\nNext: modelyard serve x   or   modelyard model list\n"
    assert said.err == ""


def test_quiet_leaves_results_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=True)
    screen.say("Read", "data.csv")
    screen.next("modelyard serve x")
    screen.warn("no scaling", fix="--scale standard")
    screen.show({"a": 1}, "one")
    said = capsys.readouterr()
    assert said.out == "one\n"
    assert said.err == "warning: no scaling\n  fix: --scale standard\n"


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(as_json=True)
    screen.say("Read", "data.csv")
    screen.show({"name": "größe"}, "text for people")
    said = capsys.readouterr()
    assert json.loads(said.out) == {"name": "größe"}
    assert "größe" in said.out
    assert said.err == "Read        data.csv\n"


def test_json_never_carries_what_json_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(as_json=True).show({"a": [float("nan"), (float("-inf"), 1.5)], "b": "half \ud800", "c": Path("x")})
    said = capsys.readouterr().out
    assert json.loads(said) == {"a": [None, [None, 1.5]], "b": "half \ud800", "c": "x"}


def test_a_table_is_aligned() -> None:
    text = Screen().table(("NAME", "ROWS"), [("a", "5"), ("longer", "12345")], right=(1,))
    assert text == "NAME     ROWS\na           5\nlonger  12345"


@pytest.mark.parametrize(("yes", "as_json"), [(True, False), (True, True)])
def test_yes_is_yes(yes: bool, as_json: bool) -> None:
    assert Screen(as_json=as_json).confirm("Really?", yes=yes)


def test_without_a_terminal_the_answer_is_no() -> None:
    assert not Screen().confirm("Really?", yes=False)


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen().progress("Train") as step:
        step(1, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_draws_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Screen().progress("Train") as step:
        step(1, 2)
        step(2, 2)
    assert "Train" in capsys.readouterr().err


@pytest.mark.parametrize(("verbose", "said"), [(False, ""), (True, "fetch\nbuild\n")])
def test_what_is_being_done_is_said_on_a_terminal_or_when_asked(
    capsys: pytest.CaptureFixture[str], *, verbose: bool, said: str
) -> None:
    with Screen(verbose=verbose).doing() as told:
        told("fetch")
        told("build")
    assert capsys.readouterr().err == said


def test_what_is_being_done_takes_one_line_of_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    with Screen().doing() as told:
        told("a step that is long")
    assert capsys.readouterr().err.count("\n") == 0
    with Screen(quiet=True).doing() as told:
        told("nothing")
    assert "nothing" not in capsys.readouterr().err


HOSTILE = "ready\x1b[2J\x1b]0;x\x07 \x9b31m\u202ereversed\tand\nmore"


def test_what_somebody_else_wrote_is_not_obeyed_by_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(verbose=True)
    screen.say("State", HOSTILE)
    screen.warn(HOSTILE, HOSTILE)
    screen.show({}, HOSTILE)
    with screen.doing() as told:
        told(HOSTILE)
    report(TargetUnavailable(target="prod", what=HOSTILE, cause=HOSTILE, hint=HOSTILE), screen)
    said = "".join(capsys.readouterr())
    assert said.count("reversed\tand\nmore") == 8
    assert all(char.isprintable() or char in "\t\n" for char in said)


def test_our_own_colours_are_seen_on_a_terminal() -> None:
    @click.command()
    def command() -> None:
        Screen().mark("ok", " well\x1b[2J", fg="green")

    assert CliRunner().invoke(command, color=True).output == "\x1b[32mok\x1b[0m well[2J\n"
