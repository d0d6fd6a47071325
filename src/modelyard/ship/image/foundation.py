"""What an image stands on: its base, whole or only what a server needs of it, and the Python that is in it."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import msgspec

from modelyard.core.errors import BuildFailed
from modelyard.ship.image import bytecode, compiler, rootfs, slim
from modelyard.ship.image.bases import Base
from modelyard.ship.image.layers import GZIP, Entry, Layer, file, folder, key_of, link, made_by, pack, pack_tar
from modelyard.ship.image.rootfs import Rootfs
from modelyard.ship.image.shelf import Shelf

ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
#: Platform -> what an ELF file for it says of itself.
_MACHINES = {"linux/amd64": 62, "linux/arm64": 183}
_ELF, _ELF_HEAD = b"\x7fELF", 20
_PACKINGS = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}
_HINT = "name an image with Python 3.11 or newer and glibc: --base python:3.11-slim"
#: Everybody may write there, which is so of no other folder.
_TMP = Entry("tmp", 0o1777)
#: What a file that is made to mislead its readers makes them raise.
_MISREAD = (struct.error, ValueError, IndexError, RecursionError, OverflowError)


class Kept(msgspec.Struct, frozen=True):
    """What an image has of its base.

    Parameters
    ----------
    layers : tuple of Layer
        Bottom up, on the shelf.
    debian : dict of str to str
        Debian packages of which files are kept, see `slim.owners`.
    """

    layers: tuple[Layer, ...]
    debian: dict[str, str]


class _Python(msgspec.Struct, frozen=True):
    version: str


class Ground:
    """A base, its files unpacked when somebody has to look at them. Made by `broken`.

    Parameters
    ----------
    base : Base
        The base.
    shelf : Shelf
        Where layers are kept.
    scratch : Path
        An empty folder.
    """

    def __init__(self, base: Base, shelf: Shelf, scratch: Path) -> None:
        self.base = base
        self._shelf = shelf
        self._scratch = scratch

    @cached_property
    def python(self) -> str:
        """Its Python: ``3.11``.

        Raises
        ------
        BuildFailed
            It has none that we run on, another libc, or programs for another machine; or it is damaged.
        """
        key = key_of("python", self.base.digest, self.base.platform, made_by(slim, rootfs))
        known = self._shelf.note(key, _Python)
        if known is None:
            known = _Python(self._look())
            self._shelf.write_note(key, known)
        return known.version

    @property
    def compiled(self) -> bool:
        """Whether the bytecode that is made here is its Python's."""
        return self.python == bytecode.VERSION

    def whole(self) -> Kept:
        """All its layers, as they are."""
        return self._kept(key_of("whole base", self.base.digest, self.base.platform, made_by(slim)), self._all)

    def pruned(self, packages: str, libraries: Callable[[], Iterable[bytes]], sonames: Iterable[str] = ()) -> Kept:
        """One layer with what a server needs of it.

        Parameters
        ----------
        packages : str
            Names what `libraries` gives.
        libraries : callable
            C libraries of the packages, whose own libraries have to be there too; not called when the layer is.
        sonames : iterable of str
            More C libraries to keep.
        """
        made = made_by(slim, rootfs, compiler)
        key = key_of("base", self.base.digest, self.base.platform, packages, *sonames, made, self._compiler)
        return self._kept(key, lambda: self._needed(list(libraries()), list(sonames)))

    def _kept(self, key: str, make: Callable[[], Kept]) -> Kept:
        known = self._shelf.note(key, Kept)
        if known is None or not all(self._shelf.find(each.digest) for each in known.layers):
            known = make()
            self._shelf.write_note(key, known)
        return known

    @property
    def _compiler(self) -> str:
        return bytecode.COMPILER if self.compiled else ""

    @cached_property
    def _files(self) -> tuple[Rootfs, list[int]]:
        """Its files, and how large its layers are, unpacked."""
        files = Rootfs(self._scratch)
        return files, [files.apply(self.base.layer(number), each) for number, each in enumerate(self.base.diff_ids)]

    def _look(self) -> str:
        """The version of its Python, which is one for this platform; nothing of it is run."""
        root = self._files[0].root
        with self._examined():
            found = slim.interpreter(root)
        with (root / found.binary).open("rb") as program:
            head = program.read(_ELF_HEAD)
        if not head.startswith(_ELF) or int.from_bytes(head[18:], "little") != _MACHINES[self.base.platform]:
            raise self._unfit(f"its Python is a program for another machine than {self.base.platform}")
        return ".".join(map(str, found.version))

    def _all(self) -> Kept:
        files, sizes = self._files
        with self._examined():
            slim.needed(files.root)  # it would find what is amiss
            names = (path.relative_to(files.root).as_posix() for path in rootfs.walk(files.root))
            debian = slim.owners(files.root, names)
        return Kept(tuple(self._as_it_is(number, size) for number, size in enumerate(sizes)), debian)

    def _needed(self, libraries: list[bytes], sonames: list[str]) -> Kept:
        files, root = self._files[0], self._files[0].root
        with self._examined():
            kept = slim.needed(root, libraries, sonames)
            added = slim.additions(root, kept)
            debian = slim.owners(root, kept)
        entries = [_entry(root, path) for path in kept if path not in added and path != _TMP.path]
        entries += [_TMP, *(file(path, raw) for path, raw in added.items())]
        if self.compiled:
            sources = ((path, files.follow(path)) for path in kept if path.endswith(".py"))
            modules = {f"/{path}": where.read_bytes() for path, where in sources if where is not None}
            entries += [file(path[1:], raw) for path, raw in bytecode.compiled(modules).items()]
        return Kept((pack(self._shelf, entries),), debian)

    @contextmanager
    def _examined(self) -> Iterator[None]:
        try:
            yield
        except slim.Unfit as exc:
            raise self._unfit(str(exc)) from exc
        except _MISREAD as exc:
            raise self._unfit(f"a file of it is damaged: {exc}") from exc

    def _unfit(self, cause: str) -> BuildFailed:
        return BuildFailed(what=f"{self.base.name} cannot be used as a base", cause=cause, hint=_HINT)

    def _as_it_is(self, number: int, unpacked_bytes: int) -> Layer:
        """A layer of the base; one that nobody packed is packed."""
        path = self.base.layer(number)
        with path.open("rb") as raw:
            head = raw.read(4)
        media_type = _PACKINGS.get(head) or _PACKINGS.get(head[:2])
        if media_type is None:
            return pack_tar(self._shelf, path)
        return Layer(
            digest=self.base.layers[number].digest,
            size_bytes=path.stat().st_size,
            diff_id=self.base.diff_ids[number],
            unpacked_bytes=unpacked_bytes,
            content_bytes=unpacked_bytes,
            media_type=media_type,
        )


@contextmanager
def broken(base: Base, shelf: Shelf) -> Iterator[Ground]:
    """The ground that this base is, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(dir=shelf.aside, ignore_cleanup_errors=True) as scratch:
        yield Ground(base, shelf, Path(scratch))


def _entry(root: Path, path: str) -> Entry:
    where = root / path
    if where.is_symlink():
        return link(path, str(where.readlink()))
    if where.is_dir():
        return folder(path)
    return file(path, where, executable=bool(where.stat().st_mode & 0o111))
