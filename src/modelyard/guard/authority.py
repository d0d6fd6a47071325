"""A certificate authority of this machine alone, for development and for networks of one's own."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from modelyard.core.errors import InvalidName, InvalidRequest

#: How long authorities and certificates are valid.
AUTHORITY_LIFE, LIFE = timedelta(days=5 * 365), timedelta(days=397)
_BACKDATED = timedelta(minutes=5)  # for clocks that are behind
_LONGEST = 250
_ANEW = "remove ca.pem and ca-key.pem, make certificates again: modelyard tls dev; and let clients trust the new ca.pem"


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    cert: bytes
    key: bytes


@dataclass(frozen=True)
class Shown:
    """What a certificate says.

    Parameters
    ----------
    subject, issuer : str
        As RFC 4514 writes them.
    names : tuple of str
        ``dns:``, ``ip:`` and ``uri:`` names that it is for.
    begins, ends : datetime
        When it is valid.
    digest : str
        SHA-256 of it, in hex.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    digest: str

    @property
    def days_left(self) -> int:
        """Whole days until it ends; below 0 when it has."""
        return (self.ends - datetime.now(UTC)).days


def authority() -> Pair:
    """A new authority. Who trusts it trusts whatever its key signs, so that key stays on this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Modelyard development authority")])
    builder = _begun(name, name, key.public_key(), key.public_key(), AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _pair(builder.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256()), key)


def certificate(by: Pair, names: Sequence[str], *, client: bool = False) -> Pair:
    """A certificate for these names, signed by an authority.

    Parameters
    ----------
    by : Pair
        The authority.
    names : sequence of str
        Host names, addresses and URIs; the first host name is its common name too.
    client : bool
        Whether callers show it, or else servers.

    Raises
    ------
    InvalidName
        A name is none.
    InvalidRequest
        The authority cannot be read.
    """
    signer = _certificate(by.cert)
    try:
        signing = serialization.load_pem_private_key(by.key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise InvalidRequest(what="the authority's key cannot be read", hint=_ANEW) from exc
    if not isinstance(signing, ec.EllipticCurvePrivateKey):
        raise InvalidRequest(what="the authority's key is not one that Modelyard made", hint=_ANEW)
    if signing.public_key() != signer.public_key():
        raise InvalidRequest(what="the authority's key is another certificate's", hint=_ANEW)
    key = ec.generate_private_key(ec.SECP256R1())
    alternative = x509.SubjectAlternativeName([_name(name) for name in names])
    title = names[0].removeprefix("uri:")[:64]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        _begun(subject, signer.subject, key.public_key(), signing.public_key(), LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(alternative, critical=False)
    )
    return _pair(builder.sign(signing, hashes.SHA256()), key)


def show(cert: bytes) -> Shown:
    """What the first certificate of a PEM file says; `InvalidRequest` when there is none."""
    found = _certificate(cert)
    try:
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternative = x509.SubjectAlternativeName([])
    kinds = ((x509.DNSName, "dns"), (x509.IPAddress, "ip"), (x509.UniformResourceIdentifier, "uri"))
    return Shown(
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        names=tuple(f"{word}:{name.value}" for kind, word in kinds for name in alternative if isinstance(name, kind)),
        begins=found.not_valid_before_utc,
        ends=found.not_valid_after_utc,
        digest=found.fingerprint(hashes.SHA256()).hex(),
    )


def fits(cert: bytes, key: bytes) -> bool:
    """Whether this is the certificate's key; `InvalidRequest` when it is none that can be read without a password."""
    try:
        public = serialization.load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise InvalidRequest(what="the key cannot be read", cause="it is no PEM, or has a password") from exc
    return public == _certificate(cert).public_key()


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    life: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.GeneralName:
    if text.startswith("uri:"):
        text = text.removeprefix("uri:")
        kind: type[x509.UniformResourceIdentifier | x509.DNSName] = x509.UniformResourceIdentifier
    else:
        kind, text = x509.DNSName, text.removeprefix("dns:")
        try:
            return x509.IPAddress(ipaddress.ip_address(text))
        except ValueError:  # a host's name
            pass
    if not 0 < len(text) <= _LONGEST or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidName(
            name=text[:80], what="a certificate's bearer", suggestion="localhost", cause="host, address or uri:..."
        )
    return kind(text)


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as exc:
        raise InvalidRequest(what="this is no certificate", cause="nothing in it is one in PEM") from exc


def _pair(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(cert.public_bytes(pem), plain)
