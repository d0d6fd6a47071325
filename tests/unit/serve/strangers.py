"""Keys, and what somebody far away sends who has none: used with the real connections of both protocols."""

from __future__ import annotations

import time

from modelyard.core.identity import Role, scopes
from modelyard.guard import keys
from modelyard.guard.gate import KeyGate
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable

PEPPER = b"p" * 32
FAR, NEXT_DOOR, ELSEWHERE = "203.0.113.7", "203.0.113.8", "2001:db8:0:1::9"
#: One customer's addresses.
CUSTOMER = tuple(f"2001:db8::{host}" for host in (1, 2, "ffff:1", "%eth0"))


class Known:
    """A gate with two keys of predictors."""

    def __init__(self) -> None:
        self.right, self.new = keys.mint("live"), keys.mint("live")
        self.gate = KeyGate(KeyTable(keys=(_kept(self.right), _kept(self.new))), {1: PEPPER})

    def wrong(self) -> str:
        """A key that nobody has; every other time with the id of one that somebody has."""
        self._other = not getattr(self, "_other", False)
        return str(keys.mint("live", self.right.id) if self._other else keys.mint("live"))


def _kept(key: keys.Key) -> KeptKey:
    secret, may = KeptSecret(keys.digest(PEPPER, key.secret), 1), tuple(map(str, scopes(Role.PREDICTOR)))
    return KeptKey(id=key.id, name="x", scopes=may, secrets=(secret,), not_before_s=0, expires_s=time.time() + 3600)
