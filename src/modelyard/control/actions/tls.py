"""Certificates: made for this machine, shown, and what callers may who show one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.control.actions import configure
from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from modelyard.guard import certificates
from modelyard.guard.certificates import Bearer
from modelyard.store import files

if TYPE_CHECKING:
    from modelyard.guard.authority import Pair, Shown

#: What a certificate for this machine is for.
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Made:
    """Files of a certificate, its key, and the authority by which clients can tell that it is right."""

    cert: Path
    key: Path
    ca: Path


def make(home: Home, names: Sequence[str] = ()) -> Made:
    """A certificate for this machine and these names, as ``home/tls/cert.pem``, by the home's own authority.

    The authority is made with the first one. A server that uses these files takes the new one up by itself.
    """
    return _make(home, [*THIS_MACHINE, *names], "cert", "key")


def make_client(home: Home, name: str) -> Made:
    """A certificate that a caller shows, with one name: ``uri:spiffe://example.org/scorer``, or a host's.

    `Conflict` when its files would be those of another name, which is written alike in a file's name.
    """
    stem = "".join(character if character.isalnum() or character in ".-" else "-" for character in name)[:100]
    return _make(home, [name], f"client-{stem}", f"client-{stem}-key", client=True)


def _make(home: Home, names: Sequence[str], cert: str, key: str, *, client: bool = False) -> Made:
    from modelyard.guard import authority  # noqa: PLC0415 - brings cryptography

    folder = files.make_folder(home.settings.tls)
    made = Made(folder / f"{cert}.pem", folder / f"{key}.pem", folder / "ca.pem")
    with home.change("certificate.make", made.cert.name) as (_, record):
        configure.check_may(home)
        pair = authority.certificate(_authority(folder), names, client=client)
        if client:
            _check_free(made, authority.show(pair.cert).names)
        record(made.cert.name, {"sha256": authority.show(pair.cert).digest, "names": " ".join(names)})
        files.replace(made.key, pair.key)
        files.replace(made.cert, pair.cert)
    return made


def _check_free(made: Made, names: tuple[str, ...]) -> None:
    """That nothing of another name is replaced: its certificate, or a key or certificate that is called so."""
    from modelyard.guard import authority  # noqa: PLC0415 - as above

    try:
        free = not made.cert.exists() or authority.show(made.cert.read_bytes()).names == names
    except InvalidRequest:  # a key
        free = False
    if not free or (made.key.exists() and b"PRIVATE KEY" not in made.key.read_bytes()):
        hint = "use another name; or move those files away, if they are not needed"
        raise Conflict(what=f"{made.cert.name} or {made.key.name} is there for another name", hint=hint)


def _authority(folder: Path) -> Pair:
    from modelyard.guard import authority  # noqa: PLC0415 - as above

    cert, key = folder / "ca.pem", folder / "ca-key.pem"
    if cert.is_file() and key.is_file():
        return authority.Pair(cert.read_bytes(), key.read_bytes())
    pair = authority.authority()
    files.replace(key, pair.key)
    files.replace(cert, pair.cert)
    return pair


def show(path: Path) -> Shown:
    """What the certificate in this file says; `NotFound` when there is no such file."""
    from modelyard.guard import authority  # noqa: PLC0415 - as above

    try:
        return authority.show(path.read_bytes())
    except FileNotFoundError as exc:
        raise NotFound(what="file", name=path.name, hint="modelyard tls dev") from exc
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name}", cause=exc.strerror) from exc


def bearers(home: Home) -> tuple[Bearer, ...]:
    """What bearers of clients' certificates may."""
    return certificates.read(configure.read(home.settings.certificates))


def allow(home: Home, bearer: Bearer) -> None:
    """Let the bearer of a name do something; more, where it may something already."""

    def rewrite(raw: bytes) -> bytes:
        known = certificates.read(raw)
        if bearer in known:
            raise Conflict(what=f"{bearer.name} may do that already")
        return certificates.write((*known, bearer))

    detail = {"role": str(bearer.role), "models": bearer.models}
    configure.change(home, home.settings.certificates, ("certificate.allow", bearer.name), rewrite, detail)


def refuse(home: Home, name: str) -> None:
    """Let the bearer of a name do nothing any more."""

    def rewrite(raw: bytes) -> bytes:
        known = certificates.read(raw)
        kept = [one for one in known if one.name != name]
        if len(kept) == len(known):
            raise NotFound(what="name", name=name[:80], known=[one.name for one in known], hint="modelyard tls names")
        return certificates.write(kept)

    configure.change(home, home.settings.certificates, ("certificate.refuse", name[:200]), rewrite)
