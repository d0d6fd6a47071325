"""A bundle's bytes: kept as blobs, laid out as a folder for who serves them, collected when no version names them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelyard.core.errors import CorruptBundle, NotFound, StoreDamaged
from modelyard.core.manifest import Manifest, read_manifest
from modelyard.model.bundle import Bundle, open_bundle
from modelyard.store import files
from modelyard.store.blobs import Blobs

GRACE_S = 24 * 3600.0


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
    """

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs = blobs
        self._folder = files.make_folder(folder)
        self._building = files.make_folder(folder / ".building")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is collected meanwhile. Held from `store` until a version names the bundle, and while laying out."""
        with files.locked(self._folder, shared=True):
            yield

    def store(self, bundle: Bundle) -> str:
        """Keep every file, then the manifest that names them; the bundle's digest. Nobody sees it before that."""
        for name, entry in bundle.manifest.files.items():
            self._blobs.put([bundle.files[name]], digest=entry.sha256)
        return self._blobs.put([bundle.manifest.to_bytes()], digest=bundle.digest)

    def read(self, digest: str) -> Bundle:
        """The bundle, every byte verified; `CorruptBundle` when a byte is missing or was changed."""
        manifest = self.manifest(digest)
        return Bundle(manifest, {name: self._get(entry.sha256, digest) for name, entry in manifest.files.items()})

    def manifest(self, digest: str) -> Manifest:
        """The manifest alone, verified; `CorruptBundle` when it is missing or was changed."""
        return read_manifest(self._get(digest, digest), digest[:12])

    def checkout(self, digest: str) -> Path:
        """The bundle as a folder, verified; laid out when it is not there, and again when it was damaged."""
        target = self._folder / digest
        try:
            open_bundle(target, digest=digest)
        except (NotFound, CorruptBundle):
            self._lay_out(self.read(digest), target)
        return target

    def collect(self, keep: Callable[[], set[str]], *, grace_s: float = GRACE_S) -> Collected:
        """Remove what belongs to no digest of `keep()` and is older than the grace time.

        `keep` is asked when nobody is between `store` and publishing, so that no bundle on its way looks like garbage.
        """
        limit = datetime.now(UTC) - timedelta(seconds=grace_s)
        with files.locked(self._folder):
            live = keep()
            needed = live | {entry.sha256 for digest in live for entry in self.manifest(digest).files.values()}
            garbage = [blob for blob in self._blobs.list() if blob.digest not in needed and blob.put_at < limit]
            for blob in garbage:
                self._blobs.delete(blob.digest)
            laid_out = [path for path in self._folder.iterdir() if path != self._building and path.name not in live]
            folders = [path for path in (*laid_out, *self._building.iterdir()) if _changed(path) < limit]
            for path in folders:
                shutil.rmtree(path)
            self._blobs.sweep(grace_s)
        return Collected(len(garbage), sum(blob.size_bytes for blob in garbage), len(folders))

    def _get(self, blob: str, bundle: str) -> bytes:
        try:
            return self._blobs.get(blob)
        except (NotFound, StoreDamaged) as exc:
            raise CorruptBundle(bundle=bundle[:12], what=exc.detail) from exc

    def _lay_out(self, bundle: Bundle, target: Path) -> None:
        """Built aside, then renamed, by one builder at a time; a damaged folder steps aside first."""
        aside = self._building / secrets.token_hex(8)
        with files.locked(self._building):
            if _intact(target, bundle.digest):
                return  # another builder was faster
            try:
                aside.mkdir(mode=0o700)
                bundle.write(aside)
                _sync(aside)
                if target.exists():
                    target.rename(aside.with_suffix(".damaged"))
                aside.rename(target)
                files.sync_folder(self._folder)
            except OSError as exc:
                raise files.refused(exc, self._folder) from exc
            finally:
                shutil.rmtree(aside, ignore_errors=True)
                shutil.rmtree(aside.with_suffix(".damaged"), ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    files.sync_folder(folder)


def _intact(folder: Path, digest: str) -> bool:
    try:
        open_bundle(folder, digest=digest)
    except (NotFound, CorruptBundle):
        return False
    return True


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
