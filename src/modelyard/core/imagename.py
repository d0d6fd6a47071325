"""Names of what is in a container registry: ``[HOST[:PORT]/]NAME[:TAG][@sha256:...]``, as Docker reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from modelyard.core.errors import InvalidRequest

#: Who is meant by a name without a host.
HUB = "docker.io"
#: Where Docker Hub answers, what its logins are filed under, and what its own images' names leave out.
HUB_ENDPOINT, HUB_LOGIN, HUB_LIBRARY = "registry-1.docker.io", "index.docker.io", "library"
LATEST = "latest"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?P<name>{_LABEL}(?:\.{_LABEL}){{0,20}}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::(?P<port>[0-9]{{1,5}}))?")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LOGIN = re.compile(r"(?P<scheme>[A-Za-z0-9+.-]*://)?.*@(?!sha256:)", re.DOTALL)
_SHOWN = 200
_MOST = 255  # characters of a host, and of a repository
_PORTS = 65535


@dataclass(frozen=True)
class ImageName:
    """One image or artifact, or the repository of many. Whatever is in one can be part of a URL as it is.

    Parameters
    ----------
    host : str
        ``HOST`` or ``HOST:PORT`` of the registry, as it was written.
    repository : str
        ``ml/churn``: small letters, digits, ``.``, ``_``, ``-`` and ``/``.
    tag : str
        Empty where none was written.
    digest : str
        ``sha256:...``; empty where none was written. Where both are, the digest counts.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def reference(self) -> str:
        """What to ask the registry for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or LATEST

    @property
    def endpoint(self) -> str:
        """``HOST[:PORT]`` to ask."""
        return HUB_ENDPOINT if self.host == HUB else self.host

    @property
    def place(self) -> str:
        """The repository with its host."""
        return f"{self.host}/{self.repository}"

    def at(self, digest: str) -> ImageName:
        """What has this digest in the same repository."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return self.place + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_image(text: str, *, host_first: bool = False) -> ImageName:
    """The name in this text; `InvalidRequest` when it is none.

    Parameters
    ----------
    text : str
        From a user.
    host_first : bool
        Whether it begins with a host whatever that looks like, as an ``oci://`` address does; else ``ml/churn`` is a
        repository of Docker Hub.
    """
    named, found, digest = text.partition("@")
    if found and not _DIGEST.fullmatch(digest):
        raise _refused(text, "after '@' comes sha256: and 64 hexadecimal digits in small letters")
    first, slash, rest = named.partition("/")
    has_host = bool(slash) and (host_first or bool({".", ":"} & {*first}) or first == "localhost")
    if host_first and not has_host:
        raise _refused(text, "a host and a repository are needed")
    host, path = (first, rest) if has_host else (HUB, named)
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _refused(text, "a tag is letters, digits, '.', '_' and '-', at most 128 of them")
    if host in {HUB, HUB_LOGIN, HUB_ENDPOINT}:
        host, path = HUB, path if "/" in path else f"{HUB_LIBRARY}/{path}"
    if not is_host(host):
        raise _refused(text, f"{host[:80]!r} is no host")
    if len(path) > _MOST or not all(_PART.fullmatch(part) for part in path.split("/")):
        raise _refused(text, "a repository is small letters and digits with '.', '_' and '-' between them, and '/'")
    return ImageName(host, path, tag, digest)


def is_host(text: str) -> bool:
    """Whether it is ``HOST`` or ``HOST:PORT`` and can be part of a URL as it is."""
    found = _HOST.fullmatch(text) if len(text) <= _MOST else None
    return found is not None and 0 < int(found["port"] or 1) <= _PORTS


def is_digest(text: str) -> bool:
    """Whether it is ``sha256:`` and 64 hexadecimal digits in small letters."""
    return _DIGEST.fullmatch(text) is not None


def shown(text: str) -> str:
    """What somebody typed as an address, as it may be repeated, and kept: without a name and a password before an @."""
    return _LOGIN.sub(r"\g<scheme>…@", text, count=1)[:_SHOWN]


def _refused(text: str, cause: str) -> InvalidRequest:
    hint = "for example: registry.example/ml/churn:7"
    return InvalidRequest(what=f"{shown(text)!r} is no name of an image", cause=cause, hint=hint)
