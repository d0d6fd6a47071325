"""Lines of JSON, as a verb hands them out: to a file, to standard output, or as one document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from modelyard.cli.screen import Screen


def hand_out(screen: Screen, found: Sequence[Any], file: Path | None, unit: str) -> None:
    """Write these to the file, where one was named, and say how many there were; `unit` is what one of them is."""
    from modelyard.store import files  # noqa: PLC0415 - for those who name a file

    if file is not None:
        files.hand_out(file, "".join(f"{json.dumps(one)}\n" for one in found).encode())
        screen.say("Exported", f"{len(found)} {unit}(s) to {file}, for you alone")
        screen.show({"path": str(file), f"{unit}s": len(found)})
    elif screen.as_json:
        screen.show(found)
    else:
        for one in found:
            click.echo(json.dumps(one))
