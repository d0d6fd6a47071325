"""Images for tests, written by hand: any tar as a layer, in an OCI layout or as ``docker save`` wrote it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def member(name: str, content: bytes | None = None, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A file, or with `type` whatever it says; a folder without content."""
    info = tarfile.TarInfo(name)
    info.size = len(content or b"")
    info.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
    info.mode = 0o644 if content is not None else 0o755
    for key, value in more.items():
        setattr(info, key, value)
    return info, content or b""


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """These members, in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Made:
    """An image.

    Parameters
    ----------
    layers : sequence of bytes
        Tars, bottom up.
    """

    layers: Sequence[bytes]
    os: str = "linux"
    architecture: str = "amd64"
    environment: Sequence[str] = ("PATH=/usr/local/bin:/usr/bin",)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.diff_ids = [digest(layer) for layer in self.layers]
        packed = [gzip.compress(layer, 1, mtime=0) for layer in self.layers]
        self.config = json.dumps(
            {
                "os": self.os,
                "architecture": self.architecture,
                "config": {"Env": list(self.environment)},
                "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            }
        ).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "config": {"mediaType": "x", "digest": digest(self.config), "size": len(self.config)},
                "layers": [{"mediaType": GZIP, "digest": digest(raw), "size": len(raw)} for raw in packed],
            }
        ).encode()
        self.blobs = {digest(raw): raw for raw in (self.config, self.manifest, *packed)}

    def described(self, tag: str = "") -> dict[str, Any]:
        """As an index names it."""
        return {
            "mediaType": MANIFEST,
            "digest": digest(self.manifest),
            "size": len(self.manifest),
            "platform": {"os": self.os, "architecture": self.architecture},
            "annotations": {"org.opencontainers.image.ref.name": tag} if tag else {},
        }

    def saved(self, path: Path) -> Path:
        """As Docker 20.10 saves it: layers as they are, the second of two that are the same a link to the first."""
        first: dict[str, str] = {}
        members = [member("config.json", self.config)]
        names = []
        for number, layer in enumerate(self.layers):
            name = f"layer{number}/layer.tar"
            names.append(name)
            if (before := first.setdefault(digest(layer), name)) != name:
                members.append(member(name, b"", type=tarfile.SYMTYPE, linkname=f"../{before}"))
            else:
                members.append(member(name, layer))
        manifest = json.dumps([{"Config": "config.json", "RepoTags": ["base:1"], "Layers": names}]).encode()
        path.write_bytes(tar(*members, member("manifest.json", manifest)))
        return path


def layout(folder: Path, *images: tuple[str, Made], index: Iterable[dict[str, Any]] | None = None) -> Path:
    """An OCI layout with these images by their tags."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for _, image in images:
        for name, raw in image.blobs.items():
            (blobs / name[7:]).write_bytes(raw)
    manifests = list(index or [image.described(tag) for tag, image in images])
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return folder
