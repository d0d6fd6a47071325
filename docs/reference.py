"""Writes docs/cli.md and docs/errors.md from the code: `python docs/reference.py`, or `--check` to compare only."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from modelyard.cli.errors import exit_code
from modelyard.cli.root import COMMANDS, root
from modelyard.core.errors import ModelyardError, catalogue
from modelyard.serve.http.errors import status

DOCS = Path(__file__).parent
_COMMON = {"as_json", "quiet", "verbose", "help"}


def cli() -> str:
    """Every command with its arguments and options, as its own parser knows them."""
    lines = [
        "# Command line",
        "",
        "Written by `docs/reference.py` from the commands themselves; change those, then run `make docs`.",
        "",
        "| Command | What it does |",
        "|---|---|",
        *(f"| [`modelyard {name}`](#modelyard-{name}) | {line} |" for name, (_, line) in COMMANDS.items()),
        "",
        "Every command also takes `--json` (standard output is one JSON document, narration goes to standard error),",
        "`-q`/`--quiet`, `-v`/`--verbose` (shows where an error came from) and `-h`/`--help`.",
        "",
        "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 the input does not fit the model, 130",
        "interrupted. `MODELYARD_HOME` says where models are kept (else `$XDG_DATA_HOME/modelyard`, else",
        "`~/.local/share/modelyard`).",
        "",
    ]
    with click.Context(root, info_name="modelyard") as ctx:
        for name in COMMANDS:
            command = root.get_command(ctx, name)
            assert command is not None, name
            lines += _command(command, name, ctx)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    ctx = click.Context(command, info_name=name, parent=parent)
    yield f"## {ctx.command_path}"
    yield ""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        kept = paragraph.removeprefix("\b\n")  # click's mark for lines that stay as they are
        yield f"```text\n{kept}\n```" if kept != paragraph else kept
        yield ""
    usage = " ".join(piece for piece in command.collect_usage_pieces(ctx))
    yield f"Usage: `{ctx.command_path} {usage}`"
    yield ""
    options = [p for p in command.params if isinstance(p, click.Option) and p.name not in _COMMON and not p.hidden]
    if options:
        yield "| Option | Meaning |"
        yield "|---|---|"
        for option in options:
            names, text = option.get_help_record(ctx) or ("", "")
            yield f"| `{_cell(names)}` | {_cell(text)} |"
        yield ""
    if isinstance(command, click.Group):
        for child in command.list_commands(ctx):
            found = command.get_command(ctx, child)
            assert found is not None, child
            yield from _command(found, child, ctx)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def errors() -> str:
    """Every error by its code: what it means, how the command line and HTTP say it."""
    lines = [
        "# Errors",
        "",
        "Written by `docs/reference.py` from `core/errors.py`; change that, then run `make docs`.",
        "",
        "An error has four parts: what happened with its code, the cause, the fix as a command where there is one, and",
        "`modelyard explain CODE`. Over HTTP the same error is an RFC 9457 problem (`application/problem+json`) with",
        "`type` (the kind), `title`, `status`, `detail`, `instance` (the request's id), `code`, `cause`, `hint` and",
        '`facts`; on the routes of the Open Inference Protocol it is `{"error": "..."}`, as that protocol says.',
        "",
        "| Code | Kind | Exit | HTTP | Meaning |",
        "|---|---|---|---|---|",
    ]
    for code, cls in sorted(catalogue().items()):
        first = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
        lines.append(f"| `{code}` | {cls.kind} | {_exit(cls)} | {status(cls)} | {first} |")
    return "\n".join(lines) + "\n"


def _exit(cls: type[ModelyardError]) -> int:
    """The exit code of the class: it depends on nothing that an instance knows."""
    return exit_code(cls.__new__(cls))


def main() -> int:
    """Write both files, or with ``--check`` say which of them is out of date."""
    stale = [name for name, text in (("cli.md", cli()), ("errors.md", errors())) if not _same(DOCS / name, text)]
    if "--check" in sys.argv:
        for name in stale:
            print(f"docs/{name} is out of date; fix: make docs", file=sys.stderr)
        return bool(stale)
    for name, text in (("cli.md", cli()), ("errors.md", errors())):
        (DOCS / name).write_text(text, encoding="utf-8")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
