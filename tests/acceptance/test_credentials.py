"""Whatever is sent as a credential: what is not known is refused, in a time that tells nothing; nothing breaks."""

from __future__ import annotations

import base64
import random
import socket
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import Unauthenticated
from modelyard.core.identity import Role, scopes
from modelyard.guard import keys as words
from modelyard.guard.gate import KeyGate
from modelyard.guard.grant import Grant
from modelyard.guard.keytable import KeyTable
from modelyard.guard.peppers import peppers
from tests.acceptance.serving import Served, home_with
from tests.acceptance.test_keys import modelyard
from tests.models import linear_bundle
from tests.provider import Provider

BODY = b'{"feature": 3}'
COUNT = 1000
SQL = [
    "' OR '1'='1",
    "'; DROP TABLE keys;--",
    '" UNION SELECT * FROM secrets--',
    "\\'; --",
    "1) OR (1=1",
    "%27%20OR%201",
]
FORMATS = ["%s%s%s%n", "{0.__class__}", "${jndi:ldap://x/a}", "{{7*7}}", "`id`", "$(id)", "%x" * 50, "{who}", "\\x00"]
ACCOUNTS = ["admin:admin", "admin:password1234", "root:root", "admin:", ":", "modelyard:modelyard", "user:pass:word"]
SCHEMES = [b"", b"Bearer ", b"bearer\t", b"Basic ", b"Digest ", b"Bearer Bearer ", b"Token ", b"ApiKey ", b"Negotiate "]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    modelyard(path, "init")
    publish(home_with(path), linear_bundle())
    return path


def _values(dice: random.Random, key: str) -> Iterator[bytes]:
    """Texts of every sort that have been tried on others, and everything near to a key that there is."""
    yield from (scheme + text.encode() for scheme in SCHEMES[:4] for text in SQL + FORMATS)
    yield from (b"Basic " + base64.b64encode(text.encode()) for text in ACCOUNTS)
    yield from (scheme + b"x" * size for scheme in SCHEMES[:2] for size in (1, 100, 4000, 8000, 15_000, 20_000, 65_000))
    yield from (scheme + key.encode() for scheme in (b"Basic ", b"Token ", b"Bearer Bearer ", b"Bearer x"))
    yield b"Bearer " + key.upper().encode()
    while True:
        kind = dice.randrange(6)
        scheme = dice.choice(SCHEMES)
        if kind == 0:  # one character of a real key changed
            at = dice.randrange(len(key))
            other = dice.choice(string.ascii_letters + string.digits)
            if other != key[at]:
                yield b"Bearer " + (key[:at] + other + key[at + 1 :]).encode()
        elif kind == 1:  # what looks like a key, with a check that fits
            yield b"Bearer " + str(words.mint("live", key.split("_")[2] if dice.random() < 0.5 else None)).encode()
        elif kind == 2:  # UTF-8 of every plane
            text = "".join(chr(dice.randrange(0xA0, 0xD7FF)) for _ in range(dice.randint(1, 60)))
            yield scheme + text.encode()
        elif kind == 3:  # bytes that are no UTF-8, control characters
            yield scheme + bytes(dice.randrange(256) for _ in range(dice.randint(1, 60)))
        elif kind == 4:  # three parts, as of a token
            yield scheme + b".".join(base64.urlsafe_b64encode(dice.randbytes(dice.randint(0, 60))) for _ in range(3))
        else:
            yield scheme + dice.choice(SQL + FORMATS).encode() * dice.randint(1, 40)


def _status(server: Served, value: bytes, name: bytes = b"authorization") -> int:
    """What one question with this header, as it is, on a socket of its own, is answered; 0 for nothing."""
    message = b"POST /predict HTTP/1.1\r\nhost: localhost\r\n%b: %b\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        try:
            sock.sendall(message % (name, value) + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY))
            first = sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return 0
    return int(first.split(b" ", 2)[1]) if first else 0


@pytest.mark.row("AUT-03")
def test_a_thousand_hostile_values_open_nothing_and_break_nothing(
    home: Path, record_property: Callable[[str, object], None]
) -> None:
    key = modelyard(home, "key", "create", "app").strip()
    values, found = _values(random.Random(5), key), Counter[int]()
    with Served(home, "--auth", "keys", "--drain-delay", "0") as server:
        workers = [worker.pid for worker in server.workers()]
        for number, value in zip(range(COUNT), values, strict=False):
            status = _status(server, value, b"authorization" if number % 4 else b"x-api-key")
            assert status in {400, 401, 431}, (status, value[:200])
            found[status] += 1
        assert _status(server, b"Bearer " + key.encode()) == 200
        assert [worker.pid for worker in server.workers()] == workers
    assert found[401] > COUNT * 0.7, found
    told = ", ".join(f"{count} x {status}" for status, count in sorted(found.items()))
    record_property("number", f"0 answers 5xx, 0 let in, of {COUNT:,} values ({told})")


def _gate(home: Home, key_id: str) -> tuple[KeyGate, str, str]:
    """A gate of these keys; a false secret of one that there is, and of one that there is not."""
    table = KeyTable.from_bytes(home.settings.keys.read_bytes())
    gate = KeyGate(table, peppers(home.settings.secrets))
    return gate, str(words.mint("live", key_id)), str(words.mint("live"))


def _refusal_s(gate: KeyGate, text: str, times: int = 40) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        try:
            gate.caller(None, text)
        except Unauthenticated:
            continue
        raise AssertionError("it was let in")
    return (time.perf_counter() - begun) / times


@pytest.mark.row("AUT-03")
@pytest.mark.parametrize("rounds", [150, pytest.param(20_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("rotating", [False, True], ids=["one secret", "two secrets"])
def test_a_refusal_takes_as_long_for_a_known_id_as_for_an_unknown_one(
    home: Path, rounds: int, rotating: bool, record_property: Callable[[str, object], None]
) -> None:
    """Medians of rounds that take turns, at the gate itself, where no network hides a difference."""
    opened = home_with(home)
    made = keys.create(opened, Grant(name="app", scopes=scopes(Role.PREDICTOR)))
    if rotating:
        keys.rotate(opened, "app")
    gate, known, unknown = _gate(opened, made.key.id)
    taken: dict[str, list[float]] = {known: [], unknown: []}
    for number in range(rounds):
        for text in (known, unknown) if number % 2 else (unknown, known):
            taken[text].append(_refusal_s(gate, text))
    one, other = (median(times) for times in taken.values())
    apart = abs(one - other) / max(one, other)
    limit = 0.05 if rounds > 1000 else 0.15  # a short run on a busy machine
    assert apart < limit, f"{1e6 * one:.2f} us and {1e6 * other:.2f} us"
    which = "two secrets" if rotating else "one secret"
    record_property("number", f"{100 * apart:.2f} % apart ({which}, {rounds:,} rounds; {1e6 * one:.1f} us a refusal)")


@pytest.mark.row("AUT-03")
def test_tokens_while_their_issuer_is_away_and_one_of_a_megabyte(
    home: Path, record_property: Callable[[str, object], None]
) -> None:
    with Provider() as provider:
        modelyard(
            home, "issuer", "add", provider.url, "--audience", "modelyard", "--claim", "team=risk", "predictor:lin*"
        )
        old = provider.token(team="risk")
        with Served(home, "--auth", "keys", "--drain-delay", "0") as server:
            assert _status(server, f"Bearer {old}".encode()) == 200
            provider.pages = {path: (503, {}, b"") for path in provider.pages}
            good = provider.token(team="risk", sub="bob")
            provider.rotate("k2")
            provider.pages = {path: (503, {}, b"") for path in provider.pages}
            strange = provider.token(team="risk", sub="carol")
            asked = [_status(server, f"Bearer {token}".encode()) for token in [good, strange] * 50]
            assert asked == [200, 401] * 50
            huge = [_status(server, b"Bearer " + b"a" * 333_333 + b"." + b"b" * 333_333 + b".c") for _ in range(5)]
            assert set(huge) <= {431, 0}, huge
            assert _status(server, f"Bearer {good}".encode()) == 200
    record_property("number", "issuer away: 50 of 50 known keys in, 50 of 50 unknown out; 5 of 5 of 1 MB out")
