"""The base image, by its name: out of a registry, a local OCI layout, an archive, or an engine; every byte verified.

What was had once is on the shelf: a name with a digest needs no network then, and a tag that was looked up before is
used as it was then where its registry cannot be asked.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from modelyard.core.errors import BuildFailed, InvalidRequest, ModelyardError, NotFound, RegistryRefused
from modelyard.core.imagename import ImageName, parse_image
from modelyard.core.network import Network
from modelyard.ship.engine.engines import Engine, find_engine
from modelyard.ship.image.images import NAMED
from modelyard.ship.image.shelf import Shelf, checked
from modelyard.ship.image.sources import DOCUMENT_BYTES, Archive, Folder, Registry, Source, open_archive

TAR = "application/vnd.oci.image.layer.v1.tar"
_PREFIXES = ("oci:", "archive:", "docker:")
_LAYER_BYTES = 8 << 30
_MOST_LAYERS = 256
_NO_LAYERS = "it is of a format that nobody makes any more, or no image at all"
_Kind = TypeVar("_Kind")


class _Machine(msgspec.Struct, frozen=True):
    """What an index says of an image."""

    os: str = ""
    architecture: str = ""

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """A blob, as a manifest names it; or an image, as an index does."""

    digest: str
    size: int
    media_type: str = ""
    platform: _Machine | None = None
    annotations: dict[str, str] | None = None


class _Document(msgspec.Struct, frozen=True):
    """A manifest or an index; which, is seen by what it has."""

    config: Part | None = None
    layers: tuple[Part, ...] | None = None
    manifests: tuple[Part, ...] | None = None


class _Process(msgspec.Struct, frozen=True):
    environment: tuple[str, ...] | None = msgspec.field(name="Env", default=None)


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...] | None = None


class _Config(msgspec.Struct, frozen=True):
    os: str = ""
    architecture: str = ""
    config: _Process | None = None
    rootfs: _RootFs = _RootFs()


class _Saved(msgspec.Struct, frozen=True):
    """One image of what ``docker save`` writes."""

    config: str = msgspec.field(name="Config")
    tags: tuple[str, ...] | None = msgspec.field(name="RepoTags", default=None)
    layers: tuple[str, ...] = msgspec.field(name="Layers", default=())


class _Resolved(msgspec.Struct, frozen=True):
    """What a name meant when it was looked up."""

    digest: str


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base image.

    Parameters
    ----------
    name : str
        As it was asked for.
    digest : str
        ``sha256:...`` of its manifest; of what an engine saved, of its config.
    platform : str
        ``linux/amd64``.
    environment : mapping of str to str
        Variables that it sets.
    layers : tuple of Part
        Bottom up.
    diff_ids : tuple of str
        Of the layers, unpacked.
    note : str
        What is worth saying of how it was found.
    """

    name: str
    digest: str
    platform: str
    environment: Mapping[str, str]
    layers: tuple[Part, ...]
    diff_ids: tuple[str, ...]
    note: str = ""
    _source: Source
    _shelf: Shelf

    @property
    def title(self) -> str:
        """Its name as it means something elsewhere, too: that of a folder or file of this machine does not."""
        return "base image" if self.name.startswith(("oci:", "archive:")) else self.name.removeprefix("docker:")

    def layer(self, number: int) -> Path:
        """The file with the layer's bytes, verified; fetched when it is not on the shelf."""
        part = self.layers[number]
        return _kept(self._shelf, self._source, part.digest, part.size, _LAYER_BYTES)


@contextmanager
def open_base(name: str, platform: str, shelf: Shelf, network: Network) -> Iterator[Base]:
    """The image of this name for this platform.

    Raises
    ------
    NotFound, InvalidRequest
        There is none of that name, or it cannot be a name; in an OCI layout it is not said which of several.
    BuildFailed
        It is for another platform; or it is damaged.
    RegistryRefused, Denied, NoEngine
        It cannot be had, and was not had before.
    """
    kind, rest = next(((each, name[len(each) :]) for each in _PREFIXES if name.startswith(each)), ("", name))
    with ExitStack() as stack:
        if kind == "oci:":
            folder, tag = _folder_and_tag(rest)
            yield _of_index(_Asked(name, platform, shelf), Folder(folder), _read_index(folder), tag)
        elif kind == "archive:":
            yield _of_archive(_Asked(name, platform, shelf), stack.enter_context(open_archive(Path(rest))))
        elif kind == "docker:":
            yield _of_engine(_Asked(name, platform, shelf), rest, stack)
        else:
            yield _of_registry(_Asked(name, platform, shelf), parse_image(rest), network, stack)


@dataclass(frozen=True)
class _Asked:
    """What was asked for, and where it is kept."""

    name: str
    platform: str
    shelf: Shelf

    def document(self, source: Source, digest: str, size: int, kind: type[_Kind]) -> _Kind:
        """A manifest, index or config."""
        path = _kept(self.shelf, source, digest, size, DOCUMENT_BYTES)
        return self.decoded(path.read_bytes(), kind)

    def decoded(self, raw: bytes, kind: type[_Kind]) -> _Kind:
        """A document; `BuildFailed` when it is none."""
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise BuildFailed(what=f"{self.name} is no image", cause=str(exc)[:200]) from exc

    def elsewhere(self, known: Iterable[object]) -> BuildFailed:
        """It is for other machines."""
        return BuildFailed(
            what=f"{self.name} is not for {self.platform}",
            cause=f"it is for {', '.join(sorted({str(each) for each in known})[:8]) or 'no machine at all'}",
            hint=f"name an image that there is for {self.platform}: --base IMAGE",
        )

    def of_manifest(self, source: Source, part: Part, note: str = "") -> Base:
        """The image of a manifest, or of one that an index names for the platform."""
        for _ in range(3):  # an index may name another one
            document = self.document(source, part.digest, part.size, _Document)
            if document.manifests is None:
                break
            fitting = [each for each in document.manifests if str(each.platform) == self.platform]
            if not fitting:
                raise self.elsewhere(each.platform for each in document.manifests if _is_image(each))
            part = fitting[0]
        if document.config is None or document.layers is None:
            raise BuildFailed(what=f"{self.name} cannot be used as a base", cause=_NO_LAYERS)
        config = self.document(source, document.config.digest, document.config.size, _Config)
        return self.base(source, part.digest, config, document.layers, note)

    def base(self, source: Source, digest: str, config: _Config, layers: Sequence[Part], note: str = "") -> Base:
        """The image with this config."""
        if (machine := f"{config.os}/{config.architecture}") != self.platform:
            raise self.elsewhere([machine])
        diff_ids = config.rootfs.diff_ids or ()
        if len(diff_ids) != len(layers) or len(layers) > _MOST_LAYERS:
            raise BuildFailed(
                what=f"{self.name} is damaged", cause=f"{len(layers)} layers and {len(diff_ids)} digests of them"
            )
        variables = (config.config.environment if config.config else None) or ()
        return Base(
            name=self.name,
            digest=digest,
            platform=self.platform,
            environment=dict(each.partition("=")[::2] for each in variables),
            layers=tuple(layers),
            diff_ids=tuple(map(checked, diff_ids)),
            note=note,
            _source=source,
            _shelf=self.shelf,
        )


def _of_registry(asked: _Asked, name: ImageName, network: Network, stack: ExitStack) -> Base:
    """The image of a registry; where that cannot be asked, as it was looked up before, or as an engine here has it."""
    source, note = Registry(name, network), ""
    key = f"{name.place}:{name.reference}"
    digest = name.digest
    if not digest:
        try:
            digest = source.repository.head(name.reference)
            if not digest:
                raise NotFound(what="image", name=str(name), hint="name another one: --base IMAGE")
        except RegistryRefused as exc:
            known = asked.shelf.note(key, _Resolved)
            if known is None:
                if not _engine_has(asked.name):
                    hint = "or name an image that is here: --base oci:FOLDER, archive:FILE or docker:IMAGE"
                    raise RegistryRefused(**{**exc.facts, "hint": f"{exc.hint} {hint}".strip()}) from exc
                note = f"{name} as the engine of this machine has it: {exc.detail}"
                return replace(_of_engine(asked, asked.name, stack), note=note)
            digest = known.digest
            note = f"{name} as it was looked up before ({digest[:19]}…): {exc.detail}"
    found = asked.of_manifest(source, Part(digest, -1), note)
    asked.shelf.write_note(key, _Resolved(digest))
    return found


def _of_index(asked: _Asked, source: Source, index: bytes, tag: str) -> Base:
    """One of the images of an OCI layout."""
    named = asked.decoded(index, _Document).manifests or ()
    chosen = [part for part in named if not tag or _is_named(part, tag)]
    if len(chosen) > 1:
        chosen = [part for part in chosen if str(part.platform) == asked.platform] or chosen
    if len(chosen) == 1:
        return asked.of_manifest(source, chosen[0])
    known = sorted((part.annotations or {}).get(NAMED, part.digest[:19]) for part in named)
    if not chosen:
        raise NotFound(what="image", name=tag or asked.name, known=known)
    hint = f"say which: --base {asked.name}:TAG"
    raise InvalidRequest(what=f"{asked.name} holds {len(chosen)} images", cause=f"there is: {known}"[:300], hint=hint)


def _of_archive(asked: _Asked, archive: Archive) -> Base:
    """The one image of an archive: an OCI layout, or as ``docker save`` wrote it before there were any."""
    if (index := archive.read("index.json")) is not None and archive.read("oci-layout") is not None:
        return _of_index(asked, archive, index, "")
    manifest = archive.read("manifest.json")
    if manifest is None:
        raise BuildFailed(what=f"{asked.name} is no image", cause="it has neither an index.json nor a manifest.json")
    saved = asked.decoded(manifest, tuple[_Saved, ...])
    if len(saved) != 1:
        raise InvalidRequest(
            what=f"{asked.name} holds {len(saved)} images", hint="save one: docker save NAME:TAG -o FILE"
        )
    raw = archive.read(saved[0].config)
    if raw is None:
        raise BuildFailed(what=f"{asked.name} is damaged", cause=f"it has no {saved[0].config[:80]!r}")
    config = asked.decoded(raw, _Config)
    diff_ids = config.rootfs.diff_ids or ()
    archive.names.update(zip(diff_ids, saved[0].layers, strict=False))
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    asked.shelf.keep([raw], digest, limit_bytes=DOCUMENT_BYTES)
    parts = (
        [Part(checked(each), _LAYER_BYTES, TAR) for each in diff_ids] if len(diff_ids) == len(saved[0].layers) else []
    )
    return asked.base(archive, digest, config, parts)


def _engine_has(image: str) -> bool:
    try:
        return find_engine().has(image)
    except ModelyardError:  # there is none, or it does not say
        return False


def _of_engine(asked: _Asked, image: str, stack: ExitStack) -> Base:
    """An image that an engine has. It is saved only when the shelf has not all of it."""
    engine = find_engine(doing=f"the base image {asked.name}")
    key = f"engine {engine.inspect(image).id}"
    known = asked.shelf.note(key, _Resolved)
    config = asked.shelf.find(known.digest) if known else None
    if known and config:
        found = asked.decoded(config.read_bytes(), _Config)
        parts = [Part(checked(each), _LAYER_BYTES, TAR) for each in found.rootfs.diff_ids or ()]
        return asked.base(_Saving(engine, image, stack, asked), known.digest, found, parts)
    base = _of_archive(asked, _Saving(engine, image, stack, asked).archive)
    asked.shelf.write_note(key, _Resolved(base.digest))
    return base


def _kept(shelf: Shelf, source: Source, digest: str, size: int, limit_bytes: int) -> Path:
    """A blob on the shelf, put there when it is not; of a size that is not known, `size` is negative."""
    found = shelf.find(digest)
    if found is not None:
        return found
    if size > limit_bytes:
        raise BuildFailed(what=f"{digest[:19]}… would have {size} bytes", cause=f"at most {limit_bytes} are read")
    return shelf.keep(source.blob(digest, size), digest, limit_bytes=limit_bytes)


class _Saving:
    """What an engine has, saved when the first of its bytes is needed."""

    def __init__(self, engine: Engine, image: str, stack: ExitStack, asked: _Asked) -> None:
        self._engine, self._image, self._stack, self._asked = engine, image, stack, asked

    @cached_property
    def archive(self) -> Archive:
        """Of ``docker save``, for as long as the base is in use."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(dir=self._asked.shelf.aside))
        path = Path(folder) / "saved.tar"
        self._engine.save(self._image, path)
        return self._stack.enter_context(open_archive(path))

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """Of the archive."""
        if digest not in self.archive.names:
            _of_archive(self._asked, self.archive)
        return self.archive.blob(digest, size)


def _folder_and_tag(text: str) -> tuple[Path, str]:
    """``FOLDER[:TAG]``, both of which may have colons."""
    parts = text.split(":")
    for count in range(len(parts), 0, -1):
        folder, tag = Path(":".join(parts[:count])), ":".join(parts[count:])
        if folder.is_dir():
            return folder, tag
    return Path(parts[0]), ":".join(parts[1:])


def _read_index(folder: Path) -> bytes:
    try:
        return (folder / "index.json").read_bytes()
    except OSError as exc:
        hint = "make one: skopeo copy docker://IMAGE oci:FOLDER:TAG"
        raise NotFound(what="OCI layout", name=str(folder), cause=exc.strerror or "", hint=hint) from exc


def _is_image(part: Part) -> bool:
    """Whether it is one that runs somewhere; builders put their notes beside it."""
    return part.platform is not None and part.platform.os != "unknown"


def _is_named(part: Part, tag: str) -> bool:
    name = (part.annotations or {}).get(NAMED, "")
    return name == tag or name.endswith(f":{tag}") or part.digest == tag
