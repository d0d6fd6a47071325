"""Bundles in container registries, as OCI artifacts: a file is a layer, and the bundle's manifest is the config.

The same bundle with the same signature is the same artifact, byte for byte. ``oras pull`` writes it as a folder that
``modelyard import`` takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import msgspec

from modelyard.core.errors import CorruptBundle, InvalidRequest, ModelyardError, NotFound
from modelyard.core.imagename import ImageName, is_digest, parse_image
from modelyard.core.manifest import CARD, FILES, MANIFEST, MODEL, SIGNATURE, FileEntry, Manifest
from modelyard.core.network import Network
from modelyard.model.bundle import Bundle, sha256
from modelyard.ship import parcel
from modelyard.ship.parcel import Parcel
from modelyard.store.distribution import OCI_MANIFEST, Descriptor, Document, Repository

ARTIFACT = "application/vnd.modelyard.bundle.v1"
CONFIG = "application/vnd.modelyard.manifest.v1+json"
TITLE, CREATED = "org.opencontainers.image.title", "org.opencontainers.image.created"
#: The bundle's own digest, which is not the artifact's.
DIGEST = "modelyard.bundle.digest"
_JSON = "application/json"
_TYPES = {MODEL: "application/onnx", CARD: "text/markdown", SIGNATURE: "application/vnd.dsse.envelope.v1+json"}
_NAMES = FILES | {MANIFEST, SIGNATURE}


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An OCI manifest of an artifact."""

    schema_version: int
    media_type: str
    artifact_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


class _Any(msgspec.Struct, rename="camel"):
    """As much of any manifest as says what it is."""

    artifact_type: str = ""
    config: Descriptor | None = None


class OciCarrier:
    """One tag or digest of one repository; see `Carrier`."""

    def __init__(self, name: ImageName, network: Network) -> None:
        self._name = name
        self._repository = Repository(name, network)

    def standing(self) -> str:
        """By a HEAD request."""
        digest = self._repository.head(self._name.reference)
        return _address(self._name, digest) if digest else ""

    def push(self, bundle: Bundle) -> str:
        """Blobs, then the manifest under its tag."""
        if self._name.digest:
            hint = "name a tag instead: oci://HOST/NAME:TAG"
            raise InvalidRequest(what="nobody can choose the digest of what is pushed", hint=hint)
        raw = artifact(bundle)
        contents = {MANIFEST: bundle.manifest.to_bytes(), SIGNATURE: bundle.signature or b""}
        for layer in msgspec.json.decode(raw, type=Artifact).layers:
            title = layer.annotations[TITLE]
            self._repository.put(contents.get(title) or bundle.files[title], layer.digest)
        return _address(self._name, self._repository.put_manifest(raw, OCI_MANIFEST, self._name.reference))

    def find(self) -> Parcel:
        """Its manifests and its signature; a tag that is not there is told with those that are."""
        try:
            found = self._repository.manifest(accept=[OCI_MANIFEST])
        except NotFound as exc:
            raise self._absent(exc) from exc
        made = self._decoded(found)
        manifest = self._manifest(made.config)
        layers = _layers(made, manifest)
        signed = layers.get(SIGNATURE)
        signature = self._repository.read(signed.digest, signed.size, parcel.SIGNATURE_BYTES) if signed else None
        return Parcel(_address(self._name, found.digest), manifest, signature, partial(_fetch, self._repository))

    def _manifest(self, config: Descriptor) -> Manifest:
        raw = self._repository.read(config.digest, config.size, parcel.MANIFEST_BYTES)
        return parcel.read(raw, config.digest.removeprefix("sha256:"))

    def _decoded(self, found: Document) -> Artifact:
        try:
            kind = msgspec.json.decode(found.raw, type=_Any)
            if kind.artifact_type != ARTIFACT or kind.config is None or kind.config.media_type != CONFIG:
                what = f"{self._name} is no bundle of Modelyard"
                raise InvalidRequest(what=what, cause=f"it is {(kind.artifact_type or 'an image')[:80]!r}")
            made = msgspec.json.decode(found.raw, type=Artifact)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise CorruptBundle(bundle=str(self._name), what="its OCI manifest cannot be read") from exc
        for each in (made.config, *made.layers):
            if not is_digest(each.digest):
                raise CorruptBundle(bundle=str(self._name), what="its OCI manifest names what is no digest")
        return made

    def _absent(self, exc: NotFound) -> ModelyardError:
        try:
            known = self._repository.tags()
        except ModelyardError:
            return exc
        what, hint = f"bundle at {self._name.place} named", f"push it: modelyard push MODEL oci://{self._name.place}"
        return NotFound(what=what, name=self._name.reference, known=known[-20:], hint=hint)


def open_carrier(url: str, network: Network, tag: str) -> OciCarrier:
    """The carrier of ``oci://HOST[:PORT]/NAME[:TAG][@sha256:...]``."""
    name = parse_image(url.removeprefix("oci://"), host_first=True)
    return OciCarrier(name if name.tag or name.digest else replace(name, tag=tag), network)


def artifact(bundle: Bundle) -> bytes:
    """The OCI manifest of this bundle with this signature: a function of nothing else."""
    manifest, raw = bundle.manifest, bundle.manifest.to_bytes()
    entries = {**manifest.files, MANIFEST: FileEntry(sha256(raw), len(raw))}
    if bundle.signature is not None:
        entries[SIGNATURE] = FileEntry(sha256(bundle.signature), len(bundle.signature))
    created = {CREATED: manifest.lineage.created_at} if manifest.lineage.created_at else {}
    made = Artifact(
        schema_version=2,
        media_type=OCI_MANIFEST,
        artifact_type=ARTIFACT,
        config=_described(CONFIG, entries[MANIFEST]),
        layers=tuple(
            _described(_TYPES.get(name, _JSON), entry, {TITLE: name}) for name, entry in sorted(entries.items())
        ),
        annotations={TITLE: manifest.name, **created, DIGEST: f"sha256:{bundle.digest}"},
    )
    return msgspec.json.encode(made)


def _described(media_type: str, entry: FileEntry, annotations: dict[str, str] | None = None) -> Descriptor:
    return Descriptor(media_type, f"sha256:{entry.sha256}", entry.size_bytes, annotations or {})


def _layers(made: Artifact, manifest: Manifest) -> dict[str, Descriptor]:
    """The layers by the file that they are; names are those of a bundle, and never paths."""
    found: dict[str, Descriptor] = {}
    for layer in made.layers:
        title = layer.annotations.get(TITLE, "")
        if title not in _NAMES or title in found:
            raise CorruptBundle(bundle=manifest.name, what=f"its OCI manifest names a stranger: {title[:80]!r}")
        found[title] = layer
    for name, entry in manifest.files.items():
        if name not in found or (found[name].digest, found[name].size) != (f"sha256:{entry.sha256}", entry.size_bytes):
            raise CorruptBundle(bundle=manifest.name, what=f"its OCI manifest has another {name} than its own manifest")
    if strangers := sorted(found.keys() - manifest.files.keys() - {MANIFEST, SIGNATURE}):
        raise CorruptBundle(bundle=manifest.name, what=f"its manifest does not name {strangers[0]}")
    return found


def _fetch(repository: Repository, entry: FileEntry) -> Iterator[bytes]:
    return repository.blob(f"sha256:{entry.sha256}", entry.size_bytes)


def _address(name: ImageName, digest: str) -> str:
    return f"oci://{name.at(digest)}"
