"""Whose signatures count, for which models: the words that a serving plan and the control plane share."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from modelyard.core.errors import InvalidName
from modelyard.core.identity import Permission, Scope, Verb, parse_scope

#: As many characters of a key's id as people are shown.
SHORT = 16


class Policy(StrEnum):
    """What becomes of a version without a signature that counts."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


class TrustedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """A public key whose signatures count.

    Parameters
    ----------
    id : str
        sha256 of the raw public key, in hex.
    models : str
        For which models: a name in which ``*`` stands for any number of characters.
    public : str
        The key itself, as PEM.
    """

    id: str
    models: str
    public: str

    def counts_for(self, model: str) -> bool:
        """Whether the model of this name is one that it is trusted for."""
        return Scope(Verb.PUBLISH, self.models).covers(Permission(Verb.PUBLISH, model))


class Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a version has to show to be served.

    Parameters
    ----------
    policy : Policy
        Whether anything is asked for at all.
    keys : tuple of TrustedKey
        Whose signatures count.
    minimums : dict of str to int
        By model, the least version that its signature may name: what was signed before is not served again.
    """

    policy: Policy = Policy.OFF
    keys: tuple[TrustedKey, ...] = ()
    minimums: dict[str, int] = {}


def check_pattern(models: str) -> str:
    """The pattern when it can be a key's `models`, else `InvalidName`."""
    try:
        return parse_scope(f"model:{models}:{Verb.PUBLISH}").models
    except InvalidName:
        cause = "a model's name, in which '*' stands for any number of characters"
        raise InvalidName(name=models[:80], what="models", suggestion="fraud-*", cause=cause) from None
