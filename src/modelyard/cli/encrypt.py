"""``modelyard encrypt ...``: bytes at rest encrypted or not, with which master keys."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.encrypt import State
    from modelyard.control.actions.home import Home

_KEPT = ("file", "environment")


@click.group("encrypt")
def command() -> None:
    """Encrypt what is stored: turn it on or off, see how it is, rotate the master key.

    All of it can be done while models are served. What was interrupted is finished by the same command.
    """


def _home(settings: Settings) -> Home:
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - ``--help`` needs no database

    return open_home(settings)


@command.command()
@click.option(
    "--key",
    type=click.Choice(_KEPT),
    help="Keep the master key in a file of the home, or in MODELYARD_MASTER_KEY.  [default: as before, else file]",
)
@click.option("--command", "unwrap", help="Keep it wrapped by a command of yours, run as COMMAND wrap|unwrap.")
@with_screen
def on(screen: Screen, settings: Settings, key: str | None, unwrap: str | None) -> None:
    """Encrypt all models that are stored, now and from now on.

    \b
    modelyard encrypt on
    modelyard encrypt on --key environment
    modelyard encrypt on --command "/usr/local/bin/our-kms --key models"
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions import encrypt as act  # noqa: PLC0415 - as above
    from modelyard.guard.encrypt import Kept  # noqa: PLC0415 - as above

    if key and unwrap:
        raise click.UsageError("give --key or --command, not both")
    home = _home(settings)
    kept = Kept.COMMAND if unwrap else Kept(key) if key else None
    with screen.progress("Encrypting") as step:
        done = act.turn_on(home, kept, shlex.split(unwrap or ""), step)
    state = act.look(home)
    screen.say("Encrypted", f"{done} blob(s); what is stored from now on will be")
    if state.encryption.kept is not Kept.ENVIRONMENT:
        screen.say("Keep", f"a copy of {settings.secrets} elsewhere: without it nothing can be read")
    _warn_of_swap(screen, state)
    screen.show({"on": True, "key": str(state.encryption.kept), "encrypted": done})


@command.command()
@with_screen
def off(screen: Screen, settings: Settings) -> None:
    """Decrypt all that is stored. Master keys stay, for backups that need them."""
    from modelyard.control.actions import encrypt as act  # noqa: PLC0415 - as above

    with screen.progress("Decrypting") as step:
        done = act.turn_off(_home(settings), step)
    screen.say("Decrypted", f"{done} blob(s)" if done else "nothing was encrypted")
    screen.show({"on": False, "decrypted": done})


@command.command()
@click.option("--forget-old", is_flag=True, help="Forget the keys before it; backups made until now need them.")
@with_screen
def rotate(screen: Screen, settings: Settings, *, forget_old: bool) -> None:
    """Make a new master key and put all data keys under it; no model is written again."""
    from modelyard.control.actions import encrypt as act  # noqa: PLC0415 - as above

    with screen.progress("Rotating") as step:
        done = act.rotate(_home(settings), forget=forget_old, on_step=step)
    screen.say("Rotated", f"{done.blobs} blob(s) are under master key {done.current}")
    if done.forgotten:
        screen.say("Forgotten", ", ".join(done.forgotten))
    screen.show({"master": done.current, "blobs": done.blobs, "forgotten": list(done.forgotten)})


@command.command()
@with_screen
def status(screen: Screen, settings: Settings) -> None:
    """Say what is encrypted, and with which master keys."""
    from modelyard.control.actions import encrypt as act  # noqa: PLC0415 - as above

    state = act.look(_home(settings))
    screen.show(_document(state), _text(state))
    if state.trouble:
        screen.warn(state.trouble)
    for name in state.missing:
        screen.warn(f"master key {name} is needed by {state.masters[name]} blob(s) and not at hand")
    if state.encryption.on and state.plain:
        screen.warn(f"{state.plain} blob(s) are not encrypted yet", "modelyard encrypt on")
    if not state.encryption.on and state.encrypted:
        screen.warn(f"{state.encrypted} blob(s) are still encrypted", "modelyard encrypt off")
    _warn_of_swap(screen, state)


def _warn_of_swap(screen: Screen, state: State) -> None:
    if state.encryption.on and state.swap:
        screen.warn("this machine may write its memory to a disk", "swapoff -a, or encrypt the swap")


def _document(state: State) -> dict[str, object]:
    return {
        "on": state.encryption.on,
        "key": str(state.encryption.kept),
        "encrypted": state.encrypted,
        "plain": state.plain,
        "masters": state.masters,
        "missing": list(state.missing),
        "swap": state.swap,
    }


def _text(state: State) -> str:
    rows = [
        f"encryption   {'on' if state.encryption.on else 'off'}",
        f"blobs        {state.encrypted} encrypted, {state.plain} not",
    ]
    if state.masters:
        rows.append(f"master keys  kept in: {state.encryption.kept}")
        first = next(iter(state.masters))
        rows += [
            f"  {name}  {count} blob(s){', wraps what is new' if name == first and name not in state.missing else ''}"
            for name, count in state.masters.items()
        ]
    return "\n".join(rows)
