"""What there is, as plain data: one name for one thing, whether a command prints it or the control API answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.core.rates import USUAL

if TYPE_CHECKING:
    from datetime import datetime

    from modelyard.control.actions.keys import Minted
    from modelyard.control.actions.show import Shown
    from modelyard.control.actions.status import Seen
    from modelyard.core.identity import Principal
    from modelyard.core.rates import Rate, Rates
    from modelyard.core.release import Release
    from modelyard.core.trust import Trust
    from modelyard.guard.chain import Report
    from modelyard.guard.issuers import Issuer, IssuerTable
    from modelyard.guard.keyring import GrantedKey, Keyring, KeyState
    from modelyard.guard.power import Power
    from modelyard.guard.records import Record
    from modelyard.registry.releases import KnownTarget, Recorded
    from modelyard.registry.versions import Model, Version
    from modelyard.ship.targets import Check, Status, Step


def model(found: Model) -> dict[str, Any]:
    """One line of ``model list``."""
    return {
        "name": found.name,
        "versions": len(found.versions),
        "latest": found.latest.version,
        "default": found.default.version,
        "aliases": dict(sorted(found.aliases.items())),
        "task": found.latest.task,
        "updated_at": found.latest.created_at.isoformat(),
    }


def version(found: Version, aliases: Sequence[str]) -> dict[str, Any]:
    """One version, with the aliases that point at it."""
    return {
        "name": found.name,
        "version": found.version,
        "digest": found.digest,
        "task": found.task,
        "source_format": found.source_format,
        "size_bytes": found.size_bytes,
        "metrics": msgspec.to_builtins(found.metrics),
        "created_at": found.created_at.isoformat(),
        "aliases": list(aliases),
    }


def versions(found: Model) -> list[dict[str, Any]]:
    """All versions of a model, newest first."""
    return [version(one, found.aliases_of(one)) for one in reversed(found.versions)]


def shown(found: Shown) -> dict[str, Any]:
    """Everything there is to say about a version."""
    manifest = msgspec.to_builtins(found.bundle.manifest)
    details = {key: manifest[key] for key in ("runtime", "signature", "source", "parity", "lineage", "files")}
    rows = found.bundle.samples.rows
    return {**version(found.version, found.aliases), **details, "example": rows[0] if rows else None}


def alias(name: str, which: str, before: int | None, after: int | None) -> dict[str, Any]:
    """Where an alias pointed, and where it points."""
    return {"name": name, "alias": which, "before": before, "after": after}


def removed(found: Sequence[Version]) -> dict[str, Any]:
    """What was removed."""
    return {"removed": [{"name": one.name, "version": one.version} for one in found]}


def key(found: GrantedKey, power: Power | None, state: KeyState) -> dict[str, Any]:
    """A key, with what it may today."""
    left = power or found.grant
    return {
        "id": found.id,
        "name": found.name,
        "environment": found.environment,
        "state": str(state),
        "scopes": sorted(map(str, left.scopes)),
        "networks": list(map(str, left.networks)),
        "rate": found.rate,
        "not_before": left.not_before.isoformat(),
        "expires_at": left.expires_at.isoformat(),
        "created_by": found.created_by,
        "created_at": found.created_at.isoformat(),
        "revoked_at": found.revoked_at and found.revoked_at.isoformat(),
        "last_used_at": found.last_used_at and found.last_used_at.isoformat(),
        "secrets": [
            {"created_at": one.created_at.isoformat(), "expires_at": one.expires_at and one.expires_at.isoformat()}
            for one in found.secrets
        ],
    }


def keys(ring: Keyring, now: datetime, *, revoked: bool) -> list[dict[str, Any]]:
    """The keys by name, the revoked ones when they are wanted."""
    return [key(one, ring.power(one.id), ring.state(one, now)) for one in ring.by_name(revoked=revoked)]


def minted(found: Minted) -> dict[str, Any]:
    """A key with its secret, as it is shown once."""
    return {"key": found.text, **key(found.key, found.power, found.state)}


def finished(found: GrantedKey) -> dict[str, Any]:
    """A key whose older secret has ended."""
    return {"id": found.id, "name": found.name, "secrets": len(found.secrets)}


def revoked(ended: GrantedKey, others: Sequence[GrantedKey]) -> dict[str, Any]:
    """A key that was revoked, with those that ended with it."""
    return {"id": ended.id, "name": ended.name, "with": [{"id": one.id, "name": one.name} for one in others]}


def record(found: Record) -> dict[str, Any]:
    """One record of the audit log."""
    return msgspec.structs.asdict(found)


def report(found: Report) -> dict[str, Any]:
    """What verifying an audit log that is sound has found."""
    return {"records": found.size, "hash": found.hash, "checkpoints": found.checkpoints, "sound": True}


def issuer(found: Issuer, table: IssuerTable) -> dict[str, Any]:
    """An issuer that is believed, and when its keys were fetched."""
    kept = table.jwks.get(found.url)
    return {**msgspec.to_builtins(found), "fetched_s": kept.fetched_s if kept else None}


def trust(found: Trust) -> dict[str, Any]:
    """Whose signatures count, and from which version on."""
    return {"keys": msgspec.to_builtins(found.keys), "minimums": found.minimums}


def rate(name: str, found: Rate) -> dict[str, Any]:
    """What the callers of a class may ask of the models of a pattern; null is not limited."""
    return {"name": name, **msgspec.structs.asdict(found)}


def rates(found: Rates) -> list[dict[str, Any]]:
    """All that was said, by class and pattern."""
    return [rate(name or USUAL, each) for name, kept in sorted(found.items()) for each in kept]


def caller(found: Principal) -> dict[str, Any]:
    """Who somebody is, how that was proven, and what they may."""
    return {"name": found.name, "method": found.method, "scopes": sorted(map(str, found.scopes))}


def target(found: KnownTarget, deployments: Sequence[str]) -> dict[str, Any]:
    """One target, with the deployments that live there."""
    return {
        "name": found.name,
        "kind": found.kind,
        "settings": dict(sorted(found.settings.items())),
        "deployments": list(deployments),
        "created_by": found.created_by or None,
        "updated_at": found.updated_at.isoformat() if found.updated_at else None,
    }


def release(found: Release) -> dict[str, Any]:
    """One release, without what its containers obey."""
    return {
        "deployment": found.deployment,
        "target": found.target,
        "number": found.number,
        "models": [{"name": each.name, "version": each.version, "digest": each.digest} for each in found.models],
        "image": found.image,
        "capacity": {name: getattr(found.capacity, name) for name in found.capacity.__struct_fields__},
        "canary": found.canary or None,
    }


def recorded(found: Recorded) -> dict[str, Any]:
    """One release, and how it went."""
    return {
        **release(found.release),
        "stage": str(found.stage),
        "why": found.why or None,
        "created_by": found.created_by,
        "created_at": found.created_at.isoformat(),
        "finished_at": found.finished_at.isoformat() if found.finished_at else None,
    }


def steps(found: Sequence[Step]) -> list[dict[str, Any]]:
    """What becomes of the objects of a target."""
    return [{"doing": str(each.doing), "what": each.what, "changes": list(each.changes)} for each in found]


def checks(found: Sequence[Check]) -> list[dict[str, Any]]:
    """What was looked at."""
    return [{"ok": each.ok, "what": each.what, "fix": each.fix or None} for each in found]


def status(found: Status) -> dict[str, Any]:
    """A deployment as its target sees it."""
    return {
        "state": str(found.state),
        "ready": found.ready,
        "wanted": found.wanted,
        "release": found.release or None,
        "image": found.image or None,
        "url": found.url or None,
        "canary": found.canary or None,
        "canary_release": found.canary_release or None,
        "reasons": list(found.reasons),
    }


def seen(found: Seen) -> dict[str, Any]:
    """A deployment as it is recorded, beside what its target says."""
    return {
        "deployment": found.history.deployment,
        "target": found.history.target,
        "kind": found.kind,
        "agrees": found.agrees,
        "notes": list(found.notes),
        "advice": list(found.advice),
        "live": recorded(found.history.live) if found.history.live else None,
        "canary": recorded(found.history.canary) if found.history.canary else None,
        "status": status(found.status) if found.status else None,
        "releases": [recorded(each) for each in reversed(found.history.records)],
    }
