"""Only the token that is right is taken: the matrix of what attackers try, in real signatures."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from modelyard.core.errors import Unauthenticated
from modelyard.core.identity import Permission, Role, Verb, scopes
from modelyard.guard.issuers import Claim, FetchedKeys, Issuer, IssuerTable
from modelyard.guard.tokens import LONGEST, Tokens, keys_in

NOW = 1_800_000_000.0
URL, AUDIENCE = "https://login.example.com", "modelyard"
RSA = RSAKey.generate_key(2048, {"kid": "r1"})
OTHER = RSAKey.generate_key(2048, {"kid": "r1"})
EC = ECKey.generate_key("P-256", {"kid": "e1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "d1"})
JWKS = json.dumps({"keys": [key.as_dict(private=False) for key in (RSA, EC, ED)]}).encode()
ISSUER = Issuer(
    url=URL,
    audience=AUDIENCE,
    jwks="https://login.example.com/keys",
    algorithms=("RS256", "ES256", "EdDSA"),
    claim=(
        Claim(path="groups", value="fraud", role=Role.PREDICTOR, models="fraud-*"),
        Claim(path="realm_access.roles", value="boss", role=Role.ADMIN),
        Claim(path="https://example.com/team", value="audit", role=Role.AUDITOR),
    ),
)
BOTH = scopes(Role.PREDICTOR, "fraud-*") | scopes(Role.ADMIN)
CLAIMS = {"iss": URL, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600, "nbf": NOW - 5, "iat": NOW - 5}


@pytest.fixture
def tokens() -> Tokens:
    return Tokens([ISSUER], {URL: JWKS})


def signed(claims: Mapping[str, Any] | None = None, key: Key = RSA, **header: Any) -> str:
    """A token that is signed as its header says, whatever else that says; ``...`` leaves a member out."""
    said = {"alg": "RS256", "kid": key.kid, "typ": "JWT", **header}
    body = {**CLAIMS, **(claims or {})}
    parts = [_segment({name: value for name, value in part.items() if value is not ...}) for part in (said, body)]
    return f"{'.'.join(parts)}.{_encoded(_signature(said['alg'], key, '.'.join(parts).encode()))}"


def _signature(algorithm: str, key: Key, message: bytes) -> bytes:
    private: Any = key.private_key
    if algorithm == "EdDSA":
        return private.sign(message)
    if algorithm == "ES256":
        one, other = utils.decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA256())))
        return one.to_bytes(32, "big") + other.to_bytes(32, "big")
    return private.sign(message, padding.PKCS1v15(), {"RS256": hashes.SHA256, "RS384": hashes.SHA384}[algorithm]())


def _segment(document: Any) -> str:
    return _encoded(json.dumps(document).encode())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _forged(header: Any, claims: Any, signature: bytes = b"x" * 256) -> str:
    return f"{_segment(header)}.{_segment(claims)}.{_encoded(signature)}"


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")], ids=["RS256", "ES256", "EdDSA"]
)
def test_a_valid_token_of_each_algorithm_is_its_subject(tokens: Tokens, key: Key, algorithm: str) -> None:
    principal = tokens.principal(signed({"groups": ["fraud", "x"]}, key, alg=algorithm), NOW)
    assert principal.name == f"oidc:{URL}#alice"
    assert principal.method == "oidc"
    assert principal.scopes == scopes(Role.PREDICTOR, "fraud-*")
    assert principal.may(Permission(Verb.PREDICT, "fraud-eu"))
    assert not principal.may(Permission(Verb.PREDICT, "price"))


def none_token() -> str:
    return f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{_segment(CLAIMS)}."


def hs_with_public_key() -> str:
    """Signed with what everybody knows, for servers that let a token say how its key is to be used."""
    unsigned = f"{_segment({'alg': 'HS256', 'kid': 'r1', 'typ': 'JWT'})}.{_segment(CLAIMS)}"
    return f"{unsigned}.{_encoded(hmac.digest(RSA.as_pem(private=False), unsigned.encode(), 'sha256'))}"


#: What an attacker (or an accident) sends: all of it has to be refused.
MATRIX = {
    "alg none": none_token,
    "HS256 with the public key as secret": hs_with_public_key,
    "unknown crit": lambda: signed(crit=["exp2"], exp2=1),
    "known crit": lambda: signed(crit=["b64"], b64=True),
    "payload that is not encoded": lambda: signed(b64=False),
    "expired": lambda: signed({"exp": NOW - 61}),
    "exp is a text": lambda: signed({"exp": str(NOW + 600)}),
    "exp is NaN": lambda: signed({"exp": float("nan")}),
    "no exp": lambda: signed({"exp": ...}),
    "no sub": lambda: signed({"sub": ...}),
    "no aud": lambda: signed({"aud": ...}),
    "another audience": lambda: signed({"aud": ["someone", "else"]}),
    "another issuer": lambda: signed({"iss": "https://evil.example.com"}),
    "no iss": lambda: signed({"iss": ...}),
    "not yet valid": lambda: signed({"nbf": NOW + 61}),
    "issued in the future": lambda: signed({"iat": NOW + 61}),
    "another's key under a known name": lambda: signed(key=OTHER),
    "unknown key": lambda: signed(kid="r9"),
    "its own key in jwk": lambda: signed(key=OTHER, jwk=OTHER.as_dict(private=False), kid="own"),
    "its own key's address": lambda: signed(key=OTHER, jku="https://evil.example.com/keys", kid="own"),
    "its own certificate's address": lambda: signed(key=OTHER, x5u="https://evil.example.com/cert", kid="own"),
    "another algorithm of the same key": lambda: signed(alg="RS384"),
    "EC's algorithm with RSA's key": lambda: _forged({"alg": "ES256", "kid": "r1", "typ": "JWT"}, CLAIMS, b"x" * 64),
    "another type": lambda: signed(typ="logout+jwt"),
    "no type": lambda: signed(typ=...),
    "type is a number": lambda: _forged({"alg": "RS256", "kid": "r1", "typ": 1}, CLAIMS),
    "payload changed": lambda: _swap(signed(), {**CLAIMS, "sub": "root"}),
    "signature cut": lambda: signed()[:-4],
    "signature missing": lambda: signed().rpartition(".")[0] + ".",
    "empty": lambda: "",
    "two parts": lambda: "a.b",
    "claims are a list": lambda: _forged({"alg": "RS256", "kid": "r1", "typ": "JWT"}, [CLAIMS]),
    "header is a list": lambda: _forged(["RS256"], CLAIMS),
    "iss is a list": lambda: _forged({"alg": "RS256", "typ": "JWT"}, {**CLAIMS, "iss": [URL]}),
    "deep": lambda: f"{_segment({'alg': 'RS256'})}.{_encoded(b'[' * 8000)}.eA",
    "1 MB": lambda: "a" * 500_000 + "." + "b" * 500_000 + ".c",
    "one byte too long": lambda: signed() + "A" * (LONGEST + 1 - len(signed())),
    "not ASCII": lambda: signed() + "ä",
    "a lone surrogate": lambda: signed() + "\ud800",
    "a line break in the subject": lambda: signed({"sub": "alice\nroot"}),
    "a subject of 129 characters": lambda: signed({"sub": "a" * 129}),
    "a subject that is a number": lambda: signed({"sub": 1}),
}


def _swap(token: str, claims: Mapping[str, Any]) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{_segment(claims)}.{signature}"


@pytest.mark.row("AUT-03")
@pytest.mark.parametrize("name", MATRIX)
def test_what_is_not_right_is_refused(
    tokens: Tokens, name: str, record_property: Callable[[str, object], None]
) -> None:
    token = MATRIX[name]()
    for _ in range(2):  # nothing of a refusal is remembered as good
        with pytest.raises(Unauthenticated) as caught:
            tokens.proven(token, NOW)
    told = f"{caught.value} {caught.value.cause} {caught.value.hint}"
    assert not token or token not in told
    assert all(part not in told for part in token.split(".") if len(part) > 8)
    record_property("number", f"{len(MATRIX)} of {len(MATRIX)} forged tokens refused")


@pytest.mark.row("AUT-03")
@pytest.mark.parametrize(
    ("claims", "header"),
    [
        ({"exp": NOW - 59}, {}),
        ({"nbf": NOW + 59, "iat": NOW + 59}, {}),
        ({"aud": ["other", AUDIENCE]}, {}),
        ({}, {"typ": "at+jwt"}),
        ({}, {"typ": "application/AT+JWT"}),
        ({}, {"jku": "https://evil.example.com/keys", "x5u": "https://evil.example.com/x"}),
        ({}, {"nonce": "headers that nobody knows are ignored"}),
    ],
)
def test_what_is_right_is_taken(tokens: Tokens, claims: dict[str, Any], header: dict[str, Any]) -> None:
    assert tokens.principal(signed(claims, **header), NOW).name == f"oidc:{URL}#alice"


def test_tokens_without_a_type_are_for_issuers_that_say_so() -> None:
    plain = Tokens([Issuer(url=URL, audience=AUDIENCE, jwks=ISSUER.jwks, types=("",))], {URL: JWKS})
    assert plain.principal(signed(typ=...), NOW).scopes == frozenset()
    with pytest.raises(Unauthenticated, match="another type"):
        plain.principal(signed(), NOW)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"groups": "fraud"}, scopes(Role.PREDICTOR, "fraud-*")),
        ({"realm_access": {"roles": ["boss"]}}, scopes(Role.ADMIN)),
        ({"https://example.com/team": "audit"}, scopes(Role.AUDITOR)),
        (
            {"groups": ["fraud"], "realm_access": {"roles": ["boss"]}},
            scopes(Role.PREDICTOR, "fraud-*") | scopes(Role.ADMIN),
        ),
        ({"groups": ["Fraud", "fraud "], "realm_access": "boss"}, frozenset()),
        ({"groups": {"fraud": True}, "realm_access": {"roles": {"boss": 1}}}, frozenset()),
        ({"groups": [["fraud"]]}, frozenset()),
    ],
)
def test_claims_are_worth_what_the_operator_says(tokens: Tokens, claims: dict[str, Any], expected: object) -> None:
    assert tokens.principal(signed(claims), NOW).scopes == expected


def test_a_token_without_a_key_name_is_for_issuers_with_one_key() -> None:
    one = json.dumps({"keys": [RSA.as_dict(private=False)]}).encode()
    assert Tokens([ISSUER], {URL: one}).principal(signed(kid=...), NOW)
    two = json.dumps({"keys": [RSA.as_dict(private=False), RSAKey.generate_key(2048).as_dict(private=False)]}).encode()
    with pytest.raises(Unauthenticated):
        Tokens([ISSUER], {URL: two}).principal(signed(kid=...), NOW)


def test_what_was_proven_holds_until_the_token_ends(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token = signed()
    principal, until_s = tokens.proven(token, NOW)
    assert until_s == CLAIMS["exp"] + 60  # type: ignore[operator]
    monkeypatch.setattr("joserfc.jws.validate_compact", _never)
    assert tokens.proven(token, until_s - 1) == (principal, until_s)
    with pytest.raises(AssertionError, match="asked"):  # it is checked anew, and not before
        tokens.proven(token, until_s)


def _never(*_: object, **__: object) -> bool:
    raise AssertionError("asked")


def test_only_so_much_is_remembered(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.guard.tokens._KEPT", 3)
    for number in range(10):
        tokens.proven(signed({"sub": f"s{number}"}), NOW)
    assert len(tokens._kept) == 3
    assert tokens.principal(signed({"sub": "s0"}), NOW).name.endswith("#s0")


def test_a_token_that_lives_for_ever_is_checked_again_each_day(tokens: Tokens) -> None:
    assert tokens.proven(signed({"exp": 10**400}), NOW)[1] == NOW + 86_400 + 60


def test_without_keys_nobody_gets_in_and_newer_ones_are_wished_for_once_a_minute() -> None:
    wishes: list[str] = []
    down = Tokens([ISSUER], {}, wish=wishes.append)
    for second in range(0, 60, 5):
        with pytest.raises(Unauthenticated):
            down.principal(signed(), NOW + second)
    assert wishes == [URL]
    with pytest.raises(Unauthenticated):
        down.principal(signed(), NOW + 61)
    assert wishes == [URL, URL]


def test_an_unknown_key_is_wished_for_and_an_unknown_issuer_is_not() -> None:
    wishes: list[str] = []
    tokens = Tokens([ISSUER], {URL: JWKS}, wish=wishes.append)
    for token in (signed({"iss": "https://evil.example.com"}), signed(alg="RS384"), signed(key=OTHER)):
        with pytest.raises(Unauthenticated):
            tokens.principal(token, NOW)
    assert wishes == []
    with pytest.raises(Unauthenticated):
        tokens.principal(signed(kid="r9"), NOW)
    assert wishes == [URL]


def test_keys_become_too_old() -> None:
    table = IssuerTable(issuers=(ISSUER,), jwks={URL: FetchedKeys(JWKS.decode(), NOW)})
    tokens = Tokens.of(IssuerTable.from_bytes(table.to_bytes()))
    token, late = signed({"exp": NOW + 9000}), table.jwks[URL].until_s
    assert late == NOW + 900 + 3600
    assert tokens.proven(token, NOW)[1] == late
    assert tokens.proven(token, late - 1)
    with pytest.raises(Unauthenticated, match="too old"):
        tokens.proven(token, late)


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1, null, "x", {}]}', b'{"keys": [{"kty": "RSA"}]}', b"[" * 100_000],
)
def test_a_document_that_is_no_key_set_has_no_keys(document: bytes) -> None:
    assert keys_in(document, ["RS256", "ES256", "EdDSA"]) == {}


def test_keys_that_are_not_for_this_are_left_out() -> None:
    rsa = RSA.as_dict(private=False)
    short = {**rsa, "n": _encoded(b"\xff" * 128)}
    listed = [
        {**rsa, "use": "enc"},
        {**rsa, "alg": "RS384"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "s"},
        {**ECKey.generate_key("P-384").as_dict(private=False)},
        short,
    ]
    assert keys_in(json.dumps({"keys": listed}).encode(), ["RS256", "ES256", "EdDSA"]) == {}
    found = keys_in(json.dumps({"keys": [*listed, rsa]}).encode(), ["RS256", "ES256"])
    assert [(algorithm, [name for name, _ in keys]) for algorithm, keys in found.items()] == [("RS256", ["r1"])]


def test_a_private_key_in_a_set_is_used_as_a_public_one() -> None:
    found = keys_in(json.dumps({"keys": [RSA.as_dict(private=True)]}).encode(), ["RS256"])
    assert [key.is_private for _, key in found["RS256"]] == [False]


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=60))
def test_no_text_is_a_token(first: str, second: str, third: str) -> None:
    tokens = Tokens([ISSUER], {URL: JWKS})
    for token in (first, f"{first}.{second}.{third}"):
        with pytest.raises(Unauthenticated):
            tokens.proven(token, NOW)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_HEADERS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("alg", "typ", "kid", "crit", "jwk", "jku", "x5u", "x5c", "b64"), _JSON)
)
_CLAIMS = st.fixed_dictionaries({"iss": st.just(URL)}, optional=dict.fromkeys(("aud", "exp", "sub", "nbf"), _JSON))


@given(_HEADERS, _CLAIMS)
def test_no_header_or_claim_breaks_the_check(header: dict[str, Any], claims: dict[str, Any]) -> None:
    tokens = Tokens([ISSUER], {URL: JWKS})
    for sent in (header, {"alg": "RS256", "typ": "JWT", "kid": "r1", **header}):
        with pytest.raises(Unauthenticated):
            tokens.proven(_forged(sent, claims), NOW)


@given(_CLAIMS)
def test_no_signed_claim_breaks_the_check(claims: dict[str, Any]) -> None:
    try:
        principal = Tokens([ISSUER], {URL: JWKS}).principal(signed({**CLAIMS, **claims}, EC, alg="ES256"), NOW)
    except Unauthenticated:
        return
    assert principal.name.isprintable()
