"""What blobs in buckets do beside the contract: strangers, damage, and a bucket that is not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modelyard.core.errors import NotFound, StoreDamaged
from modelyard.core.network import Network
from modelyard.store.blobs.objects import ObjectBlobs
from modelyard.store.objects import open_objects

DIGEST = hashlib.sha256(b"x").hexdigest()


def test_strangers_are_no_blobs(tmp_path: Path) -> None:
    objects = open_objects(tmp_path.as_uri(), Network())
    blobs = ObjectBlobs(objects)
    blobs.put([b"x"])
    objects.write("sha256/readme", b"")
    objects.write(f"sha256/below/{DIGEST}", b"")
    assert [each.digest for each in blobs.list()] == [DIGEST]


def test_a_changed_blob_is_not_given(tmp_path: Path) -> None:
    objects = open_objects(tmp_path.as_uri(), Network())
    blobs = ObjectBlobs(objects)
    objects.write(f"sha256/{DIGEST}", b"y")
    with pytest.raises(StoreDamaged, match="changed in its bucket"):
        blobs.get(DIGEST)
    blobs.put([b"x"])
    assert blobs.get(DIGEST) == b"x"


def test_the_layout_is_that_of_the_local_store(tmp_path: Path) -> None:
    ObjectBlobs(open_objects(tmp_path.as_uri(), Network())).put([b"x"])
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [f"sha256/{DIGEST}"]


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path) -> None:
    class Absent:
        def stream(self, key: str, limit: int) -> None:
            raise NotFound(what="bucket", name="s3://models", hint="make it first")

    blobs = ObjectBlobs(Absent())  # type: ignore[arg-type]
    with pytest.raises(NotFound) as caught:
        blobs.get(DIGEST)
    assert caught.value.hint == "make it first"
