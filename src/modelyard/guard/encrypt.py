"""Encryption at rest, as it is configured: whether it is on, and where the master key is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from modelyard.core.errors import StoreDamaged
from modelyard.core.settings import Settings
from modelyard.guard.keysources import CommandSource, EnvironmentSource, FileSource
from modelyard.guard.masterkeys import Source
from modelyard.store import files

_KEY = "master.key"
_WRAPPED = "master.key.wrapped"


class Kept(StrEnum):
    """Where master keys are kept."""

    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND = "command"


class Encryption(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration of one home.

    Parameters
    ----------
    on : bool
        Whether what is stored from now on is encrypted. What is encrypted can be read either way.
    kept : Kept
        Where master keys are.
    command : tuple of str
        The operator's command and its arguments, when one unwraps them.
    """

    on: bool = False
    kept: Kept = Kept.FILE
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.kept is Kept.COMMAND) != bool(self.command):
            raise ValueError("a command belongs to keys that a command unwraps, and to no others")


def read(path: Path) -> Encryption:
    """As it is now; off when nothing was ever said. `StoreDamaged` when it cannot be read: that is not off."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Encryption)
    except FileNotFoundError:
        return Encryption()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise StoreDamaged(what=f"{path.name} is not valid: {exc}") from exc
    except OSError as exc:
        raise files.refused(exc, path.parent) from exc


def save(path: Path, encryption: Encryption) -> None:
    """Say so from now on, to every process that has the home open."""
    try:
        files.replace(path, msgspec.json.format(msgspec.json.encode(encryption), indent=2) + b"\n")
    except OSError as exc:
        raise files.refused(exc, path.parent) from exc


def source(settings: Settings, encryption: Encryption) -> Source:
    """Where this configuration keeps the home's master keys."""
    if encryption.kept is Kept.ENVIRONMENT:
        return EnvironmentSource(settings.master_key)
    if encryption.kept is Kept.COMMAND:
        return CommandSource(encryption.command, settings.secrets / _WRAPPED)
    return FileSource(settings.secrets / _KEY)
