"""Random control acts for tests, and what the catalogue must be after them by the audit log alone."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.core.errors import ModelyardError, StoreFull
from modelyard.core.identity import Principal, Role, scopes
from modelyard.core.reference import Reference
from modelyard.guard import records
from modelyard.guard.grant import Grant
from modelyard.guard.records import Filter, Record
from tests.unit.registry.test_catalogue import manifest

WHO = Principal("key:ab12cd34ef", scopes(Role.DEPLOYER), "key")
KEYS = ["ci", "app", "lead"]
NAMES = ["churn", "price", "Bad Name"]
ALIASES = ["production", "canary", "latest"]
State = dict[str, tuple[set[int], dict[str, int]]]


def state(home: Home) -> State:
    return {
        model.name: ({one.version for one in model.versions}, dict(model.aliases)) for model in home.catalogue.models()
    }


def held(home: Home) -> set[tuple[str, str, bool]]:
    """Which secrets open something, of which keys, and which of these are about to end."""
    ring = keys.read(home)
    return {(key.id, one.digest, one.expires_at is None) for key in ring.keys.values() for one in key.secrets}


def replay(found: list[Record]) -> State:
    """What the catalogue must be, from the records alone."""
    models: State = {}
    for one in (record for record in found if record.outcome == "done"):
        name, _, part = one.object.partition("@")
        versions, aliases = models.setdefault(name, (set(), {}))
        if one.action == "model.publish":
            versions.add(int(part))
            moves = [move for move in one.detail.get("aliases", "").split(", ") if move]
            aliases.update({move.split(":")[0]: int(move.rsplit(" ", 1)[1]) for move in moves})
        elif one.action == "alias.set":
            aliases[part] = int(one.detail["after"])
        elif one.action == "alias.remove":
            assert aliases.pop(part) == int(one.detail["before"])
        elif one.action == "version.remove":
            versions.remove(int(part))
            for alias in one.detail.get("aliases", "").split(", "):
                aliases.pop(alias, None)
        elif one.action == "model.remove":
            del models[name]
        if not versions:
            models.pop(name, None)
    return models


def log(home: Home, after: int = 0) -> list[Record]:
    """The records after this one, oldest first."""
    with home.database.read() as connection:
        return list(records.read(connection.execute, Filter(after=after)))


def act(home: Home, dice: random.Random) -> str:
    """One act of a random actor: ``done`` (though perhaps nothing changed), ``failed`` or ``broke``."""
    mine = replace(home, actor=dice.choice([WHO, home.actor]), source=dice.choice(["cli", "::1"]))
    catalogue = mine.catalogue
    name, alias, force = dice.choice(NAMES), dice.choice(ALIASES), dice.random() < 0.3
    reference = Reference(name, version=dice.randint(1, 8))
    aliases = dice.sample(ALIASES[:2], dice.randint(0, 2)) + (["latest"] if dice.random() < 0.1 else [])
    mark = str(dice.randint(1, 3))
    key, overlap = dice.choice(KEYS), timedelta(hours=dice.choice([0, 1]))
    grant = Grant(name=key, scopes=scopes(dice.choice(list(Role))))
    chosen = dice.choices(
        [
            lambda: catalogue.publish(manifest(name, mark), aliases=aliases),
            lambda: catalogue.set_alias(reference, alias),
            lambda: catalogue.remove_alias(name, alias),
            lambda: catalogue.remove_version(reference, force=force),
            lambda: catalogue.remove_model(name, force=force),
            lambda: keys.create(mine, grant),
            lambda: keys.rotate(mine, key, overlap),
            lambda: keys.finish(mine, key),
            lambda: keys.revoke(mine, key),
        ],
        weights=[6, 5, 2, 2, 1, 1, 1, 1, 0.5],
    )[0]
    try:
        chosen()
    except StoreFull:
        return "broke"
    except ModelyardError:
        return "failed"
    return "done"
