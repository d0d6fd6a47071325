"""API keys: how they look, and what is kept of them. Nothing that is kept can be used as a key.

A key is ``my_ENV_ID_SECRET_CHECK``. The id is public and names the key's row; the secret is 256 random bits, which
need no slow hash: nobody guesses 2^256. What is kept is its HMAC under a pepper that lies outside the database, so that
a stolen database, or a row written into one, opens nothing. The check lets a client, or a scanner for leaked secrets,
tell a key from a typing error without asking anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from typing import NamedTuple

from modelyard.core.errors import Unauthenticated

PREFIX = "my"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID, _SECRET, _CHECK = 10, 43, 6
_KEY = re.compile(
    rf"{PREFIX}_([a-z0-9]{{1,16}})_([0-9a-z]{{{_ID}}})_([0-9A-Za-z]{{{_SECRET}}})_([0-9A-Za-z]{{{_CHECK}}})"
)
LONGEST = len(PREFIX) + 16 + _ID + _SECRET + _CHECK + 4


class Key(NamedTuple):
    """A key, taken apart."""

    environment: str
    id: str
    secret: str

    def __str__(self) -> str:
        body = f"{PREFIX}_{self.environment}_{self.id}_{self.secret}"
        return f"{body}_{_check(body)}"

    def __repr__(self) -> str:
        return f"<Key {self.id}>"  # logs and tracebacks show it


def mint(environment: str, key_id: str | None = None) -> Key:
    """A new key of this environment (1 to 16 of a-z and 0-9), or a new secret for one that there is."""
    return Key(environment, key_id or _random(_ALPHABET[:10] + _ALPHABET[36:], _ID), _random(_ALPHABET, _SECRET))


def parse(text: str) -> Key:
    """The parts of a key.

    Raises
    ------
    Unauthenticated
        It is no key, or was mistyped. The text is not repeated.
    """
    found = _KEY.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        raise Unauthenticated(what="the key does not look like one", hint=f"keys begin with {PREFIX}_")
    if _check(text[: -_CHECK - 1]) != found[4]:
        raise Unauthenticated(what="the key was mistyped or cut: its check does not fit")
    return Key(found[1], found[2], found[3])


def digest(pepper: bytes, secret: str) -> str:
    """What is kept of a secret: its HMAC-SHA256 under the pepper, in hex."""
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


def equal(one: str, other: str) -> bool:
    """Whether two digests are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)


def _check(body: str) -> str:
    """CRC-32 in base 62, of six characters; it finds typing errors and protects nothing."""
    number, digits = zlib.crc32(body.encode()), []
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _random(alphabet: str, length: int) -> str:
    import secrets  # noqa: PLC0415 - workers read keys and make none

    return "".join(secrets.choice(alphabet) for _ in range(length))
