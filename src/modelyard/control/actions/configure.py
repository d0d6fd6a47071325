"""Files that an operator configures: changed together with their record in the audit log, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from modelyard.control.actions import pending
from modelyard.control.actions.home import Home
from modelyard.core.errors import Forbidden, ModelyardError, Unavailable
from modelyard.core.identity import Permission, Verb
from modelyard.store import files

_CONFIGURE = Permission(Verb.CONFIGURE)


def check_may(home: Home, wanted: Permission = _CONFIGURE) -> None:
    """`Forbidden` when the actor may not do this; to configure this installation, unless something else is named."""
    if not home.actor.may(wanted):
        what = f"model {wanted.model!r}" if wanted.of_models else "this server"
        raise Forbidden(who=home.actor.name, verb=str(wanted.verb), what=what, scope=str(wanted.scope))


def read(path: Path) -> bytes:
    """The file's bytes; none when there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name}", cause=exc.strerror, hint=files.HOME_HINT) from exc


def change(
    home: Home,
    path: Path,
    act: tuple[str, str],
    rewrite: Callable[[bytes], bytes],
    detail: Mapping[str, str] | None = None,
) -> None:
    """Rewrite a file and record that, one writer at a time.

    Parameters
    ----------
    home : Home
        Whose actor does it.
    path : Path
        The file, in the home.
    act : tuple of str and str
        Noun and verb, and what it is about.
    rewrite : callable
        From the bytes that are there, none at first, to those that are to be; what it raises is recorded too.
    detail : mapping, optional
        What else the record keeps.

    Raises
    ------
    Forbidden
        The actor may not.
    """
    aside, number = pending.aside(path)
    try:
        with home.change(*act) as (connection, record):
            check_may(home)
            pending.settled(connection, path.parent)
            files.replace(aside, rewrite(read(path)))
            record(act[1], {**(detail or {}), "change": number})
    except BaseException:
        with suppress(ModelyardError):
            pending.settle(path.parent, home.database)
        raise
    pending.put(aside)
