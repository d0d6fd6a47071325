"""Layers: the same entries, the same bytes, and those are what readers of tar and gzip take them for."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import BuildFailed
from modelyard.ship.image import layers
from modelyard.ship.image.layers import Entry, Layer, file, folder, key_of, layer, link, pack, pack_tar
from modelyard.ship.image.shelf import Shelf

NAMES = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="/\0"), min_size=1, max_size=120
).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENTS = st.one_of(st.none(), st.binary(max_size=2000))
#: Of `SAMPLE`, on every machine, with every Python and zlib: what is promised.
SAMPLE_DIFF_ID = "sha256:75e28ba496011aebbc87a4a2c2f9922d3fdc24d08364a401dd3ea5bd77a5220b"


def sample() -> list[Entry]:
    return [
        file("opt/app/plan.json", b"{}"),
        file("opt/app/run", b"#!/bin/sh\n", executable=True),
        link("opt/app/current", "../app"),
        folder("mnt/models"),
        Entry("tmp", 0o1777),
        file(f"opt/{'long/' * 30}name", b"x" * 1000),
        file("opt/naïve-名前", b""),
    ]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def opened(shelf: Shelf, made: Layer) -> tarfile.TarFile:
    path = shelf.find(made.digest)
    assert path is not None
    raw = gzip.decompress(path.read_bytes())
    assert made.diff_id == f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert (made.unpacked_bytes, made.size_bytes) == (len(raw), path.stat().st_size)
    return tarfile.open(fileobj=io.BytesIO(raw))


def test_the_promise(shelf: Shelf) -> None:
    assert pack(shelf, sample()).diff_id == SAMPLE_DIFF_ID


def test_what_is_in_it(shelf: Shelf) -> None:
    made = pack(shelf, sample())
    with opened(shelf, made) as archive:
        found = {info.name: info for info in archive}
        assert archive.extractfile("opt/app/plan.json").read() == b"{}"  # type: ignore[union-attr]
    names = list(found)
    for name in names:
        above = name.rpartition("/")[0]
        assert not above or names.index(above) < names.index(name)
    assert {(info.uid, info.gid, info.uname, info.gname, info.mtime) for info in found.values()} == {(0, 0, "", "", 0)}
    modes = {name: found[name].mode for name in ("opt/app/plan.json", "opt/app/run", "tmp", "opt", "mnt/models")}
    assert modes == {
        "opt/app/plan.json": 0o644,
        "opt/app/run": 0o755,
        "tmp": 0o1777,
        "opt": 0o755,
        "mnt/models": 0o755,
    }
    assert found["opt/app/current"].linkname == "../app"
    assert found["opt/naïve-名前"].isreg()
    assert made.content_bytes == 2 + 10 + 1000


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.dictionaries(PATHS, CONTENTS, max_size=12), seed=st.integers())
def test_any_files_come_back_and_their_order_does_not_show(
    tmp_path: Path, found: dict[str, bytes | None], seed: int
) -> None:
    clean = {path: raw for path, raw in found.items() if not any(each.startswith(f"{path}/") for each in found)}
    entries = [Entry(path, 0o755, raw) for path, raw in clean.items()]
    shelf = Shelf(tmp_path / "shelf")
    made = pack(shelf, entries)
    with opened(shelf, made) as archive:
        back = {info.name: archive.extractfile(info).read() if info.isreg() else None for info in archive}  # type: ignore[union-attr]
    assert {path: back[path] for path in clean} == clean
    assert all(
        raw is None and any(p.startswith(f"{name}/") for p in clean) for name, raw in back.items() if name not in clean
    )
    random.Random(seed).shuffle(entries)
    assert pack(shelf, entries) == made


def test_large_files_and_the_number_of_threads_do_not_show(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = random.Random(7).randbytes(3 << 20) + b"text " * (1 << 20)
    (tmp_path / "large").write_bytes(noise)
    entries = [file("large", tmp_path / "large"), file("again", noise)]
    made = pack(shelf, entries)
    with opened(shelf, made) as archive:
        assert archive.extractfile("large").read() == noise  # type: ignore[union-attr]
    for threads in (1, 3):
        monkeypatch.setattr(layers, "_THREADS", threads)
        assert pack(shelf, entries) == made


def test_umask_clock_and_owner_of_sources_do_not_show(shelf: Shelf, tmp_path: Path) -> None:
    made = []
    for mask, when in ((0o077, 0), (0o002, 10**9)):
        before = os.umask(mask)
        try:
            (source := tmp_path / f"{mask}").write_bytes(b"y")
        finally:
            os.umask(before)
        os.utime(source, (when, when))
        made.append(pack(shelf, [file("opt/app/run", source, executable=True), link("opt/app/link", "run")]))
    assert made[0] == made[1]
    with opened(shelf, made[0]) as archive:
        assert {info.name: info.mode for info in archive if info.isreg()} == {"opt/app/run": 0o755}


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../b", "a//b", "", "a/", "a/./b", "nul\0"])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(BuildFailed, match="cannot be a path"):
        file(path, b"")


@pytest.mark.parametrize(
    "entries",
    [
        [file("a", b"1"), file("a", b"2")],
        [file("a", b"1"), file("a/b", b"2")],
        [link("a", "b"), file("a/b", b"2")],
    ],
)
def test_two_of_one_path_are_refused(shelf: Shelf, entries: list[Entry]) -> None:
    with pytest.raises(BuildFailed):
        pack(shelf, entries)
    assert list(shelf.aside.iterdir()) == []


def test_a_source_that_is_gone_or_changes_meanwhile(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BuildFailed, match="cannot read 'gone'"):
        pack(shelf, [file("a", tmp_path / "gone")])
    grows = tmp_path / "grows"
    grows.write_bytes(b"x" * 100)
    head = tarfile.TarInfo.tobuf

    def meanwhile(self: tarfile.TarInfo, *rest: str) -> bytes:
        grows.write_bytes(b"x" * (100 if self.name != "b" else 5000))
        return head(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tarfile.TarInfo, "tobuf", meanwhile)
    with pytest.raises(BuildFailed, match="was changed while it was read"):
        pack(shelf, [file("b", grows)])
    assert list(shelf.aside.iterdir()) == []


def test_a_layer_is_made_once_and_again_when_its_bytes_are_damaged(shelf: Shelf) -> None:
    asked: list[int] = []

    def entries() -> list[Entry]:
        asked.append(1)
        return sample()

    key = key_of("sample")
    made = layer(shelf, key, entries)
    assert layer(shelf, key, entries) == made
    assert len(asked) == 1
    path = shelf.path(made.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert layer(shelf, key, entries) == made
    assert len(asked) == 2
    assert shelf.find(made.digest) == path
    assert layer(shelf, key_of("sample", "2"), entries) == made
    assert len(asked) == 3


def test_keys_are_not_mistaken() -> None:
    assert key_of("a", "b") != key_of("ab") != key_of("a", "", "b")


def test_a_tar_of_somebody_else_is_packed_as_it_is(shelf: Shelf, tmp_path: Path) -> None:
    raw = random.Random(1).randbytes(100_000)
    (tmp_path / "tar").write_bytes(raw)
    made = pack_tar(shelf, tmp_path / "tar")
    assert gzip.decompress(shelf.path(made.digest).read_bytes()) == raw
    assert made.diff_id == f"sha256:{hashlib.sha256(raw).hexdigest()}"
