"""What a command says: narration for people, one JSON document for programs, progress only on a terminal."""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress

_LABEL_WIDTH = 12
#: What moves a cursor, colours, or turns the direction of what follows. Much of what is said comes from somebody else:
#: a registry, a cluster, a container's log, a model's card.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CLEAR = "\x1b[K"  # to the end of the line


class Step(Protocol):
    """Told how far a long task is."""

    def __call__(self, done: float, total: float) -> None:
        """`done` of `total`, in the same unit; may be called often."""
        ...


class Screen:
    """One command's output.

    Parameters
    ----------
    as_json : bool
        Standard output is exactly one JSON document; narration and progress go to standard error.
    quiet : bool
        No narration; results and errors only.
    verbose : bool
        Errors also show where they came from.
    aside : bool
        Narration goes to standard error without JSON too: what is on standard output can be kept in a variable.
    """

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False, aside: bool = False
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self._aside = aside or as_json

    def beside(self) -> Screen:
        """The same screen with its narration on standard error."""
        return Screen(as_json=self.as_json, quiet=self.quiet, verbose=self.verbose, aside=True)

    def say(self, label: str, text: str = "") -> None:
        """One line of narration: ``Read        data.csv: 5 rows``; without a text, the label alone."""
        if not self.quiet:
            click.echo(plain(f"{label:<{_LABEL_WIDTH}}{text}" if text else label), err=self._aside)

    def mark(self, word: str, text: str = "", **style: Any) -> None:
        """One line of narration that begins with a word that stands out; see `click.style`."""
        if not self.quiet:
            click.echo(click.style(plain(word), **style) + plain(text), err=self._aside)

    def warn(self, text: str, fix: str = "") -> None:
        """A warning on standard error, with the command that mends it."""
        click.echo(click.style("warning: ", fg="yellow", bold=True) + plain(text), err=True)
        if fix:
            click.echo(f"  fix: {plain(fix)}", err=True)

    def next(self, *commands: str) -> None:
        """What one would type next."""
        if commands:
            self.say("Next: " + "   or   ".join(commands))

    def show(self, document: Any, text: str | None = None) -> None:
        """The result: `document` as JSON for programs, `text` for people (none: already narrated)."""
        if self.as_json:
            import json  # noqa: PLC0415 - only this branch needs it, and --help counts milliseconds

            text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False, default=str)
            click.echo(text.encode("utf-8", "backslashreplace"))
        elif text is not None:
            click.echo(plain(text))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
        """Columns of text, aligned; `right` names the columns to align right (numbers)."""
        cells = [[str(cell) for cell in row] for row in (header, *rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
        lines = (
            "  ".join(cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row))
            for row in cells
        )
        return "\n".join(line.rstrip() for line in lines)

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Whether to go on: `yes` when the flag was given, else ask on a terminal, else no."""
        if yes:
            return True
        if not sys.stdin.isatty() or self.as_json:
            return False
        return click.confirm(question, default=False, err=True)

    @contextmanager
    def progress(self, label: str) -> Iterator[Step]:
        """A bar on a terminal, silence elsewhere; gives a function to be told how far the task is."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total: None
            return
        with _bar(label) as bar:
            task = bar.add_task(f"{label:<{_LABEL_WIDTH - 1}}", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def doing(self) -> Iterator[Callable[[str], None]]:
        """One line on a terminal that says what is being done now, with -v a line each; silence elsewhere."""
        if self.verbose:
            yield lambda text: click.echo(plain(text), err=True)
        elif self.quiet or not sys.stderr.isatty():
            yield lambda text: None
        else:
            width = shutil.get_terminal_size().columns - 1
            try:
                yield lambda text: click.echo(f"\r{_CLEAR}{plain(text)[:width]}", err=True, nl=False)
            finally:
                click.echo(f"\r{_CLEAR}", err=True, nl=False)


def plain(text: str) -> str:
    """The text without anything that a terminal obeys; lines and tabs stay."""
    return _OBEYED.sub("", text)


def _finite(value: Any) -> Any:
    """NaN and infinity as null, which JSON can carry."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _bar(label: str) -> Progress:
    from rich.console import Console  # noqa: PLC0415 - rich is drawn with, so it is imported, only on a terminal
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    del label
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
