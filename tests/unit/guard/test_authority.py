"""An authority of this machine, and what it signs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelyard.core.errors import InvalidName, InvalidRequest
from modelyard.guard import authority

CA = authority.authority()


def test_a_certificate_is_for_its_names() -> None:
    pair = authority.certificate(CA, ["localhost", "127.0.0.1", "::1", "model.example.org", "uri:spiffe://x/y"])
    shown = authority.show(pair.cert)
    assert shown.subject == "CN=localhost"
    assert shown.issuer == authority.show(CA.cert).subject
    assert set(shown.names) == {
        "dns:localhost", "dns:model.example.org", "ip:127.0.0.1", "ip:::1", "uri:spiffe://x/y"
    }  # fmt: skip
    assert shown.begins < datetime.now(UTC) < shown.ends
    assert shown.days_left == authority.LIFE.days - 1
    assert len(shown.digest) == 64


def test_each_certificate_has_a_key_and_a_number_of_its_own() -> None:
    one, other = (authority.certificate(CA, ["localhost"]) for _ in range(2))
    assert one.key != other.key
    assert authority.show(one.cert).digest != authority.show(other.cert).digest
    assert authority.fits(one.cert, one.key)
    assert not authority.fits(one.cert, other.key)


@pytest.mark.parametrize("name", ["", "a b", "ä.example.org", "x" * 251, "a\nb", "uri:"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        authority.certificate(CA, [name])


@pytest.mark.parametrize("raw", [b"", b"x", CA.key])
def test_what_is_no_certificate_says_so(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        authority.show(raw)
    with pytest.raises(InvalidRequest):
        authority.fits(CA.cert, b"x")


@pytest.mark.parametrize(
    "key", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", authority.authority().key]
)
def test_an_authority_whose_key_is_no_longer_its_own_says_so(key: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the authority's key") as caught:
        authority.certificate(authority.Pair(CA.cert, key), ["localhost"])
    assert "modelyard tls dev" in caught.value.hint
