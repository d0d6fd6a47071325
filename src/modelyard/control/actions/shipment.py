"""Shipment: versions and the plan that serves them, taken out of the registry for an image; and who may ask them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from modelyard.control.actions import keys, plans
from modelyard.control.actions.home import Home, memory
from modelyard.core.errors import InvalidRequest
from modelyard.core.identity import Permission, parse_scope
from modelyard.core.plan import Plan
from modelyard.core.reference import check_name
from modelyard.core.release import Shipped
from modelyard.core.trust import Policy
from modelyard.guard import peppers
from modelyard.guard.keytable import KeptKey, KeyTable
from modelyard.ship import layout
from modelyard.ship.shipment import Shipment

#: Of an image without a model.
NO_MODEL = "modelyard"


def prepare(
    home: Home,
    references: Sequence[str],
    name: str = "",
    extras: Iterable[str] = (),
    signatures: Policy = Policy.OFF,
) -> Shipment:
    """Lay out and verify what these references mean, and plan it as it is inside a container.

    Who goes on to use the folders holds `home.artifacts.held()` meanwhile, so that nobody puts them away; or uses
    `taken_out`.

    Parameters
    ----------
    home : Home
        Where from.
    references : sequence of str
        As for `plans.render`; without any, the shipment serves what is mounted into its container.
    name : str
        Of the image and its deployment; empty for the model's own, where there is one model.
    extras : iterable of str
        Parts of Modelyard that the image carries beside the server.
    signatures : Policy
        What becomes of versions without a signature that counts, here and in the container.

    Raises
    ------
    InvalidName, InvalidRequest
        A reference or the name cannot be one; or several models have no name for what they become.
    NotFound, CorruptBundle, Untrusted
        See `plans.render`.
    """
    with home.artifacts.held():
        plan = plans.render(home, references, signatures=signatures) if references else Plan(models=())
        versions = [(model.name, version) for model in plan.models for version in model.versions]
        return Shipment(
            name=_name(plan, name),
            models=tuple(Shipped(name=owner, version=each.version, digest=each.digest) for owner, each in versions),
            bundles={each.digest: Path(each.path) for _, each in versions},
            plan=layout.placed(plan),
            extras=tuple(sorted(set(extras))),
        )


@contextmanager
def taken_out(home: Home, shipped: Callable[[], Shipment]) -> Iterator[Shipment]:
    """The shipment with bundles of its own: to make an image takes minutes, and nobody should have to wait for it."""
    kept = memory(home.settings)
    # What may not lie on a disk in clear does not meanwhile either; beside the home's own folder, which is tidied up.
    with TemporaryDirectory(prefix="modelyard-bundles-", dir=kept and kept.parent) as folder:
        with home.artifacts.held():
            shipment = shipped()
            bundles = {digest: Path(folder) / digest for digest in shipment.bundles}
            for digest, path in shipment.bundles.items():
                shutil.copytree(path, bundles[digest])
        yield replace(shipment, bundles=bundles)


def access(home: Home, models: Iterable[Shipped]) -> dict[str, bytes]:
    """What lets callers in, as files below `layout.ACCESS`, rendered from the database as it is now.

    Keys that may do something with these models (without any: with some model) or about the server, the peppers of
    their secrets, issuers and certificates as the operator says. What no server of these models needs is not there.
    """
    names = {model.name for model in models}
    kept = tuple(filter(None, (_of_use(key, names) for key in keys.read(home).table().keys)))
    needed = {secret.pepper for key in kept for secret in key.secrets}
    found = {
        f"{layout.PEPPERS}/pepper-{number}": pepper.hex().encode() + b"\n"
        for number, pepper in peppers.peppers(home.settings.secrets).items()
        if number in needed
    }
    found[layout.KEYS] = KeyTable(keys=kept).to_bytes()
    for inside, path in ((layout.TOKENS, home.settings.tokens), (layout.CERTIFICATES, home.settings.certificates)):
        if path.is_file():
            found[inside] = path.read_bytes()
    return found


def access_digest(files: Mapping[str, bytes]) -> str:
    """One sha256 of all that lets callers in, in hex: another one when any of it has changed."""
    whole = hashlib.sha256()
    for name, raw in sorted(files.items()):
        for part in (name.encode(), raw):
            whole.update(len(part).to_bytes(8) + part)
    return whole.hexdigest()


def _name(plan: Plan, name: str) -> str:
    if name:
        return check_name(name, "a deployment")
    if len(plan.models) > 1:
        served = ", ".join(model.name for model in plan.models)
        raise InvalidRequest(what=f"what becomes of {served} together needs a name", hint="add --name NAME")
    return plan.models[0].name if plan.models else NO_MODEL


def _of_use(key: KeptKey, names: set[str]) -> KeptKey | None:
    """The key with those of its scopes that are of use where these models are served; None when none is."""
    scopes = tuple(text for text in key.scopes if _covers(text, names))
    return msgspec.structs.replace(key, scopes=scopes) if scopes else None


def _covers(text: str, names: set[str]) -> bool:
    scope = parse_scope(text)
    return not scope.models or not names or any(scope.covers(Permission(scope.verb, name)) for name in names)
