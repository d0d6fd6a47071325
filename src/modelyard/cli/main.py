"""Where the ``modelyard`` command begins: `serve` has its first worker on the way before anything else is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.serve.recruits import Recruit

#: The worker that was started ahead, for `serve` to take.
AHEAD: ContextVar[Recruit | None] = ContextVar("AHEAD", default=None)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the ``modelyard`` command."""
    words = sys.argv[1:] if argv is None else list(argv)
    recruit = _ahead(words)
    try:
        from modelyard.cli.root import root  # noqa: PLC0415 - 50 ms, in which the worker gets as far

        root.main(args=words, prog_name="modelyard", obj=os.environ)
    finally:
        if recruit is not None:
            recruit.dismiss()


def _ahead(words: Sequence[str]) -> Recruit | None:
    """A worker to be, when the words look as if one will be needed."""
    if words[:1] != ["serve"] or {"-h", "--help"} & set(words):
        return None
    from modelyard.serve.recruits import Recruit  # noqa: PLC0415 - other commands start no worker

    recruit = Recruit()
    AHEAD.set(recruit)
    return recruit
