"""Whether a version has a signature that counts, and what becomes of it when it has none."""

from __future__ import annotations

from modelyard.core.errors import Untrusted
from modelyard.core.manifest import Manifest
from modelyard.core.trust import Policy, Trust
from modelyard.guard import sign
from modelyard.guard.sign import Signed
from modelyard.guard.signer import read_public


def judge(signature: bytes | None, manifest: Manifest, name: str, trust: Trust, what: str) -> Signed:
    """What a key that is trusted for the model has signed about this bundle.

    Parameters
    ----------
    signature : bytes, optional
        What lies beside the manifest.
    manifest : Manifest
        Of a bundle whose files were verified against it.
    name : str
        What the model is to be called; a signature is of one name.
    trust : Trust
        Whose signatures count, and for which versions; its policy is not looked at.
    what : str
        What an error calls the version.

    Raises
    ------
    Untrusted
        There is no signature, or none that counts; its hint is the command that mends it.
    """
    if signature is None:
        raise Untrusted(what=what, why="is not signed", hint=f"modelyard sign {what}")
    keys = {key.id: read_public(key.public) for key in trust.keys if key.counts_for(name)}
    try:
        signed = sign.verify(signature, manifest, keys)
    except sign.Unverified as exc:
        hint = f"modelyard trust add PUB --models {name}, if its signer is to be trusted; or modelyard sign {what}"
        raise Untrusted(what=what, why=str(exc), hint=hint) from exc
    claim = signed.provenance
    if claim.model != name:
        raise Untrusted(what=what, why=f"is signed as {claim.model!r}, not as {name!r}", hint=f"modelyard sign {what}")
    least = trust.minimums.get(name, 0)
    if claim.version < least:
        raise Untrusted(
            what=what,
            why=f"is signed as version {claim.version}, and the least that counts is {least}",
            hint=f"serve a newer version, or allow this one again: modelyard trust minimum {name} {claim.version}",
        )
    return signed


def check(signature: bytes | None, manifest: Manifest, name: str, trust: Trust, what: str) -> str:
    """As `judge`, by the policy: what is wrong where that is only a warning (``is not signed``), else nothing.

    Raises
    ------
    Untrusted
        Something is wrong, and the policy is to enforce.
    """
    if trust.policy is Policy.OFF:
        return ""
    try:
        judge(signature, manifest, name, trust, what)
    except Untrusted as exc:
        if trust.policy is Policy.ENFORCE:
            raise
        return str(exc.facts["why"])
    return ""
