"""Foundations: what an image keeps of its base, and which bases cannot carry one."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import tarfile
from pathlib import Path

import pytest

from modelyard.core.errors import BuildFailed
from modelyard.core.network import Network
from modelyard.ship.image import bytecode
from modelyard.ship.image.bases import open_base
from modelyard.ship.image.foundation import Kept, broken
from modelyard.ship.image.shelf import Shelf
from tests.layouts import Made, layout, member, tar

HERE = f"3.{sys.version_info.minor}"
LOADER = "lib64/ld-linux-x86-64.so.2"


def elf(*needed: str, machine: int = 62, loader: str = LOADER) -> bytes:
    """A program that is linked with these: heads and a dynamic section, and no code."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in needed)
    where = b"/" + loader.encode() + b"\0"
    start = 64 + 3 * 56
    strings, interpreter = start, start + len(names)
    dynamic = interpreter + len(where)
    at, entries = 1, []
    for name in needed:
        entries.append((1, at))
        at += len(name) + 1
    table = b"".join(struct.pack("<qQ", *each) for each in [*entries, (5, strings), (0, 0)])
    size = dynamic + len(table)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    parts = [(1, 0, size), (3, interpreter, len(where)), (2, dynamic, len(table))]
    heads = b"".join(struct.pack("<IIQQQQQQ", kind, 4, off, off, off, n, n, 8) for kind, off, n in parts)
    return head + heads + names + where + table


def rooted(python: str = HERE, machine: int = 62, loader: str = LOADER) -> list[tuple[tarfile.TarInfo, bytes]]:
    """A small Debian with a Python, its library, a C library, and things that nobody needs."""
    library = f"usr/lib/python{python}"
    return [
        member(f"usr/bin/python{python}", elf("libc.so.6", machine=machine, loader=loader), mode=0o755),
        member("usr/bin/python3", b"", type=tarfile.SYMTYPE, linkname=f"python{python}"),
        member("bin", b"", type=tarfile.SYMTYPE, linkname="usr/bin"),
        member(f"{library}/os.py", b"NAME = 'os'\n"),
        member(f"{library}/__pycache__/os.cpython-311.pyc", b"stale"),
        member(f"{library}/test/test_os.py", b"x"),
        member("usr/bin/sh", b"shell", mode=0o755),
        member("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
        member("etc/shadow", b"root:*:1::::::\n", mode=0o600),
        member(loader, elf(machine=machine)),
        member("lib64/libc.so.6", elf(machine=machine)),
        member("lib64/libbz2.so.1.0", elf("libc.so.6", machine=machine)),
        member(
            "var/lib/dpkg/status", b"Package: libc6\nVersion: 2.36\nArchitecture: amd64\n\nPackage: dash\nVersion: 1\n"
        ),
        member("var/lib/dpkg/info/libc6:amd64.list", b"/lib64\n/lib64/libc.so.6\n"),
        member("var/lib/dpkg/info/dash.list", b"/usr/bin/sh\n"),
    ]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def ground(
    shelf: Shelf, folder: Path, image: Made, *, whole: bool = False, libraries: tuple[bytes, ...] = ()
) -> tuple[str, Kept]:
    """Its Python, and what is kept of it."""
    layout(folder, ("x", image))
    with (
        open_base(f"oci:{folder}", f"linux/{image.architecture}", shelf, Network()) as base,
        broken(base, shelf) as found,
    ):
        return found.python, found.whole() if whole else found.pruned(str(len(libraries)), lambda: libraries)


def files(shelf: Shelf, kept: Kept) -> dict[str, bytes | None]:
    (layer,) = kept.layers
    raw = gzip.decompress(shelf.path(layer.digest).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        return {info.name: archive.extractfile(info).read() if info.isreg() else None for info in archive}  # type: ignore[union-attr]


def test_what_is_kept(shelf: Shelf, tmp_path: Path) -> None:
    python, kept = ground(shelf, tmp_path / "base", Made([tar(*rooted())]))
    found = files(shelf, kept)
    assert python == HERE
    assert {"usr/bin/python3", f"usr/lib/python{HERE}/os.py", "lib64/libc.so.6", LOADER, "tmp"} < set(found)
    assert not {"usr/bin/sh", "etc/shadow", "lib64/libbz2.so.1.0", f"usr/lib/python{HERE}/test/test_os.py"} & set(found)
    assert b"modelyard:x:10001:10001" in (found["etc/passwd"] or b"")
    assert set(kept.debian) == {"libc6"}


def test_modules_are_compiled_for_this_python_only(shelf: Shelf, tmp_path: Path) -> None:
    compiled = f"usr/lib/python{HERE}/__pycache__/os.{sys.implementation.cache_tag}.pyc"
    found = files(shelf, ground(shelf, tmp_path / "base", Made([tar(*rooted())]))[1])
    (wanted,) = bytecode.compiled({f"/usr/lib/python{HERE}/os.py": b"NAME = 'os'\n"}).values()
    assert found[compiled] == wanted
    other = f"3.{sys.version_info.minor + 1}"
    python, kept = ground(shelf, tmp_path / "other", Made([tar(*rooted(other))]))
    assert python == other
    assert not any("__pycache__" in name for name in files(shelf, kept))


def test_what_packages_are_linked_with_is_kept(shelf: Shelf, tmp_path: Path) -> None:
    _, kept = ground(shelf, tmp_path / "base", Made([tar(*rooted())]), libraries=(elf("libbz2.so.1.0"),))
    assert "lib64/libbz2.so.1.0" in files(shelf, kept)


def test_it_is_made_once_and_is_the_same(shelf: Shelf, tmp_path: Path) -> None:
    image = Made([tar(*rooted())])
    _, kept = ground(shelf, tmp_path / "base", image)
    for path in (tmp_path / "base" / "blobs" / "sha256").iterdir():
        path.unlink()  # what is on the shelf is enough
    with open_base(f"oci:{tmp_path}/base", "linux/amd64", shelf, Network()) as base, broken(base, shelf) as found:
        assert found.pruned("0", pytest.fail) == kept
    assert ground(Shelf(tmp_path / "elsewhere"), tmp_path / "moved", image)[1] == kept


@pytest.mark.parametrize("whole", [False, True])
def test_nothing_of_this_machine_is_read(shelf: Shelf, tmp_path: Path, whole: bool) -> None:
    """A base whose tables are links to files of whoever builds."""
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "dash.list").write_text(f"/usr/lib/python{HERE}/os.py\n")
    ours = [info for info in rooted() if not info[0].name.startswith("var/lib/dpkg/info")]
    direct = member("var/lib/dpkg/info", b"", type=tarfile.SYMTYPE, linkname=str(tmp_path / "info"))
    single = member("var/lib/dpkg/info/dash.list", b"", type=tarfile.SYMTYPE, linkname=str(tmp_path / "info/dash.list"))
    for number, extra in enumerate((direct, single)):
        _, kept = ground(shelf, tmp_path / f"{number}", Made([tar(*ours, extra)]), whole=whole)
        assert kept.debian == {}


def test_whole_bases_keep_their_layers(shelf: Shelf, tmp_path: Path) -> None:
    image = Made([tar(*rooted()), tar(member("etc/more", b"1"))])
    _, kept = ground(shelf, tmp_path / "base", image, whole=True)
    assert [layer.diff_id for layer in kept.layers] == image.diff_ids
    assert all(layer.digest in image.blobs for layer in kept.layers)
    assert set(kept.debian) == {"libc6", "dash"}
    saved = Made([tar(*rooted())]).saved(tmp_path / "saved.tar")
    with open_base(f"archive:{saved}", "linux/amd64", shelf, Network()) as base, broken(base, shelf) as found:
        (packed,) = found.whole().layers
    assert packed.diff_id == image.diff_ids[0]
    assert packed.media_type.endswith("+gzip")


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ([member("bin/sh", b"")], "no Python"),
        (rooted("3.10"), "3.10"),
        (rooted(machine=183), "another machine"),
        (rooted(loader="lib/ld-musl-x86_64.so.1"), "glibc"),
        ([*rooted(), member(f"usr/bin/python{HERE}", b"\x7fELF\x02\x01" + b"\xff" * 90)], ""),
        ([*rooted(), member(f"usr/bin/python{HERE}", b"#!/bin/sh\n")], ""),
    ],
    ids=["no Python", "an old one", "for arm", "musl", "a damaged program", "no program"],
)  # fmt: skip
@pytest.mark.parametrize("whole", [False, True])
def test_bases_that_cannot_carry_a_server(
    shelf: Shelf, tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], cause: str, whole: bool
) -> None:
    with pytest.raises(BuildFailed, match="cannot be used as a base") as caught:
        ground(shelf, tmp_path / "base", Made([tar(*members)]), whole=whole)
    assert cause in caught.value.cause
    assert "--base" in caught.value.hint
    assert list(shelf.aside.iterdir()) == []
