"""TLS of the listening ports: what is agreed to, and certificates that are renewed while connections go on.

Every change of the files makes a new context for new connections. Those that are open keep the one they began with; an
authority that was taken out of the file is trusted no more. Sessions are not resumed: a client that comes again proves
again who it is.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidRequest, NotFound

#: The oldest version that may be allowed; TLS 1.3 alone is spoken otherwise.
OLDEST: Mapping[str, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
#: What HTTP and gRPC are called in a handshake.
HTTP, GRPC = "http/1.1", "h2"
#: How long a client may take to shake hands, and to say goodbye, in seconds.
HANDSHAKE_S, SHUTDOWN_S = 10.0, 2.0
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good
_MEETINGS = 4  # of two ends in memory: more than any handshake takes
_HINT = "see what is in it: modelyard tls show {name}"


@dataclass(frozen=True)
class Files:
    """A server's certificate, and whose clients' certificates it believes.

    Parameters
    ----------
    cert, key : Path
        PEM: the certificate with those that lead to its authority behind it, and its private key.
    client_ca : Path, optional
        PEM: authorities of clients' certificates; None when clients are not asked for one.
    required : bool
        Whether a client without a certificate is turned away in the handshake.
    oldest : str
        A key of `OLDEST`.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None
    required: bool = False
    oldest: str = "1.3"

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Files:
        """From its fields as JSON has them."""
        paths = {name: Path(told[name]) for name in ("cert", "key", "client_ca") if told[name]}
        return cls(**{**told, **paths})

    @property
    def all(self) -> tuple[Path, ...]:
        """What is to be watched."""
        return (self.cert, self.key) if self.client_ca is None else (self.cert, self.key, self.client_ca)


def server_context(files: Files, protocol: str) -> ssl.SSLContext:
    """The context of a port that speaks `HTTP` or `GRPC`.

    Raises
    ------
    NotFound
        A file is missing.
    InvalidRequest
        A file is no PEM, or the key is another certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = OLDEST[files.oldest]
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols([protocol])
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    _load(context, files)
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED if files.required else ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def ends(context: ssl.SSLContext, cert: Path) -> datetime:
    """When the certificate of this context ends: what a client is shown that trusts it and knows what time it is.

    The two ends meet in memory, so that what clients would find wrong is found before they do.

    Raises
    ------
    InvalidRequest
        They would: it has ended, is not valid yet, or is not for servers.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cert)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there)
    answering = context.wrap_bio(there, back, server_side=True)
    for _ in range(_MEETINGS):
        for end in (asking, answering):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as exc:
                raise InvalidRequest(
                    what=f"the certificate in {cert.name} is refused: {exc.verify_message}",
                    hint=_HINT.format(name=cert.name),
                ) from exc
            except ssl.SSLError:  # the answering end wants a certificate, which only real clients have
                break
    shown: Any = asking.getpeercert()
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)


def _load(context: ssl.SSLContext, files: Files) -> None:
    for path in files.all:
        if not path.is_file():
            raise NotFound(what="file", name=path.name, hint="make certificates for this machine: modelyard tls dev")
    try:
        context.load_cert_chain(files.cert, files.key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as exc:
        raise InvalidRequest(
            what=f"{files.cert.name} and {files.key.name} are not a certificate and its key",
            cause=_why(exc),
            hint=_HINT.format(name=files.cert.name),
        ) from exc
    if files.client_ca is None:
        return
    try:
        context.load_verify_locations(files.client_ca)
    except (ssl.SSLError, OSError, ValueError) as exc:
        raise InvalidRequest(what=f"{files.client_ca.name} holds no authority in PEM", cause=_why(exc)) from exc


def _no_password() -> str:
    """A server has nobody to ask for one."""
    raise ValueError("the key is encrypted")


def _why(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return exc.reason or "not PEM"
    return (exc.strerror if isinstance(exc, OSError) else str(exc)) or type(exc).__name__


class Contexts:
    """The contexts of new connections, made again whenever a file changes.

    Parameters
    ----------
    files : Files
        Where they are.

    Raises
    ------
    NotFound, InvalidRequest
        As `server_context`, and as `ends`.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._seen = self._stamp()
        self._read()

    def http(self) -> ssl.SSLContext:
        """For a connection of HTTP."""
        return self._http

    def grpc(self) -> ssl.SSLContext:
        """For a connection of gRPC."""
        return self._grpc

    def renew(self) -> bool:
        """Whether files have changed and are what new connections get from now on; what is wrong with them is raised.

        Then the old ones stay, and the next change is looked at again.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp  # before they are read: what is written meanwhile is another change
        self._read()
        return True

    def _read(self) -> None:
        both = server_context(self._files, HTTP), server_context(self._files, GRPC)
        self.until = ends(both[0], self._files.cert)
        self._http, self._grpc = both

    def _stamp(self) -> tuple[tuple[int, ...], ...]:
        return tuple(map(_stamp, self._files.all))


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:  # it is being replaced, or gone: reading it will say so
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
