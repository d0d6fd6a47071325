"""Objects in S3, Google Cloud Storage and Azure Blob Storage, by obstore, which finds the cloud's usual credentials.

Environment variables, workload identities and the metadata service of the machine are looked at by obstore itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore import store as stores

from modelyard.core.errors import Denied, InvalidRequest, ModelyardError, NotFound, RegistryRefused
from modelyard.core.imagename import is_host
from modelyard.core.network import Network
from modelyard.store.objects import Object, absent, check_key, check_size

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_TIMES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
#: The store of each scheme, and what it calls its own address.
_KINDS: dict[str, tuple[Any, str]] = {
    "s3": (stores.S3Store, "endpoint"),
    "gs": (stores.GCSStore, "base_url"),
    "az": (stores.AzureStore, "endpoint"),
}
_CHUNK_BYTES = 1 << 20
_LOGIN = {
    "s3": "aws sts get-caller-identity, then set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "gcloud auth application-default login, or set GOOGLE_SERVICE_ACCOUNT",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_CLIENT_ID and its like",
}
#: What each exception of obstore is called here; a test holds that none is missing.
KINDS: dict[type[Exception], str] = {
    exceptions.NotFoundError: "absent",
    exceptions.PermissionDeniedError: "denied",
    exceptions.UnauthenticatedError: "denied",
    exceptions.InvalidPathError: "invalid",
    exceptions.UnknownConfigurationKeyError: "invalid",
    exceptions.AlreadyExistsError: "refused",
    exceptions.NotModifiedError: "refused",
    exceptions.NotSupportedError: "refused",
    exceptions.PreconditionError: "refused",
    exceptions.JoinError: "refused",
    exceptions.GenericError: "refused",
    exceptions.BaseError: "refused",
    FileNotFoundError: "absent",  # what obstore really raises for an object that is not there
    NotImplementedError: "refused",
    OSError: "refused",
}


class Bucket:
    """Below a prefix of one bucket; see `Objects`.

    Parameters
    ----------
    scheme : str
        ``s3``, ``gs`` or ``az``.
    name, prefix : str
        Of the bucket (Azure's container), and what all keys begin with.
    network : Network
        Another place for its buckets, and whether it may be asked without TLS.
    """

    def __init__(self, scheme: str, name: str, prefix: str, network: Network) -> None:
        self._label = f"{scheme}://{name}"
        self._scheme = scheme
        try:
            self._store = _open(scheme, name, prefix, network)
        except ValueError as exc:
            raise self._translated(exc, prefix) from exc
        except tuple(KINDS) as exc:
            raise self._translated(exc, prefix) from exc

    def stream(self, key: str, limit: int) -> Iterator[bytes]:
        """Its size is looked at first."""
        try:
            found = obstore.get(self._store, check_key(key))
            check_size(key, found.meta["size"], limit)
            for piece in found.stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(piece)
        except tuple(KINDS) as exc:
            raise self._translated(exc, key) from exc

    def write(self, key: str, content: bytes | Path) -> None:
        """In parts when it is large; the object appears with the last of them."""
        try:
            obstore.put(self._store, check_key(key), content)
        except tuple(KINDS) as exc:
            raise self._translated(exc, key) from exc

    def size(self, key: str) -> int | None:
        """By a HEAD request."""
        try:
            return obstore.head(self._store, check_key(key))["size"]
        except FileNotFoundError:
            return None
        except tuple(KINDS) as exc:
            raise self._translated(exc, key) from exc

    def delete(self, key: str) -> None:
        """Some stores say that there was none, others do not."""
        try:
            obstore.delete(self._store, check_key(key))
        except FileNotFoundError:
            return
        except tuple(KINDS) as exc:
            raise self._translated(exc, key) from exc

    def list(self, prefix: str) -> Iterator[Object]:
        """Page by page."""
        try:
            for page in obstore.list(self._store, check_key(prefix), chunk_size=1000):
                for each in page:
                    yield Object(each["path"], each["size"], each["last_modified"])
        except tuple(KINDS) as exc:
            raise self._translated(exc, prefix) from exc

    def _translated(self, exc: Exception, key: str) -> ModelyardError:
        kind = next((KINDS[each] for each in type(exc).__mro__ if each in KINDS), "invalid")
        cause = _words(exc)
        if kind == "absent":
            # A bucket that is not there is told like an object that is not, and needs another hand to mend it.
            if "NoSuchBucket" in str(exc) or "ContainerNotFound" in str(exc):
                return NotFound(what="bucket", name=self._label, cause=cause, hint="make it first")
            return absent(key)
        if kind == "denied":
            return Denied(what=f"{self._label} refuses us", cause=cause, hint=_LOGIN[self._scheme])
        if kind == "invalid":
            return InvalidRequest(what=f"{self._label} cannot be used so", cause=cause, hint=_LOGIN[self._scheme])
        hint = "is it spelt right, and can it be reached from here?"
        return RegistryRefused(registry=self._label, what="it does not answer as it should", cause=cause, hint=hint)


def _open(scheme: str, name: str, prefix: str, network: Network) -> ObjectStore:
    options: ClientConfig = {"connect_timeout": "10s", "timeout": "600s", "read_timeout": "60s"}
    address = network.stores.get(scheme, "")
    place = urlsplit(address)
    if address and not (place.scheme in {"http", "https"} and is_host(place.netloc)):  # obstore panics at such
        raise InvalidRequest(what=f"{address[:200]!r} is no address of a store", cause="https://HOST[:PORT] is one")
    if place.scheme == "http" and network.is_plain(place.hostname or "", place.port):
        options["allow_http"] = True
    kind, word = _KINDS[scheme]
    config = {word: address} if address else {}
    opened: ObjectStore = kind(name, prefix=prefix or None, config=config, client_options=options, retry_config=_TIMES)
    return opened


def _words(exc: Exception) -> str:
    """The first sentence of obstore's message; what follows is its own inside."""
    text = str(exc).split("\n\nDebug source")[0]
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:300]
