"""What every blob store promises; run on each backend of the door."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.core.errors import NotFound, StoreDamaged, Unsupported
from modelyard.guard.keysources import FileSource
from modelyard.guard.masterkeys import Keys
from modelyard.store.blobs import BACKENDS, Blobs, open_blobs
from modelyard.store.envelopes import Envelopes
from modelyard.store.sealed import Places, SealedBlobs
from tests.clouds import CLOUDS, Cloud

Opener = Callable[[], Blobs]
CONTENT = b"a model, as data"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MISSING = "0" * 64


LOCAL = ("file", "memory")


def backend(name: str, folder: Path, cloud: Callable[[str], Cloud]) -> Blobs:
    if name in CLOUDS:
        found = cloud(name)
        return open_blobs(found.url(f"{secrets.token_hex(4)}/{folder.name}"), found.network)
    return open_blobs({"file": folder.as_uri(), "memory": "memory:"}[name])


@pytest.fixture(params=[*LOCAL, *CLOUDS, *(f"{name}, encrypted" for name in (*LOCAL, "s3")), "file, decrypted"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, cloud: Callable[[str], Cloud]) -> Blobs:
    """Each backend; encrypted at rest; and with that turned off again, which is a layer all the same."""
    name, _, layer = request.param.partition(", ")
    plain = backend(name, tmp_path / "blobs", cloud)
    if not layer:
        return plain
    places = Places(plain, backend(name, tmp_path / "sealed", cloud), Envelopes(tmp_path / "envelopes"))
    keys = Keys(lambda: FileSource(tmp_path / "secrets" / "master.key"))
    keys.prepare()
    return SealedBlobs(places, keys, lambda: layer == "encrypted")


def test_put_names_by_content_and_get_gives_it_back(blobs: Blobs) -> None:
    assert blobs.put([CONTENT[:5], b"", CONTENT[5:]]) == DIGEST
    assert blobs.get(DIGEST) == CONTENT
    assert blobs.has(DIGEST)


def test_empty_content_is_content(blobs: Blobs) -> None:
    assert blobs.get(blobs.put([])) == b""


def test_large_content_in_many_chunks(blobs: Blobs) -> None:
    chunks = [secrets.token_bytes(100_003) for _ in range(50)]
    assert blobs.get(blobs.put(iter(chunks))) == b"".join(chunks)


def test_put_twice_is_put_once_but_later(blobs: Blobs) -> None:
    blobs.put([CONTENT])
    (first,) = blobs.list()
    blobs.put([CONTENT], digest=DIGEST)
    (second,) = blobs.list()
    assert (second.digest, second.size_bytes) == (DIGEST, len(CONTENT)) == (first.digest, first.size_bytes)
    assert second.put_at >= first.put_at


def test_list_says_when(blobs: Blobs) -> None:
    blobs.put([CONTENT])
    (blob,) = blobs.list()
    assert blob.put_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - blob.put_at) < timedelta(seconds=60)


def test_wrong_digest_keeps_nothing(blobs: Blobs) -> None:
    with pytest.raises(StoreDamaged, match=MISSING[:12]):
        blobs.put([CONTENT], digest=MISSING)
    assert list(blobs.list()) == []
    assert not blobs.has(DIGEST)


def test_content_that_fails_midway_keeps_nothing(blobs: Blobs) -> None:
    def torn() -> Iterator[bytes]:
        yield CONTENT
        raise EOFError("the sender went away")

    with pytest.raises(EOFError):
        blobs.put(torn())
    assert list(blobs.list()) == []
    assert blobs.sweep(0) == 0, "nothing is left aside either"


def test_missing(blobs: Blobs) -> None:
    assert not blobs.has(MISSING)
    with pytest.raises(NotFound):
        blobs.get(MISSING)
    blobs.delete(MISSING)


def test_delete(blobs: Blobs) -> None:
    blobs.put([CONTENT])
    blobs.delete(DIGEST)
    assert not blobs.has(DIGEST)
    assert list(blobs.list()) == []


@pytest.mark.parametrize("digest", ["", "../" * 21 + "x", "A" * 64, "0" * 63, "0" * 65, "0" * 63 + "/", "\0" * 64])
def test_only_digests_are_names(blobs: Blobs, digest: str) -> None:
    for act in (blobs.get, blobs.has, blobs.delete, lambda name: blobs.put([CONTENT], digest=name)):
        with pytest.raises(ValueError, match="not a sha256"):
            act(digest)
    assert list(blobs.list()) == []


def test_concurrent_writers_of_few_and_of_many_contents(blobs: Blobs) -> None:
    contents = [f"content {at % 7}".encode() * 1000 for at in range(100)]
    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(lambda raw: blobs.put([raw]), contents))
    assert [blobs.get(name) for name in names] == contents
    assert {blob.digest for blob in blobs.list()} == set(names)
    assert len(set(names)) == 7


def test_every_backend_is_run() -> None:
    assert {*LOCAL, *CLOUDS} == BACKENDS.keys() - ({"az"} - CLOUDS.keys())


def test_a_door_says_what_it_has() -> None:
    with pytest.raises(Unsupported, match=r"'gopher'; this Modelyard has: file, memory"):
        open_blobs("gopher://there")
