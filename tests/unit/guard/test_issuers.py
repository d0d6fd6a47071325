"""The operator's file of issuers, and the table that replicas read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.core.identity import Role
from modelyard.guard import issuers
from modelyard.guard.issuers import Claim, FetchedKeys, Issuer, IssuerTable

FIELDS: dict[str, Any] = {
    "url": "https://login.example.com/",
    "audience": "modelyard",
    "jwks": "https://x.example/keys",
}
_TEXTS = st.text(min_size=1, max_size=40).filter(str.isprintable)


@given(st.lists(st.tuples(_TEXTS, _TEXTS, st.sampled_from(Role)), max_size=3), _TEXTS)
def test_a_file_says_again_what_was_written(claims: list[tuple[str, str, Role]], audience: str) -> None:
    worth = tuple(Claim(path=path, value=value, role=role, models="a-*") for path, value, role in claims)
    known = (
        issuers.make({**FIELDS, "audience": audience, "claim": worth}),
        issuers.make({**FIELDS, "url": "two", "algorithms": ["EdDSA"], "types": [""]}),
    )
    assert issuers.read(issuers.write(known)) == known


def test_an_empty_file_trusts_nobody() -> None:
    assert issuers.read(b"") == ()
    assert issuers.write(()) == b""


@pytest.mark.parametrize(
    "jwks", ["https://login.example.com/keys?x=1", "http://127.0.0.1:9/k", "http://localhost/k", "http://[::1]:8/k"]
)
def test_keys_come_encrypted_or_from_this_machine(jwks: str) -> None:
    assert issuers.make({**FIELDS, "jwks": jwks}).jwks == jwks


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jwks", "http://login.example.com/keys"),
        ("jwks", "http://169.254.169.254/latest"),
        ("jwks", "ftp://login.example.com/keys"),
        ("jwks", "file:///etc/passwd"),
        ("jwks", "https://user:password@login.example.com/"),
        ("jwks", "https://"),
        ("jwks", "https://[::1"),
        ("jwks", "https://x.example/\r\nhost: y"),
        ("jwks", "https://x.example:99999/"),
        ("url", ""),
        ("url", "a" * 121),
        ("url", "a\nb"),
        ("url", "https://login.example.com/#ada"),
        ("types", ["JWT", "\x7f"]),
        ("ca", "\x7f.pem"),
        ("ca", "\udcff.pem"),
        ("audience", ""),
        ("algorithms", ["HS256"]),
        ("algorithms", ["none"]),
        ("algorithms", []),
        ("types", []),
        ("claim", [{"path": "x", "value": "y", "role": "root"}]),
        ("claim", [{"path": "x", "value": "y", "role": "admin", "models": "A"}]),
        ("claim", [{"path": "", "value": "y", "role": "admin"}]),
        ("more", 1),
    ],
)
def test_an_issuer_that_would_be_unsafe_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest):
        issuers.make({**FIELDS, field: value})


@pytest.mark.parametrize("raw", [b"[issuer", b"\xff", b"x = 1", b'[[issuer]]\nurl = "a"'])
def test_a_file_that_cannot_be_read_says_so(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"issuers\.toml"):
        issuers.read(raw)


def test_an_issuer_is_there_once() -> None:
    one = Issuer(**FIELDS)
    with pytest.raises(InvalidRequest, match="twice"):
        issuers.read(issuers.write((one, one)))


def test_the_table_comes_back() -> None:
    table = IssuerTable(issuers=(Issuer(**FIELDS),), jwks={FIELDS["url"]: FetchedKeys('{"keys":[]}', 5.0)})
    assert IssuerTable.from_bytes(table.to_bytes()) == table


@pytest.mark.parametrize("raw", [b"", b"{", b'{"table_version": 2}', b'{"more": 1}', b"\xff", b"[" * 100_000])
def test_a_table_that_is_none_says_so(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="table of issuers"):
        IssuerTable.from_bytes(raw)


def test_an_address_to_fetch_from_is_checked() -> None:
    issuers.check_address("https://login.example.com")
    with pytest.raises(InvalidRequest, match="https"):
        issuers.check_address("http://login.example.com")


def test_whoever_writes_a_table_cannot_leave_out_the_checks() -> None:
    raw = msgspec.json.encode({"issuers": [{**FIELDS, "jwks": "http://10.0.0.1/"}]})
    with pytest.raises(InvalidRequest):
        IssuerTable.from_bytes(raw)
