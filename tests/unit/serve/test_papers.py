"""What a connection says of its client is looked at once, and proven again when the gate is another one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from modelyard.core.errors import Unauthenticated
from modelyard.guard.certificates import Bearer, Certificates
from modelyard.guard.gate import KeyGate, OpenGate
from modelyard.guard.keytable import KeyTable
from modelyard.serve.papers import Papers

SHOWN = {
    "subjectAltName": (("DNS", "scorer.example.org"),),
    "notAfter": datetime.fromtimestamp(datetime.now(UTC).timestamp() + 36_000, UTC).strftime("%b %d %H:%M:%S %Y GMT"),
}


class _Transport:
    def __init__(self, **known: Any) -> None:
        self._known = known
        self.asked: list[str] = []

    def get_extra_info(self, name: str) -> Any:
        self.asked.append(name)
        return self._known.get(name)


def papers(**known: Any) -> Papers:
    return Papers(_Transport(**known))  # type: ignore[arg-type]


def gate(*names: str) -> KeyGate:
    bearers = [Bearer(name=name, role="predictor") for name in names]
    return KeyGate(KeyTable(), {}, certificates=Certificates(bearers))


@pytest.mark.parametrize(
    ("peername", "address"), [(("10.0.0.1", 5), "10.0.0.1"), (("::1", 5, 0, 0), "::1"), ("", ""), (None, "")]
)
def test_where_it_comes_from(peername: Any, address: str) -> None:
    assert papers(peername=peername).address == address
    assert Papers(None).address == ""


def test_who_shows_a_certificate_is_known_by_it() -> None:
    shown, open_gate = papers(peercert=SHOWN), gate("dns:scorer.example.org")
    caller = shown.caller(open_gate)
    assert (caller.principal.name, caller.principal.method) == ("mtls:dns:scorer.example.org", "mtls")
    assert shown.caller(open_gate) is caller
    assert shown.caller(gate()) is not caller
    assert shown.caller(gate()).principal.scopes == frozenset()


def test_who_shows_none_is_not() -> None:
    with pytest.raises(Unauthenticated):
        papers().caller(gate())
    assert papers().caller(OpenGate()).principal.name == "local"
