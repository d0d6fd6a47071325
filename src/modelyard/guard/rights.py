"""Rights: what somebody may who has no key of ours, and how a file says so that people read."""

from __future__ import annotations

import json

import msgspec

from modelyard.core.errors import InvalidName, ModelyardError
from modelyard.core.identity import Role, Scope, parse_scope, scopes


class Rights(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A role, and for which models.

    Parameters
    ----------
    role : Role
        What may be done.
    models : str
        Name of a model, in which ``*`` stands for any number of characters.
    """

    role: Role
    models: str = "*"

    def __post_init__(self) -> None:
        try:
            parse_scope(f"model:{self.models}:read")
        except ModelyardError:
            raise ValueError(f"{self.models[:80]!r} is no name of models") from None

    @property
    def scopes(self) -> frozenset[Scope]:
        """All that it allows."""
        return scopes(self.role, self.models)


def parse_rights(text: str) -> Rights:
    """Read ``predictor`` or ``predictor:fraud-*``; `InvalidName` when it is neither."""
    role, colon, models = text.partition(":")
    try:
        return Rights(role=Role(role), models=models if colon else "*")
    except ValueError:
        raise InvalidName(
            name=text[:80],
            what="a role with its models",
            suggestion="predictor:*",
            cause=f"ROLE or ROLE:MODELS; roles are {', '.join(Role)}",
        ) from None


def to_toml(name: str, item: msgspec.Struct) -> str:
    """One table of an array of tables: texts and lists of them; what is a table itself is left out."""
    fields = {key: value for key, value in msgspec.to_builtins(item).items() if _is_plain(value)}
    # A text of JSON is one of TOML too, so long as it is printable; nothing else is ever kept here.
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return "\n".join([f"[[{name}]]", *lines]) + "\n"


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value))
