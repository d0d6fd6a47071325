"""What a server process may not do, noticed by the interpreter itself; every server of the suite is watched so."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Watch:
    """The processes that one server consists of, and what they did that none should do."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="watched-"))

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """These variables, and those by which `sitecustomize` is found and told where to write."""
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [environ.get("PYTHONPATH")])])
        return {**environ, "PYTHONPATH": path, "WATCHED": str(self.folder)}

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for file in self.folder.iterdir() for line in file.read_text().splitlines()]

    @property
    def processes(self) -> list[list[str]]:
        """Command lines."""
        return [line["process"] for line in self._lines() if "process" in line]

    @property
    def events(self) -> list[dict[str, Any]]:
        """What nobody should have done."""
        return [line for line in self._lines() if "event" in line]

    def done(self) -> None:
        """The server has ended: fail when anything was noticed."""
        if not self.folder.exists():
            return
        events = self.events
        told = "\n".join(f"{item['role']}: {item['event']} {item['arguments']}\n{item['stack']}" for item in events)
        shutil.rmtree(self.folder)
        assert not events, f"{len(events)} event(s) that no server process may cause:\n{told}"
