"""What two ends agree to, with real handshakes in memory; certificates that change."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.guard import authority, tls
from modelyard.guard.authority import Pair
from modelyard.guard.certificates import Peer
from modelyard.guard.tls import GRPC, HTTP, Contexts, Files, ends, server_context

CA, ELSEWHERE = authority.authority(), authority.authority()


def write(folder: Path, name: str, pair: Pair) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    cert.write_bytes(pair.cert)
    key.write_bytes(pair.key)
    return cert, key


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(*write(tmp_path, "server", authority.certificate(CA, ["localhost"])))


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return write(tmp_path, "ca", CA)[0]


def client(ca: Path, *, alpn: str = HTTP, shows: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols([alpn])
    if shows:
        context.load_cert_chain(*shows)
    return context


def meet(
    asking: ssl.SSLContext, answering: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection that was agreed upon."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = asking.wrap_bio(back, there, server_hostname=name)
    theirs = answering.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ours.write(b"hello")
    assert theirs.read(5) == b"hello"
    return ours, theirs


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_tls_1_3_with_its_own_protocol(files: Files, ca: Path, protocol: str) -> None:
    ours, _ = meet(client(ca, alpn=protocol), server_context(files, protocol))
    assert ours.version() == "TLSv1.3"
    assert ours.selected_alpn_protocol() == protocol


def test_older_versions_are_refused_and_1_2_is_spoken_where_it_is_wanted(files: Files, ca: Path) -> None:
    old = client(ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        meet(old, server_context(files, HTTP))
    ours, _ = meet(old, server_context(replace(files, oldest="1.2"), HTTP))
    assert ours.version() == "TLSv1.2"
    cipher = ours.cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE")


def test_ciphers_without_forward_secrecy_are_refused(files: Files, ca: Path) -> None:
    weak = client(ca)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-GCM-SHA256:ECDHE+AES+SHA1")
    with pytest.raises(ssl.SSLError):
        meet(weak, server_context(replace(files, oldest="1.2"), HTTP))


def test_sessions_are_not_resumed(files: Files, ca: Path) -> None:
    ours, theirs = meet(client(ca), server_context(files, HTTP))
    theirs.write(b"x")
    assert ours.read(1) == b"x"
    assert ours.session is None or not ours.session.has_ticket


def test_who_shows_a_certificate_is_known_by_it(files: Files, ca: Path, tmp_path: Path) -> None:
    shown = write(tmp_path, "scorer", authority.certificate(CA, ["uri:spiffe://example.org/scorer"], client=True))
    for required in (False, True):
        context = server_context(replace(files, client_ca=ca, required=required), HTTP)
        _, theirs = meet(client(ca, shows=shown), context)
        peer = Peer.of(theirs.getpeercert())
        assert peer is not None
        assert peer.names == ("uri:spiffe://example.org/scorer",)


def test_who_shows_none_is_let_in_only_where_that_is_optional(files: Files, ca: Path) -> None:
    _, theirs = meet(client(ca), server_context(replace(files, client_ca=ca), HTTP))
    assert Peer.of(theirs.getpeercert()) is None
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        meet(client(ca), server_context(replace(files, client_ca=ca, required=True), HTTP))


@pytest.mark.parametrize("name", ["of another authority", "of a server", "that has ended"])
def test_a_certificate_that_proves_nothing_is_refused(
    files: Files, ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "that has ended":
        monkeypatch.setattr(authority, "LIFE", timedelta(minutes=-1))
    by = ELSEWHERE if name == "of another authority" else CA
    pair = authority.certificate(by, ["dns:scorer.example.org"], client=name != "of a server")
    context = server_context(replace(files, client_ca=ca), HTTP)
    with pytest.raises(ssl.SSLError):
        meet(client(ca, shows=write(tmp_path, "bad", pair)), context)


def test_when_a_certificate_ends_is_known(files: Files, ca: Path) -> None:
    for more in (files, replace(files, client_ca=ca, required=True), replace(files, oldest="1.2")):
        left = ends(server_context(more, HTTP), files.cert) - datetime.now(UTC)
        assert timedelta(days=396) < left <= authority.LIFE


def test_an_expired_certificate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority, "LIFE", timedelta(minutes=-1))
    old = Files(*write(tmp_path, "old", authority.certificate(CA, ["localhost"])))
    with pytest.raises(InvalidRequest, match="expired"):
        Contexts(old)


def test_a_clients_certificate_is_none_for_a_server(tmp_path: Path) -> None:
    wrong = Files(*write(tmp_path, "client", authority.certificate(CA, ["localhost"], client=True)))
    with pytest.raises(InvalidRequest, match="refused"):
        Contexts(wrong)


def test_new_files_are_what_new_connections_get(files: Files, ca: Path, tmp_path: Path) -> None:
    contexts = Contexts(files)
    assert not contexts.renew()
    before, old = contexts.http(), meet(client(ca), contexts.http())
    write(tmp_path, "server", authority.certificate(CA, ["localhost", "new.example.org"]))
    assert contexts.renew()
    assert not contexts.renew()
    meet(client(ca), contexts.http(), "new.example.org")
    meet(client(ca, alpn=GRPC), contexts.grpc(), "new.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(client(ca), before, "new.example.org")
    old[0].write(b"still")
    assert old[1].read(5) == b"still"


@pytest.mark.parametrize("broken", ["cert", "key", "pair", "gone", "expired"])
def test_broken_files_change_nothing_until_they_are_mended(
    files: Files, ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    contexts = Contexts(files)
    good, until = contexts.http(), contexts.until
    if broken in {"cert", "key"}:
        getattr(files, broken).write_bytes(b"-----BEGIN CERTIFICATE-----\nno\n")
    elif broken == "pair":
        files.key.write_bytes(authority.certificate(CA, ["localhost"]).key)
    elif broken == "gone":
        files.cert.unlink()
    else:
        with monkeypatch.context() as patch:
            patch.setattr(authority, "LIFE", timedelta(minutes=-1))
            write(tmp_path, "server", authority.certificate(CA, ["localhost"]))
    with pytest.raises((InvalidRequest, NotFound)):
        contexts.renew()
    assert not contexts.renew()  # it was said once
    assert contexts.http() is good
    assert contexts.until == until
    meet(client(ca), contexts.http())
    write(tmp_path, "server", authority.certificate(CA, ["localhost", "mended.example.org"]))
    assert contexts.renew()
    meet(client(ca), contexts.http(), "mended.example.org")


def test_an_authority_that_is_taken_out_is_believed_no_more(files: Files, ca: Path, tmp_path: Path) -> None:
    both = tmp_path / "authorities.pem"
    both.write_bytes(CA.cert + ELSEWHERE.cert)
    contexts = Contexts(replace(files, client_ca=both))
    shown = write(tmp_path, "there", authority.certificate(ELSEWHERE, ["dns:x.example.org"], client=True))
    meet(client(ca, shows=shown), contexts.http())
    both.write_bytes(CA.cert)
    assert contexts.renew()
    with pytest.raises(ssl.SSLError):
        meet(client(ca, shows=shown), contexts.http())


def test_an_encrypted_key_asks_nobody_for_its_password(files: Files) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    form, secret = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secret))
    with pytest.raises(InvalidRequest) as caught:
        server_context(files, HTTP)
    assert "encrypted" in caught.value.cause


@pytest.mark.parametrize("raw", [b"", b"nothing", CA.key])
def test_authorities_that_are_none_are_refused(files: Files, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "none.pem").write_bytes(raw)
    with pytest.raises(InvalidRequest, match="authority"):
        server_context(replace(files, client_ca=tmp_path / "none.pem"), HTTP)
    with pytest.raises(NotFound):
        server_context(replace(files, client_ca=tmp_path / "missing.pem"), HTTP)


def test_files_come_back_from_json(files: Files, ca: Path) -> None:
    for one in (files, replace(files, client_ca=ca, required=True, oldest="1.2")):
        told = {"cert": str(one.cert), "key": str(one.key), "client_ca": one.client_ca and str(one.client_ca)}
        assert Files.of({**told, "required": one.required, "oldest": one.oldest}) == one
    assert set(tls.OLDEST) == {"1.2", "1.3"}
