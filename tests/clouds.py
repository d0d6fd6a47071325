"""Object stores of this machine: S3 by moto's server, Azure by azurite, and a stand-in for Google Cloud Storage."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property
from http.client import HTTPConnection
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from modelyard.core.network import Network
from tests.liar import Asked, Liar, Said

BUCKET = "models"
_STAMP = {"ETag": '"1"', "x-goog-generation": "1"}
#: Of every azurite there is: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
_AZURITES_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass(frozen=True)
class Cloud:
    """A running object store with one bucket, `BUCKET`.

    Parameters
    ----------
    scheme : str
        Of its addresses.
    host : str
        Where it answers.
    environ : dict of str to str
        What finds it, and lets us in.
    """

    scheme: str
    host: str
    environ: dict[str, str]

    @cached_property
    def network(self) -> Network:
        """How it is reached from this process, once `environ` is set."""
        return Network.from_environ(self.environ)

    def url(self, prefix: str) -> str:
        """Address of a prefix of its bucket."""
        return f"{self.scheme}://{BUCKET}/{prefix}"

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process find it, as a cloud's own tools would."""
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)


@contextmanager
def s3() -> Iterator[Cloud]:
    """Amazon's, by moto."""
    port = _free()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port) as host:
        _ask(host, "PUT", f"/{BUCKET}", headers={"Host": f"127.0.0.1:{port}"})
        yield Cloud("s3", host, {**_S3_ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://{host}"})


@contextmanager
def gs() -> Iterator[Cloud]:
    """A stand-in for Google's: so much of its XML API as obstore speaks, in memory. What it cannot show is Google."""
    with Liar(_Google()) as liar:
        yield Cloud("gs", liar.host, {"GOOGLE_BASE_URL": liar.url, "GOOGLE_BEARER_TOKEN": "test"})


@contextmanager
def az() -> Iterator[Cloud]:
    """Azure's, by the azurite of npm, where that is installed."""
    port = _free()
    command = ["azurite-blob", "--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--disableTelemetry"]
    with _running([*command, "--blobPort", str(port)], port) as host:
        environ = {
            "AZURE_STORAGE_ENDPOINT": f"http://{host}/devstoreaccount1",
            "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
            "AZURE_STORAGE_ACCOUNT_KEY": _AZURITES_KEY,
        }
        _container(host)
        yield Cloud("az", host, environ)


class _Google:
    """Objects by name, uploads by number. Answers as Google's XML API does."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, datetime]] = {}
        self._parts: dict[str, dict[int, bytes]] = {}

    def __call__(self, asked: Asked) -> Said:
        parts = urlsplit(asked.path)
        key, query = unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))
        if not key.startswith(f"/{BUCKET}"):
            return Said(404, body=b"<Error><Code>NoSuchBucket</Code></Error>")
        if "list-type" in query:
            return self._list(query.get("prefix", ""))
        if asked.method == "POST":
            return self._upload(key, query)
        if asked.method == "PUT":
            return self._put(key, query, asked.body)
        return self._of(key, asked.method)

    def _of(self, key: str, method: str) -> Said:
        if key not in self._kept:
            return Said(404, body=b"<Error><Code>NoSuchKey</Code></Error>")
        if method == "DELETE":
            del self._kept[key]
            return Said(204)
        raw, at = self._kept[key]
        return Said(
            headers={**_STAMP, "Last-Modified": format_datetime(at, usegmt=True), "Content-Length": str(len(raw))},
            body=raw,
        )

    def _put(self, key: str, query: dict[str, str], body: bytes) -> Said:
        if "uploadId" in query:
            self._parts[query["uploadId"]][int(query["partNumber"])] = body
        else:
            self._kept[key] = (body, datetime.now(UTC))
        return Said(headers=_STAMP)

    def _upload(self, key: str, query: dict[str, str]) -> Said:
        if "uploads" in query:
            number = str(len(self._parts))
            self._parts[number] = {}
            body = f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            return Said(body=body.encode())
        whole = b"".join(part for _, part in sorted(self._parts.pop(query["uploadId"]).items()))
        self._kept[key] = (whole, datetime.now(UTC))
        body = "<CompleteMultipartUploadResult><ETag>&quot;1&quot;</ETag></CompleteMultipartUploadResult>"
        return Said(headers=_STAMP, body=body.encode())

    def _list(self, prefix: str) -> Said:
        found = [
            f"<Contents><Key>{key[len(BUCKET) + 2 :]}</Key><Size>{len(raw)}</Size>"
            f"<LastModified>{at.isoformat()}</LastModified><ETag>1</ETag></Contents>"
            for key, (raw, at) in sorted(self._kept.items())
            if key.startswith(f"/{BUCKET}/{prefix}")
        ]
        return Said(body=f"<ListBucketResult>{''.join(found)}</ListBucketResult>".encode())


@contextmanager
def _running(command: list[str], port: int) -> Iterator[str]:
    """The server, until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    host = f"127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while not _answers(host):
            assert process.poll() is None, f"{command[0]} ended"
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait(10)


def _answers(host: str) -> bool:
    try:
        _ask(host, "GET", "/")
    except OSError:
        return False
    return True


def _ask(host: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
    link = HTTPConnection(host, timeout=5)
    try:
        link.request(method, path, body, headers or {})
        return link.getresponse().status
    finally:
        link.close()


def _container(host: str) -> None:
    """Make the container, signed as Azure wants it."""
    at = format_datetime(datetime.now(UTC), usegmt=True)
    account, version = "devstoreaccount1", "2021-08-06"
    about = f"/{account}/{account}/{BUCKET}\nrestype:container"
    words = "PUT" + "\n" * 12 + f"x-ms-date:{at}\nx-ms-version:{version}\n{about}"
    signed = hmac.new(base64.b64decode(_AZURITES_KEY), words.encode(), "sha256").digest()
    headers = {
        "x-ms-date": at,
        "x-ms-version": version,
        "Authorization": f"SharedKey {account}:{base64.b64encode(signed).decode()}",
        "Content-Length": "0",
    }
    status = _ask(host, "PUT", f"/{account}/{BUCKET}?restype=container", headers=headers)
    assert status == 201, status


def _free() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


#: What starts each. Azure's emulator comes from npm: npm install -g azurite.
CLOUDS = {"s3": s3, "gs": gs} | ({"az": az} if shutil.which("azurite-blob") else {})
