"""A parcel believes its manifest, and nothing that comes later without its digest."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import CorruptBundle, StoreFull, Unavailable
from modelyard.core.manifest import MANIFEST, MODEL, SAMPLES, FileEntry
from modelyard.model.bundle import Bundle, open_bundle, sha256
from modelyard.ship import parcel
from modelyard.ship.parcel import Parcel
from tests.models import linear_bundle

BUNDLE = linear_bundle()


def parcel_of(bundle: Bundle = BUNDLE, **changed: bytes) -> Parcel:
    by_digest = {entry.sha256: changed.get(name, bundle.files[name]) for name, entry in bundle.manifest.files.items()}

    def fetch(entry: FileEntry) -> Iterator[bytes]:
        raw = by_digest[entry.sha256]
        yield from (raw[at : at + 100] for at in range(0, len(raw), 100))

    return Parcel("oci://r.example/x@sha256:0", bundle.manifest, b"signed", fetch)


def test_all_of_it() -> None:
    found = parcel_of()
    assert found.digest == BUNDLE.digest
    assert (dict(found.bundle().files), found.bundle().signature) == (dict(BUNDLE.files), b"signed")


def test_as_a_folder(tmp_path: Path) -> None:
    parcel_of().write(tmp_path)
    assert open_bundle(tmp_path, digest=BUNDLE.digest).signature == b"signed"


@pytest.mark.parametrize(
    "raw", [b"", BUNDLE.files[MODEL][:-1], BUNDLE.files[MODEL] + b"x", b"y" * len(BUNDLE.files[MODEL])]
)
def test_a_byte_that_is_not_as_it_should_be(tmp_path: Path, raw: bytes) -> None:
    found = parcel_of(**{MODEL: raw})
    with pytest.raises(CorruptBundle, match=r"model\.onnx is not as its manifest says"):
        found.bundle()
    with pytest.raises(CorruptBundle, match=r"model\.onnx"):
        found.write(tmp_path)
    assert not (tmp_path / MANIFEST).exists()


def test_an_endless_file_is_not_read() -> None:
    def endless(_: FileEntry) -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    with pytest.raises(CorruptBundle):
        Parcel("", BUNDLE.manifest, None, endless).bundle()


def test_a_manifest_is_the_one_of_its_digest() -> None:
    raw = BUNDLE.manifest.to_bytes()
    assert parcel.read(raw, sha256(raw)).name == "linear"
    with pytest.raises(CorruptBundle, match="changed on its way"):
        parcel.read(raw + b" ", sha256(raw))


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({SAMPLES: FileEntry("0" * 64, 1)}, "names no model"),
        ({MODEL: FileEntry("0" * 64, -1)}, "would have -1 bytes"),
        ({MODEL: FileEntry("0" * 64, parcel.FILE_BYTES + 1)}, "would have"),
    ],
)
def test_a_manifest_that_cannot_be(files: dict[str, FileEntry], why: str) -> None:
    raw = msgspec.json.encode(msgspec.structs.replace(BUNDLE.manifest, files=files))
    with pytest.raises(CorruptBundle, match=why):
        parcel.read(raw, sha256(raw))


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EROFS, Unavailable)]
)
def test_a_folder_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(parcel.os, "fsync", refuse)
    with pytest.raises(kind, match="cannot write" if kind is Unavailable else f"holds {tmp_path}"):
        parcel_of().write(tmp_path)
