"""A repository of a container registry, by the OCI distribution API: manifests and blobs, each verified by its digest.

Nothing that a registry says is believed: bytes are those of the digest they were asked by, answers have a largest size,
and redirects get no password. ``tests/house`` shows that no server imports this.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from modelyard.core.errors import Denied, NotFound, RegistryRefused
from modelyard.core.imagename import HUB, ImageName, is_digest
from modelyard.core.network import Network
from modelyard.store import logins, tokens
from modelyard.store.https import CHUNK_BYTES, SMALL_BYTES, TRIES, Answer, Broken, Https, Request, origin, said

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX)
#: No manifest is larger; registries have the same limit.
MANIFEST_BYTES = 4 << 20
#: Larger blobs are sent in pieces of this size: proxies before registries do not like larger ones.
PIECE_BYTES = 64 << 20
_PULL, _PUSH, _DELETE = "pull", "pull,push", "delete"
_PAGES = 50
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')

#: Bytes, or the file that has them.
Content = bytes | Path
_Kind = TypeVar("_Kind")


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What a manifest says of a blob, or an index of a manifest."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


@dataclass(frozen=True)
class Document:
    """A manifest or an index, as the bytes that its digest is of."""

    digest: str
    media_type: str
    raw: bytes


class Repository:
    """One repository. Safe in threads.

    Parameters
    ----------
    name : ImageName
        Which; its tag and digest are what `manifest` asks for.
    network : Network
        Logins, proxies, and which registries may be asked without TLS.

    Notes
    -----
    Every method may raise `NotFound`, `Denied` (nobody logged in, or who did may not) and `RegistryRefused` (it cannot
    be reached, is in trouble, or its answer cannot be right).
    """

    def __init__(self, name: ImageName, network: Network) -> None:
        self.name = name
        self._network = network
        self._https = Https(network, name.endpoint)
        self._shown: dict[str, str] = {}  # what convinced the registry, by what it was wanted for

    def manifest(self, reference: str = "", accept: Iterable[str] = MANIFESTS) -> Document:
        """The manifest or index of a tag or digest, the name's own without one."""
        wanted = reference or self.name.reference
        request = Request("GET", f"{self._base}/manifests/{_part(wanted)}", {"Accept": ", ".join(accept)})
        answer = self._asked(request, _PULL, MANIFEST_BYTES)
        self._check(answer, {200}, "image", wanted)
        digest = _digest(answer.raw)
        for claimed in (wanted, answer.headers.get("Docker-Content-Digest", "")):
            if is_digest(claimed) and claimed != digest:
                raise self._lies(f"it gives {digest} for {claimed}")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return Document(digest, media_type, answer.raw)

    def head(self, reference: str) -> str:
        """The digest of a tag, empty when there is none: cheaper than `manifest`."""
        request = Request("HEAD", f"{self._base}/manifests/{_part(reference)}", {"Accept": ", ".join(MANIFESTS)})
        answer = self._asked(request, _PULL)
        if answer.status == 404:
            return ""
        self._check(answer, {200}, "image", reference)
        digest = answer.headers.get("Docker-Content-Digest", "")
        return digest if is_digest(digest) else self.manifest(reference).digest

    def put_manifest(self, raw: bytes, media_type: str, reference: str = "") -> str:
        """Keep the manifest, under a tag if `reference` is one; its digest. Its blobs have to be there."""
        digest = _digest(raw)
        headers = {"Content-Type": media_type, "Content-Length": str(len(raw))}
        request = Request("PUT", f"{self._base}/manifests/{_part(reference or digest)}", headers, lambda: [raw])
        answer = self._asked(request, _PUSH)
        self._check(answer, {200, 201, 202}, "repository", self.name.repository)
        if answer.headers.get("Docker-Content-Digest", digest) != digest:
            raise self._lies(f"it keeps {answer.headers['Docker-Content-Digest'][:80]} for {digest}")
        return digest

    def has(self, digest: str, size: int | None = None, *, to_push: bool = False) -> bool:
        """Whether there is such a blob, of this size; `to_push` shows at once that we may push."""
        answer = self._asked(Request("HEAD", f"{self._base}/blobs/{_part(digest)}"), _PUSH if to_push else _PULL)
        if answer.status == 404:
            return False
        self._check(answer, {200}, "blob", digest)
        return size is None or answer.headers.get("Content-Length", str(size)) == str(size)

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """The blob in pieces. They may be believed only after the last of them: `RegistryRefused` may come there.

        A connection that breaks midway is taken up again where it broke.
        """
        hashed, seen, tried = hashlib.sha256(), 0, 0
        while True:
            try:
                for piece in self._rest_of(digest, size, seen):
                    hashed.update(piece)
                    seen += len(piece)
                    if seen > size:
                        raise self._lies(f"blob {digest[:19]} is longer than its {size} bytes")
                    yield piece
                if seen < size:
                    raise Broken(f"blob {digest[:19]} ended after {seen} of {size} bytes")
                break
            except Broken as exc:
                tried += 1
                if tried >= TRIES:
                    raise self._https.refused(exc) from exc
                self._https.rest(tried, exc.wait_s)
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise self._lies(f"blob {digest[:19]} has other bytes than that")

    def read(self, digest: str, size: int, limit: int = SMALL_BYTES) -> bytes:
        """A blob that fits into memory, verified; `RegistryRefused` when it is larger than `limit`."""
        if size > limit:
            raise self._lies(f"blob {digest[:19]} would have {size} bytes; at most {limit} are read")
        return b"".join(self.blob(digest, size))

    def put(self, content: Content, digest: str) -> bool:
        """Send the blob unless it is there; whether it was sent.

        Parameters
        ----------
        content : bytes or Path
            The bytes, or the file that has them.
        digest : str
            Theirs. The registry verifies it, too.
        """
        if isinstance(content, bytes) and _digest(content) != digest:
            raise ValueError(f"these bytes are not those of {digest}")
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if self.has(digest, size, to_push=True):
            return False
        self._https.persist(lambda: self._sent(content, digest, size))
        return True

    def tags(self) -> list[str]:
        """All tags, sorted; not every registry does that."""
        url, found = f"{self._base}/tags/list?n=1000", []
        for _ in range(_PAGES):
            answer = self._asked(Request("GET", url), _PULL, MANIFEST_BYTES)
            self._check(answer, {200}, "repository", self.name.repository)
            found += [tag for tag in self._decoded(answer.raw, _Tags).tags or () if _TAG.fullmatch(tag)]
            link = _NEXT.search(answer.headers.get("Link", ""))
            if link is None:
                break
            url = self._https.resolved(url, link[1])
        return sorted(found)

    def delete(self, digest: str) -> None:
        """Remove the manifest with this digest, and every tag of it."""
        answer = self._asked(Request("DELETE", f"{self._base}/manifests/{_part(digest)}"), _DELETE)
        if answer.status == 405:
            what = "it removes nothing: its operator did not allow that"
            raise RegistryRefused(registry=self.name.host, what=what, hint="REGISTRY_STORAGE_DELETE_ENABLED=true")
        self._check(answer, {200, 202}, "image", digest)

    @cached_property
    def _home(self) -> str:
        return self._https.base()

    @property
    def _base(self) -> str:
        return f"{self._home}/v2/{self.name.repository}"

    def _rest_of(self, digest: str, size: int, seen: int) -> Iterator[bytes]:
        """The blob from its byte `seen` on."""
        headers = {"Range": f"bytes={seen}-"} if seen else {}
        request = Request("GET", f"{self._base}/blobs/{_part(digest)}", headers)
        for shown in self._attempts(request, _PULL):
            with self._https.opened(shown) as (answer, pieces):
                if answer.status == 401:
                    self._challenged(answer, _PULL)
                    continue
                if answer.status not in {200, 206}:
                    self._check(replace(answer, raw=b"".join(pieces(SMALL_BYTES))), set(), "blob", digest)
                skip = seen if answer.status == 200 else 0
                for piece in pieces(size - seen + skip + 1):
                    yield piece[skip:] if skip else piece
                    skip = max(0, skip - len(piece))
                return
        raise self._denied("")

    def _sent(self, content: Content, digest: str, size: int) -> None:
        """Send the blob: at once, or in pieces."""
        answer = self._asked(_post(f"{self._base}/blobs/uploads/"), _PUSH, once=True)
        self._check(answer, {202}, "repository", self.name.repository)
        place, start = self._place(answer), 0
        while size - start > PIECE_BYTES:
            end = start + PIECE_BYTES
            request = _part_of(content, "PATCH", place, start, end)
            answer = self._asked(request, _PUSH, once=True)
            self._check(answer, {202}, "upload", digest)
            place, start = self._place(answer), end
        mark = "&" if urlsplit(place).query else "?"
        request = _part_of(content, "PUT", f"{place}{mark}digest={quote(digest)}", start, size)
        self._check(self._asked(request, _PUSH, once=True), {201, 202, 204}, "upload", digest)

    def _place(self, answer: Answer) -> str:
        """Where an upload goes on."""
        return self._https.resolved(answer.url, answer.headers.get("Location", answer.url))

    def _asked(self, request: Request, scope: str, limit: int = SMALL_BYTES, *, once: bool = False) -> Answer:
        """The answer; a challenge is met, once."""
        ask: Callable[[Request, int], Answer] = self._https.once if once else self._https.ask
        for shown in self._attempts(request, scope):
            answer = ask(shown, limit)
            if answer.status != 401:
                break
            self._challenged(answer, scope)
        return answer

    def _attempts(self, request: Request, scope: str) -> Iterator[Request]:
        """The request with what convinced the registry before; once more, when that has changed meanwhile."""
        ours = origin(request.url) == origin(self._home)
        before = self._shown.get(scope, "")
        yield replace(request, authorization=before if ours else "")
        after = self._shown.get(scope, "")
        if ours and after and after != before:
            yield replace(request, authorization=after)

    def _challenged(self, answer: Answer, scope: str) -> None:
        """Find what the registry asks for, to be shown from now on."""
        self._shown.pop(scope, None)
        challenge = tokens.read(answer.headers.get("WWW-Authenticate", ""))
        if challenge is None or origin(answer.url) != origin(self._home):
            return
        login = logins.find(self.name, self._network)
        if challenge.scheme == "basic":
            self._shown[scope] = login.basic if login else ""
            return
        scopes = [f"repository:{self.name.repository}:{scope}"]
        if challenge.scope and challenge.scope not in scopes:
            scopes += challenge.scope.split()[:4]
        self._shown[scope] = tokens.fetch(self._https, self._home, challenge, scopes, login)

    def _check(self, answer: Answer, good: set[int], what: str, name: str) -> None:
        if answer.status in good:
            return
        words = _words(answer)
        if answer.status == 404:
            hint = f"is {self.name.place} spelt right, and was it pushed?"
            raise NotFound(what=f"{what} at {self.name.place} named", name=name, cause=words, hint=hint)
        if answer.status in {401, 403}:
            raise self._denied(words)
        raise RegistryRefused(registry=self.name.host, what=f"it answers {answer.status}", cause=words)

    def _denied(self, cause: str) -> Denied:
        host = "" if self.name.host == HUB else f" {self.name.host}"
        what = f"{self.name.host} refuses {self.name.repository}"
        return Denied(what=what, cause=cause or "nobody who may is logged in", hint=f"docker login{host}")

    def _lies(self, what: str) -> RegistryRefused:
        hint = "believe nothing of it; somebody may be on the way"
        return RegistryRefused(registry=self.name.host, what=what, hint=hint)

    def _decoded(self, raw: bytes, kind: type[_Kind]) -> _Kind:
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise RegistryRefused(
                registry=self.name.host,
                what="its answer is not the JSON that it should be",
                cause=said(str(exc).encode()),
            ) from exc


def _part(reference: str) -> str:
    """A tag or digest as a part of a URL; no user types what is neither."""
    if not (is_digest(reference) or _TAG.fullmatch(reference)):
        raise ValueError(f"neither a tag nor a digest: {reference[:80]!r}")
    return reference


def _digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _post(url: str) -> Request:
    return Request("POST", url, {"Content-Length": "0"})


def _part_of(content: Content, method: str, url: str, start: int, end: int) -> Request:
    """What sends these bytes of the content."""
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - start)}
    if method == "PATCH":
        headers["Content-Range"] = f"{start}-{end - 1}"
    return Request(method, url, headers, lambda: _pieces(content, start, end))


def _pieces(content: Content, start: int, end: int) -> Iterator[bytes]:
    if isinstance(content, bytes):
        for at in range(start, end, CHUNK_BYTES):
            yield content[at : min(at + CHUNK_BYTES, end)]
        return
    with content.open("rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(CHUNK_BYTES, end - start))):
            start += len(piece)
            yield piece


def _words(answer: Answer) -> str:
    """What the registry itself says of its refusal."""
    try:
        errors = msgspec.json.decode(answer.raw, type=_Errors).errors
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return said(answer.raw)
    return said("; ".join(error.message or error.code for error in errors[:3]).encode())
