"""``modelyard doctor``: checks this installation, says how to mend it, exit code 1 when something failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import click

from modelyard.cli.errors import FAILED
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control.actions.doctor import DEFAULT_PORT, examine
from modelyard.control.actions.findings import Finding, State
from modelyard.core.settings import Settings

_COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red", State.SKIP: "bright_black"}


@click.command("doctor")
@click.option("--port", type=int, default=DEFAULT_PORT, show_default=True, help="Where a server would listen.")
@with_screen
def command(screen: Screen, settings: Settings, port: int) -> int:
    """Check this installation and say how to mend it; changes nothing."""
    findings: list[Finding] = []
    for finding in examine(settings, port=port):
        if not screen.as_json:
            _paint(screen, finding, new_group=not findings or findings[-1].group != finding.group)
        findings.append(finding)
    failed = any(finding.state is State.FAIL for finding in findings)
    screen.show({"ok": not failed, "findings": [asdict(finding) for finding in findings]}, _summary(findings))
    return FAILED if failed else 0


def _paint(screen: Screen, finding: Finding, *, new_group: bool) -> None:
    if new_group:
        screen.mark(finding.group, bold=True)
    screen.mark(f"  {finding.state:<6}", f" {finding.text}", fg=_COLOURS[finding.state])
    if finding.fix:
        screen.say(f"           fix: {finding.fix}")


def _summary(findings: list[Finding]) -> str:
    counts = Counter(finding.state for finding in findings)
    words = {
        State.FAIL: "failed",
        State.WARN: "warnings" if counts[State.WARN] > 1 else "warning",
        State.SKIP: "skipped",
    }
    troubles = [f"{counts[state]} {word}" for state, word in words.items() if counts[state]]
    return ", ".join(troubles) + "." if troubles else "Everything is well."
