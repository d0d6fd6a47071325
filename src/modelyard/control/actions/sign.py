"""Sign and verify: what a key's holder says about a version, kept beside it, and whether it is so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from modelyard.control.actions import plans, trust
from modelyard.control.actions.home import Home
from modelyard.core.errors import CorruptBundle, InvalidRequest, Untrusted
from modelyard.core.manifest import Manifest
from modelyard.core.reference import Reference
from modelyard.core.trust import Policy, Trust, TrustedKey
from modelyard.guard import dsse, signer
from modelyard.guard import sign as signing
from modelyard.guard.sign import Signed
from modelyard.guard.trust import judge
from modelyard.model.bundle import open_bundle, sha256
from modelyard.registry import signatures
from modelyard.registry.versions import Version

_SIGN = "model.sign"


@dataclass(frozen=True)
class Verified:
    """A bundle whose every byte is the one that its manifest names, and whose manifest somebody has signed.

    Parameters
    ----------
    what : str
        ``name@version``, or the folder's name.
    manifest : Manifest
        Of the bundle.
    signed : Signed
        By whom, when, and what else was claimed.
    """

    what: str
    manifest: Manifest
    signed: Signed

    @property
    def digest(self) -> str:
        """The bundle's."""
        return sha256(self.manifest.to_bytes())


def sign(
    home: Home, reference: Reference, key: Path | None = None, *, by: str = "", git_ref: str = ""
) -> tuple[Version, Signed]:
    """Sign a version, after every byte of it was verified; a signature that it had is replaced.

    Parameters
    ----------
    home : Home
        Where it is.
    reference : Reference
        Which version.
    key : Path, optional
        File of the signing key; the installation's own without it, which is made when there is none.
    by : str
        Who says so; the actor's name without it.
    git_ref : str
        The commit that it was made from, if that is to be said.

    Raises
    ------
    NotFound, InvalidRequest, Denied, Unavailable
        There is no such version; the key cannot be used.
    CorruptBundle
        The bundle's bytes were changed.
    """
    with home.attempt(_SIGN, str(reference)):
        version = home.catalogue.resolve(reference)
        manifest = home.artifacts.read(version.digest).manifest
        private = trust.own_key(home) if key is None else signer.load_private(key)
        who = by or home.actor.name
        if not signing.is_name(who):
            raise InvalidRequest(what="who signs has to be a name of one line", cause="at most 255 characters")
        if git_ref and not signing.is_name(git_ref):
            raise InvalidRequest(what="a git ref has to be one line", cause="at most 255 characters")
    envelope = signing.sign(manifest, version.version, who, datetime.now(UTC), private, git_ref)
    public = private.public_key()
    signed = signing.verify(envelope, manifest, {signer.key_id(public): public})
    with home.change(_SIGN, str(version)) as (connection, record):
        signatures.keep(connection, version.digest, envelope)
        record(str(version), {"digest": version.digest, "key": signed.key_id})
    plans.announce(home, f"{version} is signed")
    return version, signed


def adopt(home: Home, manifest: Manifest, signature: bytes) -> None:
    """Keep a signature that came along with a bundle.

    One that is there already stays, unless the new one is by a key that is trusted here: whoever may publish could
    else take a good signature away.

    Raises
    ------
    CorruptBundle
        It is no signature of this bundle, whoever made it.
    """
    try:
        statement = signing.read_statement(dsse.read(signature).body)
    except (signing.Unverified, ValueError) as exc:
        raise CorruptBundle(bundle=manifest.name, what=f"its signature.dsse cannot be read: {exc}") from exc
    if not statement.is_about(manifest):
        raise CorruptBundle(bundle=manifest.name, what="its signature.dsse is of other files")
    digest = sha256(manifest.to_bytes())
    before = signatures.read(home.database, digest)
    if before is None or (before != signature and _counts(home, manifest, signature)):
        with home.change(_SIGN, manifest.name) as (connection, record):
            signatures.keep(connection, digest, signature)
            record(manifest.name, {"digest": digest, "from": "import"})


def verify(home: Home, reference: Reference, keys: Sequence[Path] = ()) -> Verified:
    """Verify every byte of a version and its signature.

    Parameters
    ----------
    home : Home
        Where it is, and whose trust counts.
    reference : Reference
        Which version.
    keys : sequence of Path
        Files of the public keys that count instead of the trusted ones; then there is no least version either.

    Raises
    ------
    Untrusted
        It has no signature that counts.
    CorruptBundle
        The bundle's bytes were changed.
    """
    version = home.catalogue.resolve(reference)
    manifest = home.artifacts.read(version.digest).manifest
    signature = signatures.read(home.database, version.digest)
    counts = trust_in(keys) if keys else trust.read(home)
    return Verified(str(version), manifest, judge(signature, manifest, version.name, counts, str(version)))


def verify_folder(folder: Path, counts: Trust) -> Verified:
    """As `verify`, for an exported bundle and this trust."""
    bundle = open_bundle(folder)
    signed = judge(bundle.signature, bundle.manifest, bundle.manifest.name, counts, folder.name)
    return Verified(folder.name, bundle.manifest, signed)


def trust_in(keys: Sequence[Path]) -> Trust:
    """Trust in the public keys of these files, for every model."""
    public = [signer.load_public(path) for path in keys]
    return Trust(Policy.ENFORCE, tuple(TrustedKey(signer.key_id(key), "*", signer.pem_of(key)) for key in public))


def _counts(home: Home, manifest: Manifest, signature: bytes) -> bool:
    try:
        judge(signature, manifest, manifest.name, trust.read(home), manifest.name)
    except Untrusted:
        return False
    return True
