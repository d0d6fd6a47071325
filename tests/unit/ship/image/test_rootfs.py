"""Layers applied as a container would have them; whatever is in them, nothing outside of the folder is touched."""

from __future__ import annotations

import gzip
import random
import stat
import tarfile
import tracemalloc
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import BuildFailed, ModelyardError, TooLarge
from modelyard.ship.image import rootfs
from modelyard.ship.image.rootfs import Rootfs, walk
from tests.layouts import digest, member, tar

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What may not be touched, beside the root."""
    (tmp_path / "root").mkdir()
    where = tmp_path / "outside"
    where.mkdir()
    (where / "secret").write_text("secret")
    return where


@pytest.fixture
def files(outside: Path, tmp_path: Path) -> Rootfs:
    return Rootfs(tmp_path / "root")


def apply(files: Rootfs, *members: Member, packed: Any = gzip.compress) -> int:
    raw = tar(*members)
    return put(files, packed(raw), digest(raw))


def put(files: Rootfs, packed: bytes, diff_id: str) -> int:
    layer = files.root.parent / "layer"
    layer.write_bytes(packed)
    return files.apply(layer, diff_id)


def link(name: str, target: str) -> Member:
    return member(name, b"", type=tarfile.SYMTYPE, linkname=target)


def hard(name: str, target: str) -> Member:
    return member(name, b"", type=tarfile.LNKTYPE, linkname=target)


def seen(files: Rootfs) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for path in walk(files.root):
        name = str(path.relative_to(files.root))
        found[name] = f"-> {path.readlink()}" if path.is_symlink() else path.read_text() if path.is_file() else None
    return found


def test_files_links_and_folders(files: Rootfs) -> None:
    size = apply(
        files,
        member("./usr/bin/"),
        member("usr/bin/tool", b"tool", mode=0o4755, uid=77),
        member("etc/shadow", b"x", mode=0o640),
        link("bin", "usr/bin"),
        hard("usr/bin/same", "usr/bin/tool"),
        member("dev/null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("run/pipe", b"", type=tarfile.FIFOTYPE),
        member("locked/", mode=0),
        member("locked/file", b"in", mode=0),
    )
    assert size % 512 == 0
    assert size > 9 * 512
    assert seen(files) == {
        "bin": "-> usr/bin",
        "dev": None,
        "etc": None,
        "etc/shadow": "x",
        "locked": None,
        "locked/file": "in",
        "run": None,
        "usr": None,
        "usr/bin": None,
        "usr/bin/same": "tool",
        "usr/bin/tool": "tool",
    }
    modes = {
        name: stat.S_IMODE((files.root / name).stat().st_mode) for name in ("usr/bin/tool", "etc/shadow", "locked")
    }
    assert modes == {"usr/bin/tool": 0o755, "etc/shadow": 0o640, "locked": 0o700}


@pytest.mark.parametrize("kind", ["tar", "gzip", "zstd"])
def test_every_packing(files: Rootfs, kind: str) -> None:
    packs: dict[str, Any] = {"tar": bytes, "gzip": gzip.compress}
    if kind == "zstd":
        packs["zstd"] = import_module("backports.zstd").compress
    apply(files, member("a", b"1"), packed=packs[kind])
    assert seen(files) == {"a": "1"}


def test_later_layers_go_on_top(files: Rootfs) -> None:
    apply(files, member("a", b"1"), member("folder/file", b"2"), member("was/file", b"3"), link("lib", "usr/lib"))
    apply(files, member("a", b"new"), member("folder", b"now a file"), link("was", "a"), member("usr/lib/x", b"4"))
    apply(files, member("lib/y", b"through the link"))
    assert seen(files) == {
        "a": "new",
        "folder": "now a file",
        "lib": "-> usr/lib",
        "usr": None,
        "usr/lib": None,
        "usr/lib/x": "4",
        "usr/lib/y": "through the link",
        "was": "-> a",
    }


def test_a_folder_takes_a_links_place(files: Rootfs) -> None:
    apply(files, member("usr/lib/x", b"1"), link("lib", "usr/lib"))
    apply(files, member("lib/"), member("lib/y", b"2"))
    assert seen(files) == {"lib": None, "lib/y": "2", "usr": None, "usr/lib": None, "usr/lib/x": "1"}


def test_whiteouts(files: Rootfs) -> None:
    apply(
        files, member("a", b"1"), member("b/c", b"2"), member("b/d", b"3"), member("e/f/g", b"4"), member("e/h", b"5")
    )
    apply(
        files,
        member(".wh.a", b""),
        member("b/new", b"6"),
        member("b/.wh..wh..opq", b""),
        member("e/.wh.f", b""),
        member("e/.wh.never", b""),
    )
    assert seen(files) == {"b": None, "b/new": "6", "e": None, "e/h": "5"}


def test_whiteouts_are_about_lower_layers_only(files: Rootfs) -> None:
    apply(files, member("a", b"old"), member("d/old", b"old"))
    apply(
        files, member("a", b"new"), member(".wh.a", b""), member("d/sub/new", b"new"), member("d/.wh.sub", b""),
        member(".wh.d", b""),
    )  # fmt: skip
    assert seen(files) == {"a": "new", "d": None, "d/sub": None, "d/sub/new": "new"}


def test_whiteouts_do_not_follow_links(files: Rootfs, outside: Path) -> None:
    apply(files, link("out", str(outside)), link("up", ".."))
    apply(files, member(".wh.out", b""), member("up/outside/.wh.secret", b""))
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside/new", b"x")],
        [member("a/../../outside/new", b"x")],
        [member("/../outside/new", b"x")],
        [member(".wh...", b"")],
        [member(".wh..", b"")],
        [member(".wh.", b"")],
        [member("sub/.wh...", b"")],
        [hard("stolen", "../outside/secret")],
        [hard("stolen", "/outside/secret")],
        [link("loop", "loop"), member("loop/x/y", b"x")],
        [member("/".join(["deep"] * 300), b"x")],
        [member("n" * 300, b"x")],
    ],
    ids=lambda members: str(members[0][0].name)[:20],
)  # fmt: skip
def test_what_no_layer_may_hold(files: Rootfs, outside: Path, members: list[Member]) -> None:
    before = sorted(outside.parent.iterdir())
    try:
        apply(files, *members)
    except BuildFailed:
        pass
    else:
        assert members[0][0].name == "loop"  # a link to itself gives way to a folder
    assert [path for path in sorted(outside.parent.iterdir()) if path.name != "layer"] == before
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"secret": "secret"}


@pytest.mark.parametrize("target", ["/{outside}", "../outside", "../../../../../../../{outside}", "/proc/self/cwd"])
def test_links_lead_inside(files: Rootfs, outside: Path, target: str) -> None:
    """As in a container, whose root is ``/``: there is no outside that a link could lead to."""
    apply(
        files,
        link("exit", target.format(outside=str(outside)[1:])),
        member("exit/secret", b"changed"),
        member("exit/new", b"new"),
    )
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"secret": "secret"}
    assert not (Path.cwd() / "new").exists()
    assert any(name.endswith("/new") for name in seen(files))


def test_a_file_never_writes_through_a_link(files: Rootfs, outside: Path) -> None:
    apply(files, link("secret", str(outside / "secret")), member("secret", b"changed"))
    apply(files, member("one", b"1"), hard("two", "one"), member("two", b"2"))
    assert (outside / "secret").read_text() == "secret"
    assert seen(files) == {"one": "1", "secret": "changed", "two": "2"}


def test_links_are_followed_as_inside(files: Rootfs) -> None:
    apply(
        files,
        member("usr/bin/python3.11", b"python"),
        link("usr/local/bin/python3", "/usr/bin/python3"),
        link("usr/bin/python3", "python3.11"),
        link("ring", "ring2"),
        link("ring2", "ring"),
    )
    assert files.follow("/usr/local/bin/python3") == files.root / "usr/bin/python3.11"
    assert files.follow("usr/local/bin/../../../../../usr/bin/python3") == files.root / "usr/bin/python3.11"
    assert files.follow("ring") is None
    assert files.follow("nowhere") is None


def test_damaged_layers(files: Rootfs) -> None:
    raw = tar(member("a", b"1" * 100_000))
    packed = gzip.compress(raw, 1)
    with pytest.raises(BuildFailed, match="damaged"):
        put(files, packed, digest(b"another"))
    for broken in (packed[:-20], packed[: len(packed) // 2], packed[:30] + b"\xff" * 20 + packed[50:], b"\x1f\x8b\x08"):
        with pytest.raises(BuildFailed, match="damaged"):
            put(files, broken, digest(raw))
    with pytest.raises(BuildFailed, match="damaged"):
        put(files, raw[:50_000], digest(raw))


def test_too_much_is_refused(files: Rootfs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "MOST_BYTES", 10_000)
    monkeypatch.setattr(rootfs._Room, "__init__", lambda room: room.__dict__.update(left_bytes=10_000, left_files=10))
    with pytest.raises(TooLarge, match="base image"):
        apply(Rootfs(files.root), *(member(f"{number}", b"x" * 2000) for number in range(6)))
    with pytest.raises(TooLarge, match="base image"):
        apply(Rootfs(files.root), *(member(f"folder{number}/") for number in range(12)))


def test_a_head_that_says_it_is_large_is_not_read_into_memory(files: Rootfs) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    raw = info.tobuf() + bytes(64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(BuildFailed):
            put(files, gzip.compress(raw, 1), digest(raw))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_nothing_that_a_layer_holds_leads_out(files: Rootfs, outside: Path, data: st.DataObject, seed: int) -> None:
    """Any mix of links, whiteouts and files of few names; then the same with bytes changed."""
    names = st.lists(st.sampled_from(["a", "b", "..", ".wh.a", ".wh..wh..opq", "outside", "."]), min_size=1, max_size=4)
    targets = st.sampled_from(["..", "../..", "/", "a", "b/a", str(outside), f"{outside}/secret", "../outside", "."])
    kinds = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
    members = []
    for _ in range(data.draw(st.integers(1, 12))):
        kind = data.draw(kinds)
        members.append(
            member(
                "/".join(data.draw(names)),
                b"x" if kind == tarfile.REGTYPE else b"",
                type=kind,
                linkname=data.draw(targets) if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else "",
            )
        )
    raw = bytearray(tar(*members))
    for each in ([], *[random.Random(seed).sample(range(len(raw)), 3)]):
        for position in each:
            raw[position] = random.Random(position).randrange(256)
        with suppress(ModelyardError):
            put(files, bytes(raw), digest(bytes(raw)))
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"secret": "secret"}
    assert {path.name for path in outside.parent.iterdir()} <= {"root", "outside", "layer"}
    assert (outside / "secret").stat().st_nlink == 1
