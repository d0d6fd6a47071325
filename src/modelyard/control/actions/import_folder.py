"""Import a folder: every model in a foreign server's or tracker's folder becomes a version, checked on the way.

What was imported from the same files with the same settings before is found again, so that a server that is started on
a folder a second time publishes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.control.actions.home import Home
from modelyard.control.actions.import_model import IMPORT, Extras, Found, assemble, look, note_trust, source_of
from modelyard.control.actions.publish import publish
from modelyard.core.errors import CorruptBundle, InvalidData, InvalidModel, InvalidRequest, ModelyardError, TooLarge
from modelyard.core.manifest import MANIFEST
from modelyard.core.reference import check_name, suggest_name
from modelyard.model.bundle import sha256
from modelyard.model.convert import Converted, frame_of, from_file
from modelyard.model.declared import take_over
from modelyard.model.folders import Folder, Member, Refusal, Setting, open_folder
from modelyard.model.formats import Request
from modelyard.model.inspect import MAX_BYTES
from modelyard.model.table import Table, read_table
from modelyard.registry.versions import LATEST, PRODUCTION, Version

if TYPE_CHECKING:
    import pandas as pd

RECIPE = "recipe"


@dataclass(frozen=True)
class Taken:
    """One version that is there now: which member of the folder it is, and whether it was converted just now."""

    member: Member
    version: Version
    sandbox: str
    fresh: bool


@dataclass(frozen=True)
class Import:
    """What became of a folder.

    Parameters
    ----------
    folder : Folder
        What was found.
    taken : tuple of Taken
        Versions that are there now, in the folder's order.
    refusals : tuple of Refusal
        Models that could not be imported.
    settings : tuple of Setting
        What is not honoured.
    notes : tuple of str
        What a person should know: new names, numbers, examples that were not used.
    """

    folder: Folder
    taken: tuple[Taken, ...]
    refusals: tuple[Refusal, ...]
    settings: tuple[Setting, ...]
    notes: tuple[str, ...]

    @property
    def references(self) -> tuple[str, ...]:
        """What to serve to serve exactly this folder; of each model the newest first, which answers for the name."""
        return tuple(str(item.version) for item in reversed(self.taken))


def is_foreign(path: Path) -> bool:
    """Whether the path is a folder and no exported bundle."""
    return path.is_dir() and not (path / MANIFEST).is_file()


def read_folder(path: Path, environ: Mapping[str, str]) -> Folder:
    """What is in the folder; see `folders.open_folder`."""
    return open_folder(path, environ)


def import_folder(home: Home, folder: Folder, extras: Extras | None = None) -> Import:
    """Publish every model of the folder, each as the next version of its name.

    Parameters
    ----------
    home : Home
        Where to publish.
    folder : Folder
        From `read_folder`.
    extras : Extras or None
        What the user adds. A name or a sample is for a folder with one model; `scale` is for none.

    Returns
    -------
    Import
        With what could not be imported among its `refusals`; the others are published.

    Raises
    ------
    InvalidRequest
        A name or a sample was given, and the folder has several models.
    StoreFull, Unavailable
        The store cannot be written.
    """
    extras = extras or Extras()
    if extras.name:
        check_name(extras.name)
    names = {member.name for member in folder.members}
    if len(names) > 1 and (extras.name or extras.sample):
        raise InvalidRequest(
            what=f"the folder has {len(names)} models: {', '.join(sorted(names))}",
            cause="a name or a sample can only be meant for one",
            hint="give the folder of that model",
        )
    work = _Work(home, folder, extras)
    taken = [found for member in folder.members if (found := work.take(member)) is not None]
    return Import(
        folder,
        tuple(taken),
        (*folder.refusals, *work.refusals),
        folder.settings,
        (*folder.notes, *dict.fromkeys(work.notes)),
    )


class _Work:
    """One import: the folder's models one after the other."""

    def __init__(self, home: Home, folder: Folder, extras: Extras) -> None:
        self._home = home
        self._folder = folder
        self._extras = extras
        self._table = read_table(extras.sample) if extras.sample is not None else None
        self.refusals: list[Refusal] = []
        self.notes: list[str] = []
        self._names = self._named()

    def _named(self) -> dict[str, str]:
        """Legal names by the folder's names; two that would become one keep apart by a number."""
        given: dict[str, str] = {}
        for name in dict.fromkeys(member.name for member in self._folder.members):
            wanted = self._extras.name or suggest_name(name)
            number = 2
            while wanted in given.values():
                wanted = suggest_name(f"{name}-{number}")
                number += 1
            given[name] = wanted
            if wanted != name and not self._extras.name:
                self.notes.append(f"{name} is called {wanted} here: names become hosts, a-z, 0-9 and '-'")
        return given

    def take(self, member: Member) -> Taken | None:
        """The member as a version; None when it was refused."""
        try:
            return self._take(member)
        except InvalidModel as exc:
            self.refusals.append(_refused(member, exc))
        except ModelyardError as exc:
            if exc.kind not in {TooLarge.kind, InvalidData.kind} and exc.code not in {"SANDBOX-MISSING", "NOT-FOUND"}:
                raise  # the store, not the model
            self.refusals.append(_refused(member, exc))
        return None

    def _take(self, member: Member) -> Taken:
        name = self._names[member.name]
        found = look(member.path)
        if found.kind not in member.formats:
            raise InvalidModel(what=f"{found.path.name} holds {found.kind}, where {' or '.join(member.formats)} is due")
        beside = _read_beside(member)
        recipe = self._recipe(name, member, found, beside)
        known = self._known(name, recipe)
        if known is not None:
            version, sandbox = known
            return Taken(member, version, sandbox, fresh=False)
        with self._home.attempt(IMPORT, found.path.name):
            note_trust(self._home, found, self._extras)
            converted, sandbox = self._converted(member, found, beside)
        bundle = assemble(
            name,
            converted,
            source_of(found, converted, sandbox),
            self._table,
            created_at=datetime.now(UTC),
            parameters={"folder": self._folder.kind, RECIPE: recipe, **_plain(member.facts)},
        )
        number, alias = _numbered(member.version)
        version = publish(self._home, bundle, aliases=[alias] if alias else [], at_least=number)
        self._tell_version(member, version, alias)
        return Taken(member, version, sandbox, fresh=True)

    def _converted(self, member: Member, found: Found, beside: Mapping[str, bytes]) -> tuple[Converted, str]:
        frame = self._frame(member)
        request = Request(raw=found.raw, kind=found.kind, frame=frame, beside=beside)
        try:
            converted, sandbox = from_file(request, trust=self._extras.trust)
        except InvalidData as exc:
            if frame is None or self._table is not None:
                raise
            self.notes.append(f"{member.name}: the example rows are not used: {exc.detail}")
            frame = None
            request = Request(raw=found.raw, kind=found.kind, beside=beside)
            converted, sandbox = from_file(request, trust=self._extras.trust)
        return take_over(converted, member.declared, ranged=self._table is not None), sandbox

    def _frame(self, member: Member) -> pd.DataFrame | None:
        if self._table is not None:
            return self._table.frame
        if member.example is None:
            return None
        try:
            return frame_of(member.example.columns, member.example.rows)
        except InvalidData as exc:
            self.notes.append(f"{member.name}: the example rows are not used: {exc.detail}")
            return None

    def _recipe(self, name: str, member: Member, found: Found, beside: Mapping[str, bytes]) -> str:
        """What the bundle is made of: the same recipe is the same version."""
        table: Table | None = self._table
        parts = {
            "name": name,
            "version": member.version,
            "file": sha256(found.raw),
            "beside": {file: sha256(raw) for file, raw in sorted(beside.items())},
            "declared": asdict(member.declared),
            "example": None if member.example is None else asdict(member.example),
            "sample": table.sha256 if table else "",
        }
        return sha256(json.dumps(parts, sort_keys=True, default=str).encode())

    def _known(self, name: str, recipe: str) -> tuple[Version, str] | None:
        """The newest version that was made by this recipe, and how its file was opened."""
        model = next((model for model in self._home.catalogue.models() if model.name == name), None)
        for version in reversed(model.versions if model else ()):
            try:
                manifest = self._home.artifacts.manifest(version.digest)
            except CorruptBundle:
                continue  # made again; whoever serves the damaged one is told then
            if manifest.lineage.parameters.get(RECIPE) == recipe:
                return version, manifest.source.sandbox
        return None

    def _tell_version(self, member: Member, version: Version, alias: str) -> None:
        if alias:
            self.notes.append(f"version {member.version} of {member.name} is {version}, and {version.name}@{alias}")
        elif member.version and member.version != str(version.version):
            self.notes.append(f"version {member.version} of {member.name} is {version}: that number was used already")


def _refused(member: Member, exc: ModelyardError) -> Refusal:
    version = f", version {member.version}" if member.version else ""
    why = f"{exc.detail} ({exc.cause})" if exc.cause else exc.detail
    return Refusal(f"{member.name}{version}", why, exc.hint)


def _numbered(version: str) -> tuple[int, str]:
    """The number to keep, else an alias: versions are numbers here, and names of versions are aliases."""
    if not version:
        return 1, ""
    if version.isdigit() and version.isascii() and 0 < len(version) <= 9 and int(version) > 0:
        return int(version), ""
    alias = suggest_name(version)
    taken = alias.isdigit() or alias in {LATEST, PRODUCTION}  # they mean something here already
    return 1, f"v-{alias}" if taken else alias


def _read_beside(member: Member) -> dict[str, bytes]:
    total = sum(path.stat().st_size for path in member.beside)
    if total > MAX_BYTES:
        raise TooLarge(what="folder of the model", limit=f"{MAX_BYTES >> 20} MiB", hint="import a smaller model")
    return {path.name: path.read_bytes() for path in member.beside}


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as JSON; dates and the like become text."""
    plain: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(dict(facts), str_keys=True), default=str))
    return plain


__all__ = ["Import", "Refusal", "Setting", "Taken", "import_folder", "is_foreign", "read_folder"]
