"""Who a client's certificate proves somebody to be."""

from __future__ import annotations

import pytest

from modelyard.core.errors import InvalidRequest, Unauthenticated
from modelyard.core.identity import Role, scopes
from modelyard.guard import certificates
from modelyard.guard.certificates import Bearer, Certificates, Peer

SCORER = Bearer(name="uri:spiffe://example.org/scorer", role=Role.PREDICTOR, models="fraud-*")
HOST = Bearer(name="dns:ci.example.org", role=Role.DEPLOYER)
SHOWN = {
    "subject": ((("commonName", "root"),),),
    "notAfter": "Nov 23 02:41:05 2027 GMT",
    "subjectAltName": (
        ("email", "root@example.org"),
        ("IP Address", "127.0.0.1"),
        ("DNS", "other.example.org"),
        ("URI", "spiffe://example.org/scorer"),
        ("DNS", "bad\x00.example.org"),
        ("DNS", "ü.example.org"),
    ),
}
ENDS_S = 1826937665.0


def test_only_hosts_and_uris_among_the_alternative_names_count() -> None:
    peer = Peer.of(SHOWN)
    assert peer == Peer(("dns:other.example.org", "uri:spiffe://example.org/scorer"), ENDS_S)


@pytest.mark.parametrize("shown", [None, {}])
def test_who_shows_none_is_no_peer(shown: dict[str, object] | None) -> None:
    assert Peer.of(shown) is None


def test_a_known_name_counts_before_others_and_may_the_sum() -> None:
    both = Certificates([SCORER, HOST, Bearer(name=SCORER.name, role=Role.AUDITOR)])
    peer = Peer.of(SHOWN)
    assert peer is not None
    principal, until_s = both.proven(peer, ENDS_S - 1)
    assert principal.name == "mtls:uri:spiffe://example.org/scorer"
    assert principal.method == "mtls"
    assert principal.scopes == scopes(Role.PREDICTOR, "fraud-*") | scopes(Role.AUDITOR)
    assert until_s == ENDS_S


def test_a_name_that_nobody_allowed_anything_is_known_and_may_nothing() -> None:
    principal, _ = Certificates([SCORER]).proven(Peer(("dns:new.example.org",), ENDS_S), 0)
    assert (principal.name, principal.scopes) == ("mtls:dns:new.example.org", frozenset())


def test_the_common_name_is_nobody() -> None:
    peer = Peer.of({**SHOWN, "subjectAltName": ()})
    assert peer is not None
    with pytest.raises(Unauthenticated, match="names nobody"):
        Certificates([Bearer(name="dns:root", role=Role.ADMIN)]).proven(peer, 0)


def test_a_certificate_that_ended_on_an_open_connection_opens_nothing() -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        Certificates([SCORER]).proven(Peer((SCORER.name,), ENDS_S), ENDS_S)


def test_the_file_says_again_what_was_written() -> None:
    assert certificates.read(certificates.write((SCORER, HOST))) == (SCORER, HOST)
    assert certificates.read(b"") == ()


@pytest.mark.parametrize(
    "raw",
    [
        b'[[certificate]]\nname = "scorer"\nrole = "admin"',
        b'[[certificate]]\nname = "dns:*.example.org"\nrole = "admin"',
        b'[[certificate]]\nname = "cn:root"\nrole = "admin"',
        b'[[certificate]]\nname = "dns:"\nrole = "admin"',
        b'[[certificate]]\nname = "dns:x"\nrole = "root"',
        b'[[certificate]]\nname = "dns:x"',
        b"[[certificate",
        b"\xff",
    ],
)
def test_a_file_that_cannot_be_read_says_so(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"certificates\.toml"):
        certificates.read(raw)
