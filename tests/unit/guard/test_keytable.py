"""The key table: bytes and back, and nothing that is not one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable

TIMES = st.floats(0, 4e9)
SECRETS = st.builds(
    KeptSecret, st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(1, 9), st.none() | TIMES
)
KEYS = st.builds(
    KeptKey,
    id=st.text("ab12", min_size=10, max_size=10),
    name=st.text(min_size=1, max_size=20),
    scopes=st.lists(st.sampled_from(["model:*:predict", "server:keys"]), max_size=2).map(tuple),
    secrets=st.lists(SECRETS, max_size=2).map(tuple),
    not_before_s=TIMES,
    expires_s=TIMES,
    networks=st.lists(st.just("10.0.0.0/8"), max_size=1).map(tuple),
    rate=st.text(max_size=5),
)


@given(st.lists(KEYS, max_size=4, unique_by=lambda key: key.id))
def test_a_table_is_read_as_it_is_written(keys: list[KeptKey]) -> None:
    table = KeyTable(keys=tuple(keys))
    assert KeyTable.from_bytes(table.to_bytes()) == table
    assert table.to_bytes() == KeyTable.from_bytes(table.to_bytes()).to_bytes()


def document(**changes: Any) -> dict[str, Any]:
    kept = {
        "id": "ab12ab12ab",
        "name": "shop",
        "scopes": ["model:*:predict"],
        "secrets": [{"digest": "0" * 64, "pepper": 1}],
        "not_before_s": 0.0,
        "expires_s": 1.0,
    }
    return {"table_version": 1, "keys": [kept | changes]}


def test_a_table_without_what_has_a_default() -> None:
    (key,) = KeyTable.from_bytes(json.dumps(document()).encode()).keys
    assert (key.networks, key.rate, key.secrets[0].expires_s) == ((), "", None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"keys": 1}',
        b"[" * 100_000,
        json.dumps({"table_version": 2}).encode(),
        json.dumps({"table_version": 1, "more": 1}).encode(),
        json.dumps({"keys": document()["keys"] * 2}).encode(),
        json.dumps(document(expires_s="never")).encode(),
        json.dumps(document(admin=True)).encode(),
        json.dumps(document(secrets=[{"digest": "0" * 64, "pepper": 1, "secret": "x"}])).encode(),
        json.dumps({"keys": [{"id": "ab12ab12ab"}]}).encode(),
    ],
    ids=range(13),
)
def test_what_is_no_table_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="key table"):
        KeyTable.from_bytes(raw)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_refused(raw: bytes) -> None:
    try:
        KeyTable.from_bytes(raw)
    except InvalidRequest:
        return
    assert json.loads(raw).keys() <= {"table_version", "keys"}
