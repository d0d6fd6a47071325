"""What it costs a request that its caller is asked who it is: `python -m benchmarks.access WORK FILE`.

One worker's own objects, without sockets, answer w1's question: to nobody in particular on an open server, to a key and
to a token on a locked one. Once every request is the same to the last byte, as most clients send them, and once each
has a request id of its own, so that no head is known from the request before. All are measured in turns, the least of
their times counts, and what a credential costs is the difference to nobody's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import uvloop
from joserfc import jwt
from joserfc.jwk import ECKey

from benchmarks.desk import Desk, message, opened, turn
from benchmarks.process import SERVER_CORE, use
from benchmarks.results import Costs
from benchmarks.systems.modelyard import FIELDS
from modelyard.core.identity import Role, scopes
from modelyard.guard import keys
from modelyard.guard.gate import Gate, KeyGate, OpenGate
from modelyard.guard.issuers import Claim, FetchedKeys, Issuer, IssuerTable
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable
from modelyard.guard.tokens import Tokens

TOGETHER = (64, 1)
TURNS = 60
_PEPPER = b"p" * 32
_STRANGERS = 1000  # keys of others
_HEADS = 16_384  # many more than a server remembers
_ISSUER = "https://issuer.example"


@dataclass(frozen=True)
class Call:
    """Who calls: the gate, and the line that says it."""

    gate: Gate
    line: str


def calls() -> dict[str, Call]:
    """Nobody, a key, a token; the line of nobody is as long as that of a key."""
    key = keys.mint("live")
    gate = KeyGate(_table(key), {1: _PEPPER}, Tokens.of(_issuers(_SIGNS)).proven)
    return {
        "nobody asked": Call(OpenGate(), f"X-Unread-Lines: Bearer {key}"),
        "a key": Call(gate, f"Authorization: Bearer {key}"),
        "a token": Call(gate, f"Authorization: Bearer {_token()}"),
    }


_SIGNS = ECKey.generate_key("P-256", {"kid": "k1"})


def _table(key: keys.Key) -> KeyTable:
    now = datetime.now(UTC).timestamp()
    may = tuple(map(str, scopes(Role.PREDICTOR)))

    def kept(one: keys.Key) -> KeptKey:
        secret = KeptSecret(keys.digest(_PEPPER, one.secret), 1)
        return KeptKey(one.id, "shop", may, (secret,), not_before_s=now - 60, expires_s=now + 86_400)

    return KeyTable(keys=tuple(map(kept, [key, *(keys.mint("live") for _ in range(_STRANGERS))])))


def _issuers(key: ECKey) -> IssuerTable:
    known = json.dumps({"keys": [key.as_dict(private=False)]})
    issuer = Issuer(
        url=_ISSUER,
        audience="modelyard",
        jwks=f"{_ISSUER}/keys",
        claim=(Claim(path="role", value="app", role=Role.PREDICTOR),),
    )
    return IssuerTable(issuers=(issuer,), jwks={_ISSUER: FetchedKeys(known, datetime.now(UTC).timestamp())})


def _token() -> str:
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": _ISSUER, "aud": "modelyard", "sub": "alice", "role": "app", "iat": now, "exp": now + 86_400}
    return jwt.encode({"alg": "ES256", "kid": "k1", "typ": "JWT"}, claims, _SIGNS)


def measure(desk: Desk, plain: Sequence[bytes], *, together: int, turns: int = TURNS) -> dict[str, float]:
    """Microseconds a request of each caller; `plain` are the requests, without a word of who sends them."""
    return uvloop.run(_measure(desk, plain, together, turns))


async def _measure(desk: Desk, plain: Sequence[bytes], together: int, turns: int) -> dict[str, float]:
    known = {name: (call.gate, cycle([_with(each, call.line) for each in plain])) for name, call in calls().items()}
    links = [desk.connect() for _ in range(together)]
    least = dict.fromkeys(known, float("inf"))
    for _ in range(turns):
        for name, (gate, requests) in known.items():
            desk.routes.gate = gate
            least[name] = min(least[name], await turn(links, requests))
            assert all(b" 200 OK" in transport.last for _, transport in links), links[0][1].last
    return least


def _with(request: bytes, line: str) -> bytes:
    first, rest = request.split(b"\r\n", 1)
    return b"\r\n".join([first, line.encode(), rest])


def main(work: Path, out: Path) -> None:
    """Write what each caller costs, alone and in company."""
    use([SERVER_CORE])
    same = [message(FIELDS.exchanges["w1"], work)]
    ids = [_with(same[0], f"X-Request-Id: call-{number:08}") for number in range(_HEADS)]
    with opened(work / "home") as desk:
        found = [
            Costs(heads, together, measure(desk, requests, together=together))
            for heads, requests in (("the same head", same), ("an id of its own", ids))
            for together in TOGETHER
        ]
    out.write_text(json.dumps([asdict(one) for one in found], indent=1), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
