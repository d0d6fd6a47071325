"""Who we are to a registry: what ``docker login`` and ``podman login`` wrote down, or their credential helpers know."""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from modelyard.core.errors import Unavailable
from modelyard.core.imagename import HUB, HUB_LOGIN, ImageName
from modelyard.core.network import Network

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HELPER_S = 20.0
_MOST_BYTES = 1 << 20
#: How Docker files its own registry.
_HUB_URL = f"https://{HUB_LOGIN}/v1/"
#: As a user's name it says that the password is a token.
_TOKEN_USER = "<token>"  # noqa: S105 - a word of the protocol


@dataclass(frozen=True)
class Login:
    """A name and a password, or a token that can be changed for others. Never printed."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """As the header that sends name and password; empty where there is none."""
        raw = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(raw).decode('ascii')}" if self.user else ""


class _Entry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _File(msgspec.Struct, rename={"helpers": "credHelpers", "store": "credsStore"}):
    auths: dict[str, _Entry] = {}
    helpers: dict[str, str] = {}
    store: str = ""


class _Answer(msgspec.Struct, rename={"user": "Username", "secret": "Secret"}):
    user: str = ""
    secret: str = ""


def find(name: ImageName, network: Network) -> Login | None:
    """The login for this repository; None when nobody logged in to its registry.

    Raises
    ------
    Unavailable
        A file cannot be read, or a credential helper does not work.
    """
    if network.login and (login := _in(network.login.encode(), "DOCKER_AUTH_CONFIG", name)):
        return login
    for path in network.logins:
        if (raw := _read(path)) is not None and (login := _in(raw, path.name, name)):
            return login
    return None


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise _unusable(path.name, exc.strerror or "") from exc


def _in(raw: bytes, file: str, name: ImageName) -> Login | None:
    try:
        found = msgspec.json.decode(raw, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _unusable(file, str(exc)) from exc
    helper = found.helpers.get(name.host) or found.store
    if helper and (login := _helped(helper, name)):
        return login
    entries = {_filed(key): entry for key, entry in found.auths.items()}
    for key in _keys(name):
        if key in entries and (login := _login(entries[key], file)):
            return login
    return None


def _keys(name: ImageName) -> list[str]:
    """What a login for the repository may be filed under, the closest first, as Podman does."""
    host = HUB_LOGIN if name.host == HUB else name.host
    parts = name.repository.split("/")
    below = ["/".join([host, *parts[:count]]) for count in range(len(parts), 0, -1)]
    return [*below, host, *([HUB] if name.host == HUB else [])]


def _filed(key: str) -> str:
    """``https://HOST/v1/`` is the host alone."""
    scheme, found, rest = key.partition("://")
    return rest.partition("/")[0] if found and scheme in {"http", "https"} else key


def _login(entry: _Entry, file: str) -> Login | None:
    user, password = entry.username, entry.password
    if entry.auth:
        try:
            user, _, password = base64.b64decode(entry.auth, validate=True).decode().rstrip("\0").partition(":")
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise _unusable(file, "a login in it is not in base64") from exc
    return Login(user, password, entry.identitytoken) if user or entry.identitytoken else None


def _helped(helper: str, name: ImageName) -> Login | None:
    """What ``docker-credential-HELPER get`` says."""
    if not _HELPER.fullmatch(helper):
        raise _unusable("the credential helper", f"{helper[:80]!r} is no name of one")
    program = f"docker-credential-{helper}"
    asked = _HUB_URL if name.host == HUB else name.host
    try:
        done = subprocess.run([program, "get"], input=asked.encode(), capture_output=True, timeout=_HELPER_S)  # noqa: S603 - the operator's own
    except FileNotFoundError as exc:
        raise _unusable(program, "it is not installed") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise _unusable(program, "it does not answer") from exc
    if done.returncode:
        if b"not found" in done.stdout:  # how the helpers of Docker say that nobody logged in
            return None
        raise _unusable(program, f"it ends with {done.returncode}")
    try:
        answer = msgspec.json.decode(done.stdout[:_MOST_BYTES], type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _unusable(program, "its answer is not the JSON that it should be") from exc
    if answer.user == _TOKEN_USER:
        return Login(token=answer.secret)
    return Login(answer.user, answer.secret) if answer.user else None


def _unusable(what: str, cause: str) -> Unavailable:
    return Unavailable(
        what=f"logins cannot be read: {what}", cause=cause, hint="mend it, or log in again: docker login"
    )
