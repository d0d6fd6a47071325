"""Bundles in object stores, and in folders that several machines have: blobs by sha256, and a small file for each tag.

Below ``PREFIX``: ``sha256/<hex>`` for every file, manifest and signature, as the registry's own store has them, and
``bundles/NAME/TAG.json``, which names a manifest and is written last. For each digest there is such a file too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import msgspec

from modelyard.core.errors import CorruptBundle, InvalidRequest, NotFound, TooLarge
from modelyard.core.imagename import shown
from modelyard.core.manifest import FileEntry
from modelyard.core.network import Network
from modelyard.core.reference import check_name
from modelyard.model.bundle import Bundle, sha256
from modelyard.ship import parcel
from modelyard.ship.parcel import Parcel
from modelyard.store.objects import Objects, open_objects, read

_ADDRESS = re.compile(r"(?P<place>[^@]*)/(?P<name>[^/:@]+)(?::(?P<tag>[^/:@]+))?(?:@sha256:(?P<digest>[0-9a-f]{64}))?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HEX = re.compile(r"[0-9a-f]{64}")
_POINTER_BYTES = 4096
_LATEST = "latest"


class Pointer(msgspec.Struct, frozen=True):
    """What a tag means: sha256 of a manifest, and of a signature if there is one."""

    manifest: str
    signature: str = ""


@dataclass(frozen=True)
class ObjectCarrier:
    """One tag or digest of one name below one prefix; see `Carrier`.

    Parameters
    ----------
    objects : Objects
        Where.
    base : str
        ``SCHEME://BUCKET/PREFIX/NAME``.
    name, tag, digest : str
        Which bundle; the digest counts where there is one.
    """

    objects: Objects
    base: str
    name: str
    tag: str
    digest: str = ""

    def standing(self) -> str:
        """By its pointer."""
        try:
            return f"{self.base}@sha256:{self._pointer().manifest}"
        except NotFound:
            return ""

    def push(self, bundle: Bundle) -> str:
        """Files, signature, manifest; then what points at them, the tag last."""
        if self.digest:
            hint = f"name a tag instead: {self.base}:TAG"
            raise InvalidRequest(what="nobody can choose the digest of what is pushed", hint=hint)
        for name, entry in bundle.manifest.files.items():
            if self.objects.size(_blob(entry.sha256)) != entry.size_bytes:
                self.objects.write(_blob(entry.sha256), bundle.files[name])
        raw = bundle.manifest.to_bytes()
        for content in (raw, bundle.signature):
            if content is not None and self.objects.size(_blob(sha256(content))) != len(content):
                self.objects.write(_blob(sha256(content)), content)
        pointer = Pointer(sha256(raw), sha256(bundle.signature) if bundle.signature else "")
        for tag in (pointer.manifest, self.tag):
            self.objects.write(self._key(tag), msgspec.json.encode(pointer))
        return f"{self.base}@sha256:{pointer.manifest}"

    def find(self) -> Parcel:
        """Its manifest and signature, by what points at them."""
        pointer = self._pointer()
        manifest = parcel.read(self._read(pointer.manifest, parcel.MANIFEST_BYTES), pointer.manifest)
        signature = self._read(pointer.signature, parcel.SIGNATURE_BYTES) if pointer.signature else None
        if signature is not None and sha256(signature) != pointer.signature:
            raise CorruptBundle(bundle=manifest.name, what="its signature was changed on its way here")
        address = f"{self.base}@sha256:{pointer.manifest}"
        return Parcel(address, manifest, signature, partial(_fetch, self.objects))

    def _pointer(self) -> Pointer:
        try:
            raw = read(self.objects, self._key(self.digest or self.tag), _POINTER_BYTES)
        except NotFound as exc:
            if exc.facts["what"] == "bucket":
                raise
            known = [each.key.rpartition("/")[2].removesuffix(".json") for each in self.objects.list(self._folder)]
            tags = sorted(tag for tag in known if not _HEX.fullmatch(tag))
            raise NotFound(
                what=f"bundle at {self.base} named",
                name=self.digest or self.tag,
                known=tags,
                hint=f"push it: modelyard push MODEL {self.base}",
            ) from exc
        try:
            pointer = msgspec.json.decode(raw, type=Pointer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise CorruptBundle(bundle=self.name, what="what its tag means cannot be read") from exc
        if not _HEX.fullmatch(pointer.manifest) or (pointer.signature and not _HEX.fullmatch(pointer.signature)):
            raise CorruptBundle(bundle=self.name, what="what its tag means is no digest")
        if self.digest and pointer.manifest != self.digest:
            raise CorruptBundle(bundle=self.name, what="another bundle is there under its digest")
        return pointer

    def _read(self, digest: str, limit: int) -> bytes:
        return b"".join(_stream(self.objects, digest, limit, self.name))

    def _key(self, tag: str) -> str:
        return f"{self._folder}/{tag}.json"

    @property
    def _folder(self) -> str:
        return f"bundles/{self.name}"


def open_carrier(url: str, network: Network, tag: str) -> ObjectCarrier:
    """The carrier of ``s3://BUCKET/PREFIX/NAME[:TAG][@sha256:...]`` and the other schemes."""
    found = _ADDRESS.fullmatch(url) if len(url) <= 1024 else None
    wanted = (found["tag"] or tag or _LATEST) if found else ""
    if found is None or not _TAG.fullmatch(wanted):
        cause = "an address ends with the bundle's name, and :TAG or @sha256: and 64 hexadecimal digits"
        raise InvalidRequest(
            what=f"{shown(url)!r} is no address of a bundle", cause=cause, hint="s3://BUCKET/models/churn:7"
        )
    name = check_name(found["name"], "a bundle")
    return ObjectCarrier(
        open_objects(found["place"], network), f"{found['place']}/{name}", name, wanted, found["digest"] or ""
    )


def _blob(digest: str) -> str:
    return f"sha256/{digest}"


def _fetch(objects: Objects, entry: FileEntry) -> Iterator[bytes]:
    return _stream(objects, entry.sha256, entry.size_bytes, entry.sha256[:12])


def _stream(objects: Objects, digest: str, limit: int, bundle: str) -> Iterator[bytes]:
    try:
        yield from objects.stream(_blob(digest), limit)
    except NotFound as exc:
        if exc.facts["what"] == "bucket":
            raise
        raise CorruptBundle(bundle=bundle, what=f"its blob {digest[:12]} is not there") from exc
    except TooLarge as exc:
        raise CorruptBundle(bundle=bundle, what=f"its blob {digest[:12]} is larger than it may be") from exc
