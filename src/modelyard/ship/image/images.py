"""Images: layers and how they start -> config, manifest and index; written as an archive, or into an OCI layout.

One archive is for everybody: an OCI layout, which Podman, skopeo and newer engines read, and a ``manifest.json``, which
``docker load`` of Docker 20.10 reads, over the same blobs. There is no time in it: the same image, the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from modelyard.core.errors import InvalidRequest, StoreFull, Unavailable
from modelyard.ship.image.layers import Layer
from modelyard.ship.image.shelf import changed, chunks_of, digest_of
from modelyard.store import files

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
#: Of an image in a layout: its name.
NAMED = "org.opencontainers.image.ref.name"
#: The same, as containerd reads it.
_NAMED_TOO = "io.containerd.image.name"
#: When every image was made: there is no time in what is reproducible.
_CREATED = "1970-01-01T00:00:00Z"
_BLOBS = "blobs/sha256"


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a container of the image begins and ends.

    Parameters
    ----------
    entrypoint : sequence of str
        The program and its first arguments.
    user : str
        ``UID:GID``.
    environment : mapping of str to str
        Its variables.
    ports : sequence of int
        What it listens to.
    labels : mapping of str to str
        What the image says of itself.
    health : mapping
        Docker's health check: ``Test``, and times in nanoseconds. Who does not know it passes over it.
    stop_signal : str
        What asks it to end.
    """

    entrypoint: Sequence[str]
    user: str
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: Sequence[int] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True)
class Stored:
    """A layer, what it is for, and the file with its bytes."""

    layer: Layer
    what: str
    path: Path


@dataclass(frozen=True)
class Image:
    """An image, whole.

    Parameters
    ----------
    layers : tuple of Stored
        Bottom up.
    config, manifest : bytes
        JSON; their digests are the image's id and its digest.
    """

    layers: tuple[Stored, ...]
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        """How registries know it."""
        return _digest(self.manifest)

    @property
    def id(self) -> str:
        """How engines know it."""
        return _digest(self.config)

    @property
    def unpacked_bytes(self) -> int:
        """All its files together."""
        return sum(stored.layer.content_bytes for stored in self.layers)

    @property
    def packed_bytes(self) -> int:
        """What is pulled: layers as they travel, config and manifest."""
        return len(self.config) + len(self.manifest) + sum(blob.layer.size_bytes for blob in self.layers)


def assemble(layers: Sequence[Stored], start: Start, platform: str) -> Image:
    """The image of these layers, bottom up."""
    system, architecture, *variant = platform.split("/")
    config = _json(
        {
            "architecture": architecture,
            "os": system,
            **({"variant": variant[0]} if variant else {}),
            "created": _CREATED,
            "config": _started(start),
            "rootfs": {"type": "layers", "diff_ids": [stored.layer.diff_id for stored in layers]},
            "history": [{"created": _CREATED, "created_by": f"modelyard: {stored.what}"} for stored in layers],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG, config),
            "layers": [
                {"mediaType": one.layer.media_type, "digest": one.layer.digest, "size": one.layer.size_bytes}
                for one in layers
            ],
        }
    )
    return Image(tuple(layers), config, manifest)


def write_archive(image: Image, name: str, path: Path) -> None:
    """Write the image as one archive, whole or not at all.

    Raises
    ------
    StoreFull, Unavailable
        It cannot be there. Nothing is left.
    """
    described = {**_descriptor(MANIFEST_TYPE, image.manifest), "annotations": _names(name)}
    small = {
        "oci-layout": LAYOUT,
        "index.json": _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}),
        "manifest.json": _json(
            [
                {
                    "Config": _blob(image.id),
                    "RepoTags": [name],
                    "Layers": [_blob(one.layer.digest) for one in image.layers],
                }
            ]
        ),
        _blob(image.id): image.config,
        _blob(image.digest): image.manifest,
    }
    with _written(path) as out:
        for folder in ("blobs", _BLOBS):
            out.write(_head(folder, tarfile.DIRTYPE, 0o755))
        for inside, raw in small.items():
            out.write(_head(inside, tarfile.REGTYPE, 0o644, len(raw)) + raw + bytes(-len(raw) % tarfile.BLOCKSIZE))
        for stored in {one.layer.digest: one for one in image.layers}.values():
            _copy(stored, out)
        out.write(bytes(2 * tarfile.BLOCKSIZE))


def write_layout(image: Image, name: str, folder: Path) -> None:
    """Put the image into an OCI layout, made when it is not there; of images with this name it is the only one.

    The index comes last and is replaced whole: until then, and when anything fails, the layout is what it was.
    """
    blobs = folder / _BLOBS
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        for raw in (image.config, image.manifest):
            files.replace(blobs / _digest(raw)[7:], raw, mode=0o644)
        for stored in image.layers:
            _place(stored, blobs / stored.layer.digest[7:])
        files.replace(folder / "oci-layout", LAYOUT, mode=0o644)
        with files.locked(folder):
            index = _index(folder)
            others = [each for each in index["manifests"] if each.get("annotations", {}).get(NAMED) != name]
            described = {**_descriptor(MANIFEST_TYPE, image.manifest), "annotations": _names(name)}
            files.replace(folder / "index.json", _json({**index, "manifests": [*others, described]}), mode=0o644)
    except OSError as exc:
        raise refused(exc, folder) from exc


def is_layout(path: Path) -> bool:
    """Whether the folder is an OCI layout already."""
    return (path / "oci-layout").is_file()


def refused(exc: OSError, path: Path) -> Exception:
    """What to tell a person when an output cannot be written."""
    if isinstance(files.full_or(exc, path), StoreFull):
        return StoreFull(where=str(path))
    return Unavailable(
        what=f"cannot write {path.name!r}",
        cause=exc.strerror or "",
        hint="name a place that you may write to: -o PATH",
    )


def _started(start: Start) -> dict[str, Any]:
    return {
        "User": start.user,
        "Env": [f"{name}={value}" for name, value in start.environment.items()],
        "Entrypoint": list(start.entrypoint),
        "ExposedPorts": {f"{port}/tcp": {} for port in start.ports},
        "Labels": dict(start.labels),
        "StopSignal": start.stop_signal,
        "WorkingDir": "/",
        **({"Healthcheck": dict(start.health)} if start.health else {}),
    }


def _names(name: str) -> dict[str, str]:
    return {NAMED: name, _NAMED_TOO: name}


def _index(folder: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    try:
        found = msgspec.json.decode((folder / "index.json").read_bytes(), type=dict[str, Any])
        msgspec.convert(found.get("manifests"), list[dict[str, Any]])
    except FileNotFoundError:
        return empty
    except msgspec.MsgspecError as exc:
        hint = "name another folder: -o PATH/"
        raise InvalidRequest(what=f"{folder.name!r} is no OCI layout: its index.json is none", hint=hint) from exc
    return found


def _place(stored: Stored, path: Path) -> None:
    """A layer into a layout, unless its bytes are there already."""
    if path.is_file() and digest_of(path) == stored.layer.digest:
        return
    with _written(path) as out:
        _pour(stored, out)


def _copy(stored: Stored, out: BinaryIO) -> None:
    size = stored.layer.size_bytes
    out.write(_head(_blob(stored.layer.digest), tarfile.REGTYPE, 0o644, size))
    _pour(stored, out)
    out.write(bytes(-size % tarfile.BLOCKSIZE))


def _pour(stored: Stored, out: BinaryIO) -> None:
    """A layer's bytes, which nobody may have changed since they were looked at."""
    hashed = hashlib.sha256()
    for chunk in chunks_of(stored.path):
        hashed.update(chunk)
        out.write(chunk)
    if f"sha256:{hashed.hexdigest()}" != stored.layer.digest:
        raise changed(stored.layer.digest)


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the path's place when the block ends well."""
    path = path.absolute()
    aside = path.with_name(f".{path.name[:100]}.{os.urandom(6).hex()}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb", 1 << 20) as out:
            yield out
        aside.replace(path)
    except OSError as exc:
        raise refused(exc, path) from exc
    finally:
        aside.unlink(missing_ok=True)


def _head(name: str, kind: bytes, mode: int, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size = kind, mode, size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8")


def _descriptor(media_type: str, raw: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(raw), "size": len(raw)}


def _blob(digest: str) -> str:
    return f"{_BLOBS}/{digest[7:]}"


def _digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _json(document: Any) -> bytes:
    return msgspec.json.encode(document, order="sorted")
