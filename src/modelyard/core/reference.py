"""Names of models and aliases, and references to a version: ``name``, ``name@7``, ``name@canary``."""

from __future__ import annotations

import re

import msgspec

from modelyard.core.errors import InvalidName

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX = 63
_DIGITS = 9  # more versions than that nobody publishes


class Reference(msgspec.Struct, frozen=True):
    """Which version is meant. With neither version nor alias: `production` if it is set, else the latest."""

    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}@{self.version}"
        return f"{self.name}@{self.alias}" if self.alias else self.name


def check_name(name: str, what: str = "a model") -> str:
    """The name when it is a DNS label, else `InvalidName` with the nearest legal one as its hint."""
    if _LABEL.fullmatch(name):
        return name
    raise InvalidName(name=name[:80], what=what, suggestion=suggest_name(name))


def check_alias(alias: str) -> str:
    """The alias when it is a DNS label that cannot be mistaken for a version number."""
    if alias.isdigit() and alias.isascii():
        raise InvalidName(
            name=alias[:80],
            what="an alias",
            suggestion=suggest_name(f"v{alias}"),
            cause="a number after '@' means a version",
        )
    return check_name(alias, "an alias")


def suggest_name(name: str) -> str:
    """The legal name nearest to `name`: ``linear_regression`` -> ``linear-regression``."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_MAX].strip("-")
    return label or "model"


def parse_reference(text: str) -> Reference:
    """Read ``name``, ``name@7`` or ``name@alias``; `InvalidName` when it is none of them."""
    name, at, rest = text.partition("@")
    check_name(name)
    if not at:
        return Reference(name)
    if rest.isdigit() and rest.isascii() and len(rest) <= _DIGITS and int(rest) > 0:
        return Reference(name, version=int(rest))
    if rest == "latest":
        return Reference(name, alias="latest")
    return Reference(name, alias=check_alias(rest))
