from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import modelyard
from modelyard.cli.main import main
from modelyard.cli.root import COMMANDS, root, with_screen
from modelyard.cli.screen import Screen
from modelyard.core.errors import NotFound
from modelyard.core.settings import Settings


def _command(raising: BaseException | None = None, code: int | None = None) -> click.Command:
    @click.command("probe")
    @with_screen
    def probe(screen: Screen, settings: Settings) -> int | None:
        screen.show({"home": str(settings.home)}, str(settings.home))
        if raising:
            raise raising
        return code

    return probe


def test_help_lists_every_command_with_its_line() -> None:
    shown = CliRunner().invoke(root, ["--help"]).output
    for name, (_, line) in COMMANDS.items():
        assert f"  {name}" in shown
        assert line.split()[0] in shown
    assert "modelyard train data.csv --target price     a CSV becomes a model" in shown


def test_the_version() -> None:
    assert CliRunner().invoke(root, ["--version"]).output == f"modelyard {modelyard.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_helps(name: str) -> None:
    done = CliRunner().invoke(root, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "\\b" not in done.output
    assert done.output.startswith("Usage:")


def test_a_misspelt_command_names_the_nearest() -> None:
    done = CliRunner().invoke(root, ["trian"])
    assert done.exit_code == 2
    assert "Did you mean 'train'?" in done.output


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    done = CliRunner().invoke(_command(), [], env={"MODELYARD_HOME": str(tmp_path)})
    assert done.output == f"{tmp_path}\n"


@pytest.mark.parametrize(("code", "exit_code"), [(None, 0), (0, 0), (7, 7)])
def test_a_command_may_name_its_exit_code(code: int | None, exit_code: int) -> None:
    assert CliRunner().invoke(_command(code=code)).exit_code == exit_code


def test_an_error_becomes_its_report() -> None:
    done = CliRunner().invoke(_command(NotFound(what="model", name="x")))
    assert done.exit_code == 3
    assert "error[NOT-FOUND]: no model 'x' (exit 3)" in done.stderr


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_bug_is_reported_without_a_traceback(option: list[str]) -> None:
    done = CliRunner().invoke(_command(ZeroDivisionError("division by zero")), option)
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    assert "ZeroDivisionError: division by zero" in done.output


def test_verbose_shows_where_a_bug_came_from() -> None:
    done = CliRunner().invoke(_command(ZeroDivisionError("x")), ["-v"])
    assert isinstance(done.exception, ZeroDivisionError)


@pytest.mark.parametrize("word", ["a" * 300, "x/" * 3000])
@pytest.mark.parametrize("command", ["verify WORD", "import WORD", "trust remove WORD", "model export linear WORD"])
def test_words_that_can_be_no_file(command: str, word: str, tmp_path: Path) -> None:
    words = command.replace("WORD", word).split(" ")
    result = CliRunner(env={"MODELYARD_HOME": str(tmp_path)}).invoke(root, words)
    assert result.exit_code in {1, 2, 3}, result.output
    assert "INTERNAL" not in result.stderr
    assert word not in result.stderr


def test_interrupted() -> None:
    done = CliRunner().invoke(_command(KeyboardInterrupt()))
    assert done.exit_code == 130
    assert done.stderr == "interrupted\n"


def test_the_entry_point_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", "BUSY"])
    assert ended.value.code == 0
    assert "Too much is being asked at once" in capsys.readouterr().out
