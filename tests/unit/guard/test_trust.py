"""Whether a signature counts, and what each policy makes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from modelyard.core.errors import Untrusted
from modelyard.core.trust import Policy, Trust, TrustedKey
from modelyard.guard.sign import sign
from modelyard.guard.signer import key_id, pem_of
from modelyard.guard.trust import check, judge
from tests.models import linear_bundle

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))
MANIFEST, CHANGED = linear_bundle("churn").manifest, linear_bundle("churn", slope=3.0).manifest
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SIGNED = sign(MANIFEST, 2, "Ada", NOW, KEY)


def trusted(key: Ed25519PrivateKey = KEY, models: str = "*") -> TrustedKey:
    return TrustedKey(key_id(key.public_key()), models, pem_of(key.public_key()))


def trust(*keys: TrustedKey, policy: Policy = Policy.ENFORCE, **minimums: int) -> Trust:
    return Trust(policy, keys, minimums)


def test_a_signature_that_counts() -> None:
    signed = judge(SIGNED, MANIFEST, "churn", trust(trusted(OTHER), trusted(models="ch*"), churn=2), "churn@5")
    assert signed.key_id == trusted().id
    assert signed.provenance.signed_by == "Ada"


#: What is wrong, why, and the command that mends it.
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing": ({"signature": None}, "churn@5 is not signed", "modelyard sign churn@5"),
    "changed": ({"manifest": CHANGED}, "churn@5 has a signature of other files", "modelyard sign churn@5"),
    "envelope": (
        {"signature": SIGNED.replace(b'"payload": "e', b'"payload": "f')},
        f"churn@5 has a signature that key {trusted().id[:16]} did not make",
        "modelyard sign churn@5",
    ),
    "junk": ({"signature": b"junk"}, "churn@5 has a signature that is no DSSE envelope", "modelyard sign churn@5"),
    "key": (
        {"trust": trust(trusted(OTHER))},
        f"churn@5 was signed with a key that is not trusted for it: {trusted().id[:16]}",
        "modelyard trust add PUB --models churn",
    ),
    "pattern": (
        {"trust": trust(trusted(models="fraud-*"))},
        "churn@5 was signed with a key that is not trusted for it",
        "modelyard trust add PUB --models churn",
    ),
    "nobody": ({"trust": trust()}, "not trusted for it", "modelyard trust add PUB --models churn"),
    "name": ({"name": "fraud"}, "churn@5 is signed as 'churn', not as 'fraud'", "modelyard sign churn@5"),
    "replay": (
        {"trust": trust(trusted(), churn=3)},
        "churn@5 is signed as version 2, and the least that counts is 3",
        "modelyard trust minimum churn 2",
    ),
}


def given(**changed: Any) -> dict[str, Any]:
    usual = {"signature": SIGNED, "manifest": MANIFEST, "name": "churn", "trust": trust(trusted()), "what": "churn@5"}
    return usual | changed


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_count_says_why_and_what_mends_it(case: str) -> None:
    changed, why, hint = WRONG[case]
    with pytest.raises(Untrusted) as caught:
        judge(**given(**changed))
    assert caught.value.detail.startswith(why) or why in caught.value.detail
    assert hint in caught.value.hint


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("policy", Policy)
def test_what_becomes_of_it(case: str, policy: Policy) -> None:
    now = given(**WRONG[case][0])
    now["trust"] = msgspec.structs.replace(now["trust"], policy=policy)
    if policy is Policy.ENFORCE:
        with pytest.raises(Untrusted):
            check(**now)
    else:
        why = check(**now)
        assert bool(why) == (policy is Policy.WARN)
        assert "churn@5" not in why  # who warns has said of what already


@pytest.mark.parametrize("policy", Policy)
def test_what_counts_passes_under_each_policy(policy: Policy) -> None:
    assert check(SIGNED, MANIFEST, "churn", trust(trusted(), policy=policy, churn=2, fraud=9), "churn@5") == ""
