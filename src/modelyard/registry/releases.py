"""Targets and the releases on them: what was put where, by whom, and how it went. Rows are only ever added or finished.

Reading is plain SQL; what changes rows does so inside the transaction it is given, and imports SQLAlchemy when called.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.core.errors import Conflict, StoreDamaged
from modelyard.core.release import Release, Stage

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Runs one statement with its parameters and gives the rows; a connection's own, of the driver or of a writer.
Execute = Callable[[str, tuple[Any, ...]], Iterable[Any]]

#: Whoever was at it may have been cut off.
UNDER_WAY = frozenset({Stage.APPLYING, Stage.DESTROYING})
#: What is there, as far as the record knows.
STANDING = frozenset({Stage.LIVE, Stage.CANARY, *UNDER_WAY})
_TARGETS = "SELECT name, kind, settings, created_by, created_at, updated_at FROM targets ORDER BY name"
_RELEASES = (
    "SELECT stage, document, access, why, created_by, created_at, finished_at FROM releases {}"
    " ORDER BY target, deployment, number"
)
_OF_ONE = "WHERE target = ? AND deployment = ?"


class KnownTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One target as it was told to us.

    Parameters
    ----------
    name, kind : str
        What it is called here, and which backend knows how to use it.
    settings : dict of str to str
        Of the backend, as they were written.
    created_by : str
        Name of the principal that told us; empty for a kind that stands for itself.
    created_at, updated_at : datetime or None
        UTC; None as above.
    """

    name: str
    kind: str
    settings: dict[str, str]
    created_by: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One release and how it went with it.

    Parameters
    ----------
    release : Release
        What was wanted.
    stage : Stage
        How it is.
    access : str
        Digest of what callers were let in by when it was put there.
    why : str
        What happened to it, where that is worth a sentence.
    created_by : str
        Name of the principal that wanted it.
    created_at, finished_at : datetime
        UTC; when it was begun, and when it was up or had failed.
    """

    release: Release
    stage: Stage
    access: str
    why: str
    created_by: str
    created_at: datetime
    finished_at: datetime | None

    @property
    def number(self) -> int:
        """The release's."""
        return self.release.number


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All releases of one deployment on one target, oldest first."""

    target: str
    deployment: str
    records: tuple[Recorded, ...] = ()

    def __str__(self) -> str:
        return f"{self.deployment} on {self.target}"

    @property
    def live(self) -> Recorded | None:
        """The one that answers."""
        return self._newest(Stage.LIVE)

    @property
    def canary(self) -> Recorded | None:
        """The one beside it."""
        return self._newest(Stage.CANARY)

    @property
    def under_way(self) -> Recorded | None:
        """The one that somebody is putting there or removing, or was cut off at."""
        return self._newest(*UNDER_WAY)

    @property
    def standing(self) -> bool:
        """Whether anything of it should be there."""
        return any(record.stage in STANDING for record in self.records)

    @property
    def next_number(self) -> int:
        """Of the release to come."""
        return self.records[-1].number + 1 if self.records else 1

    @property
    def before(self) -> Recorded | None:
        """The newest one that was live before the live one, and is another; None when there is none.

        Where nothing is live, because it was destroyed, that is what was destroyed.
        """
        live = self.live
        gone = {Stage.REPLACED} if live else {Stage.REPLACED, Stage.DESTROYED}
        earlier = [one for one in self.records if one.stage in gone and not one.release.canary]
        others = (one for one in reversed(earlier) if live is None or not alike(one.release, live.release))
        return next(others, None)

    def find(self, number: int) -> Recorded | None:
        """The release of this number."""
        return next((record for record in self.records if record.number == number), None)

    def _newest(self, *stages: Stage) -> Recorded | None:
        return next((record for record in reversed(self.records) if record.stage in stages), None)


def alike(one: Release, other: Release) -> bool:
    """Whether two releases are the same but for their numbers."""
    return msgspec.structs.replace(one, number=other.number) == other


def targets(execute: Execute) -> dict[str, KnownTarget]:
    """The targets that were told to us, by name."""
    found = {}
    for name, kind, settings, made_by, made_at, changed_at in execute(_TARGETS, ()):
        found[name] = KnownTarget(
            name=name,
            kind=kind,
            settings=json.loads(settings),
            created_by=made_by,
            created_at=datetime.fromisoformat(made_at),
            updated_at=datetime.fromisoformat(changed_at),
        )
    return found


def history(execute: Execute, target: str, deployment: str) -> History:
    """The releases of one deployment; none when it was never deployed there."""
    rows = execute(_RELEASES.format(_OF_ONE), (target, deployment))
    return History(target=target, deployment=deployment, records=tuple(map(_recorded, rows)))


def histories(execute: Execute, target: str = "") -> list[History]:
    """Those of all deployments, of one target or of all."""
    rows = execute(_RELEASES.format("WHERE target = ?" if target else ""), (target,) if target else ())
    found: dict[tuple[str, str], list[Recorded]] = {}
    for record in map(_recorded, rows):
        found.setdefault((record.release.target, record.release.deployment), []).append(record)
    return [History(target=where, deployment=what, records=tuple(each)) for (where, what), each in found.items()]


def put_target(connection: sa.Connection, name: str, kind: str, settings: Mapping[str, str], actor: str) -> None:
    """Keep the target, in the place of one of its name."""
    import sqlalchemy as sa  # noqa: PLC0415 - for those who write

    from modelyard.registry.tables import TARGETS  # noqa: PLC0415 - as above

    now = datetime.now(UTC)
    row = {"kind": kind, "settings": dict(settings), "updated_at": now}
    changed = connection.execute(sa.update(TARGETS).where(TARGETS.c.name == name).values(row))
    if not changed.rowcount:
        made = {"name": name, "created_by": actor, "created_at": now}
        connection.execute(sa.insert(TARGETS).values({**row, **made}))


def remove_target(connection: sa.Connection, name: str) -> None:
    """Forget the target; `Conflict` while deployments live there."""
    from modelyard.registry.tables import TARGETS  # noqa: PLC0415 - as above

    check_empty(connection, name, "removed")
    connection.execute(TARGETS.delete().where(TARGETS.c.name == name))


def check_empty(connection: sa.Connection, target: str, doing: str) -> None:
    """`Conflict` when deployments live on the target."""
    living = [each.deployment for each in histories(connection.exec_driver_sql, target) if each.standing]
    if living:
        raise Conflict(
            what=f"target {target} cannot be {doing}: {', '.join(living[:8])} lives there",
            hint=f"modelyard destroy {living[0]} --to {target}",
        )


def begin(connection: sa.Connection, release: Release, access: str, actor: str) -> None:
    """Record that the release is being put there; what somebody was cut off at before is taken over from.

    Raises
    ------
    Conflict
        Somebody else has begun a release since this one was numbered.
    """
    from modelyard.registry.tables import RELEASES  # noqa: PLC0415 - as above

    found = history(connection.exec_driver_sql, release.target, release.deployment)
    if release.number != found.next_number:
        raise Conflict(
            what=f"{found} was changed meanwhile: its next release is {found.next_number}, not {release.number}",
            hint="run the same command again",
        )
    for one in found.records:
        if one.stage is Stage.APPLYING:
            _settle(connection, one, Stage.FAILED, f"cut off; release {release.number} took over")
        elif one.stage is Stage.DESTROYING:
            _settle(connection, one, Stage.DESTROYED, f"cut off; release {release.number} took over")
    row = {
        "target": release.target,
        "deployment": release.deployment,
        "number": release.number,
        "stage": str(Stage.APPLYING),
        "document": release.to_bytes().decode(),
        "access": access,
        "why": "",
        "created_by": actor,
        "created_at": datetime.now(UTC),
    }
    connection.execute(RELEASES.insert().values(row))


def arrive(connection: sa.Connection, release: Release, access: str) -> None:
    """Record that the release is up, and what it replaced: the live one and its canary, or only the canary."""
    found = history(connection.exec_driver_sql, release.target, release.deployment)
    gone = {Stage.CANARY} if release.canary else {Stage.LIVE, Stage.CANARY}
    for one in found.records:
        if one.stage in gone and one.number != release.number:
            _settle(connection, one, Stage.REPLACED, one.why)
        elif one.number == release.number:
            _settle(connection, one, Stage.CANARY if release.canary else Stage.LIVE, "", access)


def fail(connection: sa.Connection, release: Release, why: str) -> None:
    """Record that the release did not come up, and why."""
    one = history(connection.exec_driver_sql, release.target, release.deployment).find(release.number)
    if one is not None:
        _settle(connection, one, Stage.FAILED, why)


def leave(connection: sa.Connection, target: str, deployment: str, *, done: bool) -> None:
    """Record that what is there is being removed; or, when that is done, that it is gone."""
    for one in history(connection.exec_driver_sql, target, deployment).records:
        if one.stage in STANDING:
            _settle(connection, one, Stage.DESTROYED if done else Stage.DESTROYING, one.why)


def _settle(connection: sa.Connection, one: Recorded, stage: Stage, why: str, access: str = "") -> None:
    import sqlalchemy as sa  # noqa: PLC0415 - as above

    from modelyard.registry.tables import RELEASES  # noqa: PLC0415 - as above

    release, table = one.release, RELEASES.c
    mine = (table.target == release.target, table.deployment == release.deployment, table.number == release.number)
    row = {"stage": str(stage), "why": why, "access": access or one.access}
    ended = {"finished_at": datetime.now(UTC)} if one.finished_at is None and stage not in UNDER_WAY else {}
    connection.execute(sa.update(RELEASES).where(*mine).values({**row, **ended}))


def _recorded(row: tuple[Any, ...]) -> Recorded:
    stage, document, access, why, made_by, made_at, ended_at = row
    try:
        release = Release.from_bytes(document.encode())
    except (ValueError, TypeError, msgspec.DecodeError) as exc:
        raise StoreDamaged(what="the database holds a release that cannot be read") from exc
    return Recorded(
        release=release,
        stage=Stage(stage),
        access=access,
        why=why,
        created_by=made_by,
        created_at=datetime.fromisoformat(made_at),
        finished_at=None if ended_at is None else datetime.fromisoformat(ended_at),
    )
