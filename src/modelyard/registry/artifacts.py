"""A bundle's bytes: kept as blobs, laid out as a folder for who serves them, collected when no version names them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import CorruptBundle, NotFound, StoreDamaged
from modelyard.store import files
from modelyard.store.blobs import Blobs

if TYPE_CHECKING:
    from modelyard.core.manifest import Manifest
    from modelyard.model.bundle import Bundle

GRACE_S = 24 * 3600.0
_MANIFEST, _SIGNATURE = "manifest.json", "signature.dsse"  # core.manifest brings numpy
_BUILDING = ".building"


@dataclass(frozen=True)
class Collected:
    """What a collection removed: blobs, their bytes, and folders of bundles."""

    blobs: int = 0
    size_bytes: int = 0
    folders: int = 0


class Artifacts:
    """The bundles of one home.

    Parameters
    ----------
    blobs : Blobs
        Where the bytes are kept.
    folder : Path
        Where bundles are laid out as folders; everything in it can be made again from the blobs.
    memory : callable
        Gives the folder in memory where they are laid out instead, while they may not lie on a disk; asked each time.
    """

    def __init__(self, blobs: Blobs, folder: Path, memory: Callable[[], Path | None] = lambda: None) -> None:
        self._blobs = blobs
        self._folder = files.make_folder(folder)
        self._memory = memory
        files.make_folder(folder / _BUILDING)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is collected meanwhile. Held from `store` until a version names the bundle, and while laying out."""
        with files.locked(self._folder, shared=True):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody stores, lays out or collects meanwhile."""
        with files.locked(self._folder):
            yield

    def store(self, bundle: Bundle) -> str:
        """Keep every file, then the manifest that names them; the bundle's digest. Nobody sees it before that."""
        for name, entry in bundle.manifest.files.items():
            self._blobs.put([bundle.files[name]], digest=entry.sha256)
        return self._blobs.put([bundle.manifest.to_bytes()], digest=bundle.digest)

    def read(self, digest: str) -> Bundle:
        """The bundle, every byte verified; `CorruptBundle` when a byte is missing or was changed."""
        from modelyard.model.bundle import Bundle  # noqa: PLC0415 - brings numpy, which `checkout` seldom needs

        manifest = self.manifest(digest)
        return Bundle(manifest, {name: self._get(entry.sha256, digest) for name, entry in manifest.files.items()})

    def manifest(self, digest: str) -> Manifest:
        """The manifest alone, verified; `CorruptBundle` when it is missing or was changed."""
        from modelyard.core.manifest import read_manifest  # noqa: PLC0415 - as above

        return read_manifest(self._get(digest, digest), digest[:12])

    def checkout(self, digest: str, signature: bytes | None = None) -> Path:
        """The bundle as a folder, verified; laid out when it is not there, and again when it was damaged.

        The signature, if any, lies beside the manifest; nobody sees half of one.
        """
        target = (self._memory() or self._folder) / digest
        if not _intact(target, digest):
            self._lay_out(replace(self.read(digest), signature=signature), target)
        _attach(target, signature)
        return target

    def collect(self, keep: Callable[[], set[str]], *, grace_s: float = GRACE_S) -> Collected:
        """Remove what belongs to no digest of `keep()` and is older than the grace time.

        `keep` is asked when nobody is between `store` and publishing, so that no bundle on its way looks like garbage.
        """
        limit = datetime.now(UTC) - timedelta(seconds=grace_s)
        with self.alone():
            live = keep()
            needed = live | {entry.sha256 for digest in live for entry in self.manifest(digest).files.values()}
            garbage = [blob for blob in self._blobs.list() if blob.digest not in needed and blob.put_at < limit]
            for blob in garbage:
                self._blobs.delete(blob.digest)
            places = [self._folder, *filter(None, [self._memory()])]
            folders = [path for place in places for path in _spare(place, live) if _changed(path) < limit]
            for path in folders:
                shutil.rmtree(path)
            self._blobs.sweep(grace_s)
        return Collected(len(garbage), sum(blob.size_bytes for blob in garbage), len(folders))

    def put_away(self, needed: Callable[[], set[Path]]) -> None:
        """While bundles belong into memory: remove those on disk, and those in memory that are not needed.

        `needed`, the folders that servers look at, is asked when nobody lays out.
        """
        if self._memory() is None:
            return
        with self.alone():
            memory = self._memory()  # asked again: it goes when nobody else is here
            if memory is None:
                return
            keep = {path.name for path in needed()}
            for path in (*_spare(self._folder, set()), *_spare(memory, keep)):
                shutil.rmtree(path)

    def _get(self, blob: str, bundle: str) -> bytes:
        try:
            return self._blobs.get(blob)
        except (NotFound, StoreDamaged) as exc:
            raise CorruptBundle(bundle=bundle[:12], what=exc.detail) from exc

    def _lay_out(self, bundle: Bundle, target: Path) -> None:
        """Built aside, then renamed, by one builder at a time; a damaged folder steps aside first."""
        building = files.make_folder(target.parent / _BUILDING)
        aside = building / os.urandom(8).hex()
        with files.locked(building):
            if _intact(target, bundle.digest):
                return  # another builder was faster
            try:
                aside.mkdir(mode=0o700)
                bundle.write(aside)
                _sync(aside)
                if target.exists():
                    target.rename(aside.with_suffix(".damaged"))
                aside.rename(target)
                files.sync_folder(target.parent)
            except OSError as exc:
                raise files.refused(exc, target.parent) from exc
            finally:
                shutil.rmtree(aside, ignore_errors=True)
                shutil.rmtree(aside.with_suffix(".damaged"), ignore_errors=True)


def _attach(folder: Path, signature: bytes | None) -> None:
    """Make this the signature that lies in the folder."""
    path = folder / _SIGNATURE
    if signature is None:
        if path.exists():  # a read-only disk refuses also where there is nothing to remove
            path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != signature:
        files.replace(path, signature)


def _spare(place: Path, needed: set[str]) -> list[Path]:
    """Folders of a place that are no bundle of these, and what builders that died left."""
    half = place / _BUILDING
    return [
        *(path for path in place.iterdir() if path != half and path.name not in needed),
        *(half.iterdir() if half.is_dir() else ()),
    ]


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    files.sync_folder(folder)


def _intact(folder: Path, digest: str) -> bool:
    """Whether every byte is there that was published under this digest; what they mean is not asked."""
    try:
        raw = (folder / _MANIFEST).read_bytes()
        if hashlib.sha256(raw).hexdigest() != digest:
            return False
        return all(_same(folder / name, entry) for name, entry in json.loads(raw)["files"].items())
    except OSError:  # it is not there, or may not be read
        return False


def _same(path: Path, entry: Mapping[str, Any]) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # no link, and no waiting for a pipe's writer
    with os.fdopen(fd, "rb") as file:
        if os.fstat(fd).st_size != entry["size_bytes"]:
            return False
        return hashlib.file_digest(file, "sha256").hexdigest() == str(entry["sha256"])


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
