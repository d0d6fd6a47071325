"""An address that is written otherwise is another address, or none: it never has another permission."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.identity import Role
from modelyard.guard import keys
from modelyard.guard.gate import KeyGate
from modelyard.guard.keytable import KeyTable
from modelyard.serve.http.contracts import CONTRACTS
from tests.models import linear_bundle
from tests.unit.serve.desk import Desk, served
from tests.unit.serve.http.test_admission import PEPPER, PUBLIC, _bearer, _row

COUNT = 2000
_INSIDE = (
    "//", "/./", "/../", "/%2e%2e/", "/%2e/", "%2f", "%2F", "%5c", "\\", "/;/", ";x", ";x=y/", "%00", "%0a", "%0d%0a",
    "%09", "%20", "+", ".", "..", "...", "%2e", "%252e%252e", "%252f", "%c0%af", "%c0%ae%c0%ae/", "%e0%80%af",
    "%ef%bc%8f", "\xc0\xaf", "\xef\xbc\x8f", "@", ":", "~", "*", "'", '"', "<", "|", "^", "%", "%zz", "%u002f", "#",
    "?", "&", "//evil.example/",
)  # fmt: skip


def _written_otherwise(address: str, chance: random.Random) -> str:
    """This address, changed in one to three of the ways that parsers are known to disagree about."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(1, len(address))
        way = chance.randrange(7)
        if way == 0:
            address = address[:at] + chance.choice(_INSIDE) + address[at:]
        elif way == 1:
            address = address.replace("/", chance.choice(_INSIDE[:12]), chance.randint(1, 2))
        elif way == 2:
            address = address + chance.choice(
                ("/", "/.", ".", "%20", "%00", ";", ";.css", "/..", ".json", "%3f", "\xa0")
            )
        elif way == 3:
            address = "".join(char.swapcase() if chance.random() < 0.3 else char for char in address)
        elif way == 4:
            address = address[: at - 1] + f"%{ord(address[at - 1]):02x}" + address[at:]
        elif way == 5:
            address = (
                chance.choice(("/livez/..", "/docs.css/..", "/.", "/livez;", "/v2/..", "/ping/%2e%2e", "//")) + address
            )
        else:
            address = chance.choice(("/livez?", "/docs.css#", "/v2%3f", "/ping;")) + address
    return address


@pytest.mark.row("NET-06")
def test_two_thousand_addresses_open_nothing(tmp_path: Path, record_property: Any) -> None:
    """Asked by a stranger, and by somebody who may everything with another model."""
    key = keys.mint("live")
    gate = KeyGate(KeyTable(keys=(_row(key, Role.DEPLOYER, "another"),)), {1: PEPPER})
    desk = Desk(tmp_path, contracts=tuple(CONTRACTS), gate=gate)
    desk.serve(served(desk.page, linear_bundle(), aliases={"production": 1}))
    protected = sorted(path.decode() for path in desk.routes._table if path.decode() not in PUBLIC)
    chance, asked, bypasses, statuses = random.Random(6), 0, [], set()
    while asked < COUNT:
        address = _written_otherwise(chance.choice(protected).replace("{", "").replace("}", ""), chance)
        plain = address.partition("?")[0].partition("#")[0]
        if " " in address or plain in PUBLIC or plain == "/metrics":
            continue
        asked += 1
        method = chance.choice(("GET", "POST"))
        body = b"" if method == "GET" else b'{"feature": 3}'
        for who in ({}, _bearer(key)):
            status = desk.ask(method, address, body, **who).status
            statuses.add(status)
            if status < 400 or status >= 500:
                bypasses.append((method, address, status, bool(who)))
    record_property("number", f"{len(bypasses)} bypasses of {asked:,} addresses")
    assert bypasses == []
    assert {401, 403, 404} <= statuses


@pytest.mark.parametrize(
    "way", ["@nosuch/predict", "@9/predict", "/versions/9/predict", "/nosuch", "@/predict", "/predict", ""]
)
def test_what_there_is_of_a_model_is_for_those_it_concerns(tmp_path: Path, way: str) -> None:
    """Aliases and versions are; to others it looks like a model that is not there."""
    insider, other = keys.mint("live"), keys.mint("live")
    table = KeyTable(keys=(_row(insider, Role.PREDICTOR, "linear"), _row(other, Role.PREDICTOR, "another")))
    desk = Desk(tmp_path, gate=KeyGate(table, {1: PEPPER}))
    desk.serve(served(desk.page, linear_bundle(), aliases={"production": 1}))
    said = [desk.ask("POST", f"/models/{name}{way}", {}, **_bearer(other)) for name in ("linear", "missing")]
    assert [answer.status for answer in said] == [403, 403]
    assert {answer.json["detail"].replace("linear", "missing") for answer in said} == {said[1].json["detail"]}
    assert not any("production" in str(answer.json) for answer in said)
    if way == "@nosuch/predict":
        assert "production" in str(desk.ask("POST", f"/models/linear{way}", {}, **_bearer(insider)).json)
