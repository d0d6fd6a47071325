"""Pull: a bundle that was pushed somewhere becomes a version here."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.control.actions import fetch
from modelyard.control.actions.configure import check_may
from modelyard.control.actions.examine import examined
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.identity import Permission, Verb
from modelyard.core.imagename import shown
from modelyard.core.trust import Policy
from modelyard.guard import trusted
from modelyard.model.bundle import Bundle
from modelyard.registry.versions import Version

PULL = "model.pull"


@dataclass(frozen=True)
class Pulled:
    """What was pulled.

    Parameters
    ----------
    version : Version
        What it became; `fresh` is False when it was the newest version already.
    address : str
        Where it came from, by digest.
    signed : bool
        Whether a signature came along and was kept.
    objection : str
        Why that signature, or none, would not be enough where signatures are enforced; empty when nobody asked.
    """

    version: Version
    address: str
    signed: bool
    objection: str = ""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How it is to be pulled.

    Parameters
    ----------
    name : str
        What to call it; its own name without one. Under another name it is another bundle, which nobody has signed.
    aliases : tuple of str
        To point at the version.
    digest : str
        What its digest has to be; empty for whatever is there.
    policy : Policy
        What is asked of its signature.
    """

    name: str = ""
    aliases: tuple[str, ...] = ()
    digest: str = ""
    policy: Policy = Policy.OFF


def pull(home: Home, url: str, wishes: Wishes) -> Pulled:
    """Fetch it, verify every byte, examine it as any stranger's file, and publish it.

    Raises
    ------
    Forbidden
        The actor may not publish a model of this name.
    NotFound, Denied, RegistryRefused, MissingExtra, InvalidRequest
        It cannot be had.
    CorruptBundle, HostileModel, InvalidModel
        It is not what it says it is, or may not be served.
    Untrusted
        Its signature does not count, and the policy is to enforce.
    """
    with home.attempt(PULL, shown(url)):
        found = fetch.look(url, home.settings.network, wishes.digest)
        check_may(home, Permission(Verb.PUBLISH, wishes.name or found.manifest.name))
        objection = _objection(home, wishes, Bundle(found.manifest, {}, found.signature))
        bundle = examined(found.bundle(), wishes.name)
        version = publish(home, bundle, wishes.aliases)
    with home.change(PULL, str(version)) as (_, record):
        record(str(version), {"digest": version.digest, "from": found.address})
    return Pulled(version, found.address, bundle.signature is not None, objection)


def _objection(home: Home, wishes: Wishes, bundle: Bundle) -> str:
    """By the policy, before anything is fetched that is large."""
    if wishes.policy is Policy.OFF:
        return ""
    from modelyard.guard.trust import check  # noqa: PLC0415 - brings cryptography, where signatures are looked at

    with home.database.read() as connection:
        trust = trusted.read(connection.execute, wishes.policy)
    name = wishes.name or bundle.manifest.name
    return check(bundle.signature, bundle.manifest, name, trust, name)
