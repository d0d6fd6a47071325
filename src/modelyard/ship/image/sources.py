"""Where an image's bytes are: a folder, an archive, a registry. What they give is verified by whoever asks."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from modelyard.core.errors import BuildFailed, MissingExtra, NotFound
from modelyard.core.imagename import ImageName
from modelyard.core.network import Network
from modelyard.ship.image.rootfs import damages, unpacked
from modelyard.ship.image.shelf import CHUNK_BYTES, checked

if TYPE_CHECKING:
    from modelyard.store.distribution import Repository

#: No manifest, index or config is larger.
DOCUMENT_BYTES = 4 << 20


class Source(Protocol):
    """Where an image's bytes are."""

    def blob(self, digest: str, size: int) -> Iterable[bytes]:
        """The bytes of this digest, as they are there; nobody has verified them."""
        ...


class Folder:
    """An OCI layout on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """Of its file."""
        del size
        path = self._folder / "blobs" / "sha256" / checked(digest)[7:]
        try:
            with path.open("rb", buffering=0) as file:
                yield from iter(lambda: file.read(CHUNK_BYTES), b"")
        except OSError as exc:
            raise BuildFailed(
                what=f"the OCI layout {self._folder.name!r} lacks {digest[:19]}…", cause=exc.strerror or ""
            ) from exc


class Archive:
    """An archive of an image.

    Parameters
    ----------
    tar : TarFile
        Opened for reading.
    """

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        #: Which file has the bytes of a digest, where its name does not say so.
        self.names: dict[str, str] = {}

    def read(self, name: str) -> bytes | None:
        """A small file of it; None when there is none."""
        with _readable(self._tar):
            found = self._file(name)
            return None if found is None else found.read(DOCUMENT_BYTES)

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """Of the file that has it; unpacked, where layers are named by what is in them."""
        del size
        name = self.names.get(digest, f"blobs/sha256/{digest[7:]}")
        with _readable(self._tar):
            found = self._file(name)
            if found is None:
                raise BuildFailed(what=f"the archive of the base image lacks {name[:100]!r}")
            stream = unpacked(found) if digest in self.names else found
            yield from iter(lambda: stream.read(CHUNK_BYTES), b"")

    def _file(self, name: str) -> IO[bytes] | None:
        """The file of this name. Layers that are there twice are links: they are followed inside of the archive."""
        for each in (name, f"./{name}"):
            with suppress(KeyError):
                return self._tar.extractfile(each)
        return None


class Registry:
    """A repository."""

    def __init__(self, name: ImageName, network: Network) -> None:
        self._name, self._network = name, network

    @cached_property
    def repository(self) -> Repository:
        """The client, made when it is needed."""
        try:
            from modelyard.store.distribution import Repository  # noqa: PLC0415 - of the extra `ship`
        except ModuleNotFoundError as exc:
            raise MissingExtra(what=f"fetching {self._name}", library=exc.name, extra="ship") from exc
        return Repository(self._name, self._network)

    def blob(self, digest: str, size: int) -> Iterable[bytes]:
        """Of a blob; of a manifest when the size is not known."""
        if size < 0:
            return [self.repository.manifest(digest).raw]
        return self.repository.blob(digest, size)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The archive in this file, packed or not."""
    try:
        tar = tarfile.open(path)  # noqa: SIM115 - closed below
    except FileNotFoundError as exc:
        raise NotFound(what="archive", name=str(path), hint="make one: docker save NAME:TAG -o FILE") from exc
    except (OSError, tarfile.TarError, EOFError) as exc:
        cause = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it is no tar, or a damaged one"
        hint = "make one: docker save NAME:TAG -o FILE"
        raise BuildFailed(what=f"{path.name!r} is no archive of an image", cause=cause, hint=hint) from exc
    with tar:
        yield Archive(tar)


@contextmanager
def _readable(tar: tarfile.TarFile) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _damaged(tar, exc) from exc
    except damages() as exc:
        raise _damaged(tar, exc) from exc


def _damaged(tar: tarfile.TarFile, exc: Exception) -> BuildFailed:
    return BuildFailed(what=f"the archive {Path(str(tar.name)).name!r} is damaged", cause=str(exc)[:200])
