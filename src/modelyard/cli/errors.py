"""Errors on a terminal: four parts (what, cause, fix, more), and the kind's exit code."""

from __future__ import annotations

import click

from modelyard.cli.screen import Screen, plain
from modelyard.core.errors import InvalidInput, InvalidName, Kind, ModelyardError, RolloutFailed

FAILED = 1
USAGE = 2
NOT_FOUND = 3
DENIED = 4
DOES_NOT_FIT = 5
HAS_CHANGES = 6
UNHEALTHY = 7
INTERRUPTED = 130

EXIT_CODES: dict[Kind, int] = {
    Kind.INVALID: FAILED,
    Kind.TOO_LARGE: DOES_NOT_FIT,
    Kind.UNSUPPORTED: FAILED,
    Kind.NOT_ALLOWED: FAILED,
    Kind.UNAUTHENTICATED: DENIED,
    Kind.DENIED: DENIED,
    Kind.NOT_FOUND: NOT_FOUND,
    Kind.CONFLICT: FAILED,
    Kind.NOT_READY: FAILED,
    Kind.BUSY: FAILED,
    Kind.LIMITED: FAILED,
    Kind.TIMEOUT: FAILED,
    Kind.UNAVAILABLE: FAILED,
    Kind.FULL: FAILED,
    Kind.INTERNAL: FAILED,
}


def exit_code(error: ModelyardError) -> int:
    """0 ok, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 input does not match the signature, 7 did not come up.

    6 is for a plan that has changes, where a command was asked to say so.
    """
    if isinstance(error, InvalidInput):
        return DOES_NOT_FIT
    if isinstance(error, RolloutFailed):
        return UNHEALTHY
    return USAGE if isinstance(error, InvalidName) else EXIT_CODES[error.kind]


def document(error: ModelyardError) -> dict[str, object]:
    """The error as the JSON that ``--json`` prints."""
    body = {
        "code": error.code,
        "kind": str(error.kind),
        "detail": error.detail,
        "cause": error.cause,
        "hint": error.hint,
    }
    facts = {key: value for key, value in error.facts.items() if key not in {"cause", "hint"}}
    return {"error": {**{key: value for key, value in body.items() if value}, "facts": facts}}


def report(error: ModelyardError, screen: Screen) -> int:
    """Print the error the way the command prints, and give its exit code."""
    code = exit_code(error)
    if screen.as_json:
        screen.show(document(error))
        return code
    click.echo(
        click.style(f"error[{error.code}]: ", fg="red", bold=True) + plain(f"{error.detail} (exit {code})"), err=True
    )
    for label, text in (("cause", error.cause), ("fix", error.hint), ("more", f"modelyard explain {error.code}")):
        if text:
            click.echo(plain(f"  {label + ':':<7}{text}"), err=True)
    return code
