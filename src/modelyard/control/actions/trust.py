"""Trust: whose signatures count for which models, and from which version on. Running servers learn of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, NotFound
from modelyard.core.trust import SHORT, Policy, Trust, TrustedKey, check_pattern
from modelyard.guard import dsse, sign, signer, trusted
from modelyard.registry import signatures

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ID = re.compile(r"[0-9a-f]{8,64}")


def read(home: Home) -> Trust:
    """All trusted keys and all least versions."""
    with home.database.read() as connection:
        return trusted.read(connection.execute, Policy.ENFORCE)


def own(home: Home) -> TrustedKey:
    """The installation's own key, which is made when there is none, and which nobody has to trust."""
    return _key(signer.pem_of(own_key(home).public_key()), "*")


def own_key(home: Home) -> Ed25519PrivateKey:
    """The installation's own signing key; that it is made is recorded."""
    folder = home.settings.secrets
    if (folder / signer.OWN).exists():
        return signer.own(folder)
    with home.change("signing.make", signer.OWN) as (_, record):
        key = signer.own(folder)
        record(_named(signer.key_id(key.public_key())), {})
    return key


def add(home: Home, public: Path | None, models: str = "*") -> TrustedKey:
    """Let signatures by this key count for these models.

    Parameters
    ----------
    home : Home
        Whose trust it is.
    public : Path, optional
        File of the public key; the installation's own key without it.
    models : str
        Name of a model, in which ``*`` stands for any number of characters.

    Raises
    ------
    InvalidName, InvalidRequest, NotFound
        The pattern or the file cannot be used.
    """
    with home.attempt("trust.add", models):
        check_pattern(models)
        pem = own(home).public if public is None else signer.pem_of(signer.load_public(public))
        key = _key(pem, models)
    with home.change("trust.add", _named(key.id)) as (connection, record):
        if trusted.add(connection, key, home.actor.name):
            record(_named(key.id), {"models": models})
    plans.announce(home, f"key {key.id[:SHORT]} is trusted")
    return key


def remove(home: Home, key: Path | str, models: str | None = None) -> tuple[TrustedKey, ...]:
    """Let signatures by this key count no longer; what was trusted before.

    Servers that enforce signatures stop to serve what nobody else has signed.

    Parameters
    ----------
    home : Home
        Whose trust it is.
    key : Path or str
        File of the public key; or its id, or at least 8 characters that it begins with.
    models : str, optional
        For these models only, as they were given to `add`.

    Raises
    ------
    NotFound, Conflict
        No trusted key is meant, or several are.
    """
    with home.attempt("trust.remove", key.name if isinstance(key, Path) else key):
        wanted = signer.key_id(signer.load_public(key)) if isinstance(key, Path) else key
    with home.change("trust.remove", _named(wanted)) as (connection, record):
        known = trusted.read(connection.exec_driver_sql, Policy.ENFORCE).keys
        gone = tuple(each for each in _meant(known, wanted) if models in {None, each.models})
        if not gone:
            raise NotFound(what="trust for", name=str(models), known=[each.models for each in _meant(known, wanted)])
        for each in gone:
            trusted.remove(connection, each)
        record(_named(gone[0].id), {"models": ", ".join(each.models for each in gone)})
    plans.announce(home, f"key {gone[0].id[:SHORT]} is trusted no longer")
    return gone


def set_minimum(home: Home, name: str, version: int) -> int:
    """Let no signature count that names an older version of the model; 0 lets all count. The minimum before.

    Servers that enforce signatures stop to serve what is older.

    Raises
    ------
    NotFound
        There is no such model.
    Conflict
        No signature names this version or a newer one: nothing could be served.
    """
    with home.change("trust.minimum", name) as (connection, record):
        newest = _newest_signed(home, name)
        if version > newest:
            what = f"no signature of {name} names version {version}, or a newer one"
            cause = f"the newest that is signed is {newest}" if newest else f"no version of {name} is signed"
            raise Conflict(what=what, cause=cause, hint=f"sign it first: modelyard sign {name}")
        before = trusted.set_minimum(connection, name, version)
        if before != version:
            record(name, {"before": str(before), "after": str(version)})
    plans.announce(home, f"the least version of {name} is {version}")
    return before


def _key(pem: str, models: str) -> TrustedKey:
    return TrustedKey(signer.key_id(signer.read_public(pem)), models, pem)


def _meant(known: tuple[TrustedKey, ...], wanted: str) -> tuple[TrustedKey, ...]:
    """The trust in the one key whose id begins so."""
    found = tuple(each for each in known if _ID.fullmatch(wanted) and each.id.startswith(wanted))
    ids = sorted({each.id for each in found})
    if not ids:
        names = sorted({each.id[:SHORT] for each in known})
        raise NotFound(what="trusted key", name=wanted[:SHORT], known=names, hint="modelyard trust list")
    if len(ids) > 1:
        raise Conflict(what=f"{len(ids)} trusted keys begin with {wanted}", hint=f"for example: {ids[0][:SHORT]}")
    return found


def _newest_signed(home: Home, name: str) -> int:
    """The newest version that a signature of the model names, whoever made it; 0 when there is no signature."""
    kept = signatures.read_all(home.database)
    mine = [kept[version.digest] for version in home.catalogue.versions(name) if version.digest in kept]
    return max((sign.read_statement(dsse.read(each).body).predicate.version for each in mine), default=0)


def _named(key_id: str) -> str:
    return f"key:{key_id[:SHORT]}"
