"""A bundle on disk: every byte is vouched for, and nothing else is read."""

from __future__ import annotations

import os
import random
import shutil
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import CorruptBundle, NotFound
from modelyard.core.manifest import MANIFEST, MODEL, SAMPLES, SIGNATURE, FileEntry
from modelyard.model.bundle import (
    KEPT_BYTES,
    SIGNATURE_BYTES,
    Bundle,
    open_bundle,
    read_signature,
    seal,
    sha256,
)
from tests.models import linear_bundle, mixed_bundle

BUNDLE = mixed_bundle()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "bundle"
    place.mkdir()
    BUNDLE.write(place)
    return place


def rewritten(folder: Path, **files: FileEntry) -> str:
    """The manifest with this table of files, written; its digest."""
    manifest = msgspec.structs.replace(BUNDLE.manifest, files=files)
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return sha256(manifest.to_bytes())


def test_what_was_written_is_opened(folder: Path) -> None:
    opened = open_bundle(folder, digest=BUNDLE.digest)
    assert opened == BUNDLE
    assert opened.digest == BUNDLE.digest == sha256((folder / MANIFEST).read_bytes())
    assert opened.size_bytes == sum(len(raw) for raw in opened.files.values())
    assert opened.samples == BUNDLE.samples
    assert opened.profile is None


def test_the_digest_is_of_the_bytes_that_lie_there(folder: Path) -> None:
    """Even when another version would write the same manifest otherwise."""
    raw = (folder / MANIFEST).read_bytes().replace(b"\n", b"\r\n")
    (folder / MANIFEST).write_bytes(raw)
    opened = open_bundle(folder, digest=sha256(raw))
    assert opened.digest == sha256(raw) != BUNDLE.digest
    copy = folder.parent / "copy"
    copy.mkdir()
    opened.write(copy)
    assert open_bundle(copy, digest=opened.digest) == opened


def test_every_changed_byte_is_found(folder: Path) -> None:
    random.seed(20260103)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    places = [(path, at) for path, raw in files.items() for at in range(len(raw))]
    for path, at in random.sample(places, 150):
        raw = bytearray(files[path])
        raw[at] ^= random.randint(1, 255)
        path.write_bytes(raw)
        with pytest.raises(CorruptBundle):
            open_bundle(folder, digest=BUNDLE.digest)
        path.write_bytes(files[path])
    open_bundle(folder, digest=BUNDLE.digest)


@pytest.mark.parametrize("name", sorted(BUNDLE.files))
def test_files_that_are_not_there_whole(folder: Path, name: str) -> None:
    path, raw = folder / name, BUNDLE.files[name]
    for damaged in (b"", raw[:-1], raw + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(CorruptBundle, match=r"bytes, not"):
            open_bundle(folder)
    path.unlink()
    with pytest.raises(CorruptBundle, match="is missing"):
        open_bundle(folder)
    path.mkdir()
    with pytest.raises(CorruptBundle, match="is missing"):
        open_bundle(folder)


def test_links_are_not_followed(folder: Path) -> None:
    real = folder.parent / "model"
    shutil.move(folder / MODEL, real)
    (folder / MODEL).symlink_to(real)
    with pytest.raises(CorruptBundle, match="is missing"):
        open_bundle(folder)


def test_what_the_manifest_does_not_name_is_not_read(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "model.pkl").write_bytes(b"x")
    assert set(open_bundle(folder, digest=BUNDLE.digest).files) == set(BUNDLE.files)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "model.pkl", "manifest.json", "", "a/b", "x" * 500])
def test_a_manifest_may_not_name_strangers(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_bytes(b"s")
    entry = FileEntry(sha256=sha256(b"s"), size_bytes=1)
    digest = rewritten(folder, **{**BUNDLE.manifest.files, name: entry})
    with pytest.raises(CorruptBundle, match="stranger"):
        open_bundle(folder, digest=digest)


def test_a_bundle_without_a_model(folder: Path) -> None:
    digest = rewritten(folder)
    with pytest.raises(CorruptBundle, match=r"no model\.onnx"):
        open_bundle(folder, digest=digest)


def test_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "nowhere", tmp_path, tmp_path / "file"):
        with pytest.raises(NotFound):
            open_bundle(place)
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(CorruptBundle, match="cannot be read"):
        open_bundle(tmp_path)


def test_another_digest(folder: Path) -> None:
    with pytest.raises(CorruptBundle, match=r"manifest\.json was changed"):
        open_bundle(folder, digest=linear_bundle().digest)


def test_a_newer_format(folder: Path) -> None:
    raw = (folder / MANIFEST).read_bytes().replace(b'"format_version": 1', b'"format_version": 2')
    (folder / MANIFEST).write_bytes(raw)
    with pytest.raises(CorruptBundle, match="format version 2"):
        open_bundle(folder, digest=sha256(raw))


def test_only_known_files_are_sealed() -> None:
    with pytest.raises(ValueError, match=r"model\.pkl"):
        seal(BUNDLE.manifest, {MODEL: b"", "model.pkl": b""})
    with pytest.raises(ValueError, match="a bundle has"):
        seal(BUNDLE.manifest, {SAMPLES: b"{}"})


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b'{"rows": 1, "outputs": {}}', b"[" * 100_000])
def test_samples_that_are_none(raw: bytes) -> None:
    broken = Bundle(BUNDLE.manifest, {**BUNDLE.files, SAMPLES: raw, "profile.json": raw})
    with pytest.raises(CorruptBundle, match=r"samples\.json"):
        _ = broken.samples
    with pytest.raises(CorruptBundle, match=r"profile\.json"):
        _ = broken.profile


def test_other_content_is_another_digest() -> None:
    assert linear_bundle().digest == linear_bundle().digest
    assert len({linear_bundle(slope=slope).digest for slope in (1.0, 2.0, 3.0)}) == 3


def large(folder: Path) -> tuple[Bundle, bytes]:
    """A bundle on disk whose model is too large to be kept in memory."""
    raw = BUNDLE.files[MODEL] + b"\x92\x03" + random.Random(1).randbytes(KEPT_BYTES)
    sealed = seal(BUNDLE.manifest, {**BUNDLE.files, MODEL: raw})
    sealed.write(folder)
    return sealed, raw


def test_a_large_model_is_verified_and_not_kept(folder: Path) -> None:
    sealed, raw = large(folder)
    opened = open_bundle(folder, digest=sealed.digest)
    assert opened.files[MODEL] == raw
    assert opened.files[MODEL] is not opened.files[MODEL]
    assert opened.files[SAMPLES] is opened.files[SAMPLES]
    assert dict(opened.files) == dict(sealed.files)
    with pytest.raises(KeyError):
        opened.files["card.md"]


@pytest.mark.parametrize("at", [0, KEPT_BYTES // 2, -1])
def test_a_changed_byte_of_a_large_model_is_found_at_the_open_and_later(folder: Path, at: int) -> None:
    sealed, raw = large(folder)
    opened = open_bundle(folder, digest=sealed.digest)
    changed = bytearray(raw)
    changed[at] ^= 1
    (folder / MODEL).write_bytes(changed)
    with pytest.raises(CorruptBundle, match="was changed"):
        open_bundle(folder, digest=sealed.digest)
    with pytest.raises(CorruptBundle, match="was changed"):
        opened.files[MODEL]
    (folder / MODEL).unlink()
    with pytest.raises(CorruptBundle, match="is missing"):
        opened.files[MODEL]


def test_opening_a_large_model_takes_little_memory(folder: Path) -> None:
    raw = random.Random(2).randbytes(16 * KEPT_BYTES)
    sealed = seal(BUNDLE.manifest, {**BUNDLE.files, MODEL: raw})
    sealed.write(folder)
    tracemalloc.start()
    try:
        opened = open_bundle(folder, digest=sealed.digest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert opened.digest == sealed.digest
    assert peak < 3 * KEPT_BYTES


def test_a_signature_lies_beside_the_manifest_and_changes_no_digest(folder: Path) -> None:
    assert open_bundle(folder).signature is None
    (folder / SIGNATURE).write_bytes(b"whatever")
    opened = open_bundle(folder, digest=BUNDLE.digest)
    assert (opened.signature, opened.digest, SIGNATURE in opened.files) == (b"whatever", BUNDLE.digest, False)
    copy = folder.parent / "copy"
    copy.mkdir()
    opened.write(copy)
    assert read_signature(copy) == b"whatever"


def test_a_signature_is_a_file_of_some_size(folder: Path) -> None:
    (folder / SIGNATURE).symlink_to(folder / MODEL)
    with pytest.raises(CorruptBundle, match=r"signature\.dsse cannot be read"):
        open_bundle(folder)
    (folder / SIGNATURE).unlink()
    (folder / SIGNATURE).write_bytes(bytes(SIGNATURE_BYTES + 1))
    with pytest.raises(CorruptBundle, match="too large"):
        open_bundle(folder)
    (folder / SIGNATURE).unlink()
    os.mkfifo(folder / SIGNATURE)
    assert not open_bundle(folder).signature


def test_a_manifest_does_not_name_its_signature(folder: Path) -> None:
    with pytest.raises(ValueError, match="a bundle has"):
        seal(BUNDLE.manifest, {**BUNDLE.files, SIGNATURE: b"{}"})
    (folder / SIGNATURE).write_bytes(b"{}")
    named = {**BUNDLE.manifest.files, SIGNATURE: FileEntry(sha256=sha256(b"{}"), size_bytes=2)}
    with pytest.raises(CorruptBundle, match="names a stranger"):
        open_bundle(folder, digest=rewritten(folder, **named))
