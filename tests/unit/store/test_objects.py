"""Files by key in a folder, and the addresses of folders and buckets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRequest, MissingExtra, NotFound, TooLarge, Unavailable
from modelyard.core.network import Network
from modelyard.store.objects import FolderObjects, Objects, open_objects, parse, read


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return open_objects((tmp_path / "a folder").as_uri(), Network())


def test_what_is_written_is_read(objects: Objects, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"y" * 3_000_000)
    objects.write("a/b", b"x")
    objects.write("a/c.json", file)
    assert read(objects, "a/b", 1) == b"x"
    assert read(objects, "a/c.json", 3_000_000) == file.read_bytes()
    assert objects.size("a/b") == 1
    assert [(each.key, each.size_bytes) for each in objects.list("a")] == [("a/b", 1), ("a/c.json", 3_000_000)]
    objects.write("a/b", b"zz")
    assert read(objects, "a/b", 2) == b"zz"


def test_what_is_not_there(objects: Objects) -> None:
    assert objects.size("a") is None
    assert list(objects.list("a")) == []
    objects.delete("a")
    with pytest.raises(NotFound):
        read(objects, "a", 1)
    objects.write("a", b"")
    objects.delete("a")
    assert objects.size("a") is None


def test_more_than_was_expected_is_not_read(objects: Objects) -> None:
    objects.write("a", b"xx")
    with pytest.raises(TooLarge):
        read(objects, "a", 1)


def test_what_is_being_written_is_not_listed(objects: Objects, tmp_path: Path) -> None:
    objects.write("a/b", b"x")
    (tmp_path / "a folder" / "a" / ".b.1234").write_bytes(b"half")
    assert [each.key for each in objects.list("a")] == ["a/b"]


@pytest.mark.parametrize("key", ["", "/a", "a/", "../a", "a/../b", "a/.b", "a b", "a\n", "a//b", "a" * 300, "é"])
def test_only_keys_are_names(objects: Objects, key: str) -> None:
    for act in (
        objects.size,
        objects.delete,
        lambda name: objects.write(name, b""),
        lambda name: read(objects, name, 1),
    ):
        with pytest.raises(ValueError, match="no key"):
            act(key)


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    objects = FolderObjects(tmp_path / "file")
    with pytest.raises(Unavailable, match="cannot be used"):
        objects.write("a/b", b"x")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("file:///a/b%20c/", ("file", "", "a/b c")),
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://my.bucket-1/a/b_c/", ("s3", "my.bucket-1", "a/b_c")),
        ("gs://bucket/a", ("gs", "bucket", "a")),
        ("az://container/a", ("az", "container", "a")),
    ],
)
def test_addresses(url: str, found: tuple[str, str, str]) -> None:
    assert parse(url) == found


@pytest.mark.parametrize(
    "url",
    ["", "a", "file://host/a", "file:a", "s3:///a", "s3://b", "s3://Bucket", "s3://bucket/../a", "s3://bucket/a?b=c",
     "s3://bucket/a#b", "http://bucket/a", "s3://user:word@bucket/a", "s3://bucket:80/a", "s3://bucket/a b"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidRequest, match="no address"):
        parse(url)


def test_buckets_need_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modelyard.store.buckets", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtra, match="obstore") as caught:
        open_objects("s3://bucket/a", Network())
    assert caught.value.hint == 'pip install "modelyard[clouds]"'
