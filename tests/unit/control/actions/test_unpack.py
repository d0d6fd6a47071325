"""Archives that others made: whatever they hold, a bundle comes out or a refusal, and nothing is written anywhere."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from struct import pack
from time import perf_counter
from typing import Any

import msgspec
import psutil
import pytest

from modelyard.control.actions.home import Home
from modelyard.control.actions.import_model import import_model, look
from modelyard.core.errors import CorruptBundle, ModelyardError, TooLarge
from modelyard.core.manifest import MANIFEST, MODEL, FileEntry
from modelyard.model.bundle import Bundle
from tests.models import linear_bundle

GOOD = linear_bundle()
LINK, DEVICE, FIFO = stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO | 0o666
MOST_RSS_BYTES = 96 << 20
Write = Callable[[zipfile.ZipFile], object]


def archive(
    *more: Write, bundle: Bundle = GOOD, without: tuple[str, ...] = (), modes: dict[str, int] | None = None
) -> bytes:
    """A bundle as `export` makes it, without these, with other modes, and with what is written into it then."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as packed:
        for name, raw in {MANIFEST: bundle.manifest.to_bytes(), **bundle.files}.items():
            if name not in without:
                packed.writestr(member(name, (modes or {}).get(name, 0)), raw)
        for write in more:
            write(packed)
    return kept.getvalue()


def member(name: str, mode: int = 0, packed: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, packed
    return info


def put(name: str, raw: bytes = b"evil", mode: int = 0, packed: int = zipfile.ZIP_STORED) -> Write:
    return lambda archive: archive.writestr(member(name, mode, packed), raw)


def named(name: str, raw: bytes = b"evil") -> bytes:
    """With a file of this name, which the manifest names too."""
    return archive(put(name, raw), bundle=claims(**{name: FileEntry(hashlib.sha256(raw).hexdigest(), len(raw))}))


def claims(**entries: FileEntry) -> Bundle:
    files = GOOD.manifest.files | entries
    return Bundle(msgspec.structs.replace(GOOD.manifest, files=files), GOOD.files)


def zeros(name: str, size: int, bundle: Bundle = GOOD, packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    """So many zeros, which take a thousandth."""

    def write(archive: zipfile.ZipFile) -> None:
        with archive.open(member(name, packed=packed), "w", force_zip64=True) as file:
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))

    return archive(write, bundle=bundle, without=(name,))


def changed(*pairs: tuple[bytes, bytes], raw: bytes | None = None) -> bytes:
    """Bytes of a whole archive exchanged, everywhere; none of them may be missing."""
    raw = raw or archive()
    for old, new in pairs:
        assert old in raw
        raw = raw.replace(old, new)
    return raw


def patched(at: int, value: bytes, *, mark: bytes = b"PK\x01\x02", name: bytes = b"model.onnx") -> bytes:
    """Another value in the line of the archive's list that is about this file."""
    raw = bytearray(archive())
    line = raw.rindex(mark, 0, raw.rindex(name))
    raw[line + at : line + at + len(value)] = value
    return bytes(raw)


def a_million(count: int = 1_000_000) -> bytes:
    """A list of so many files, all of them the first; its end says that it is one."""
    whole = archive()
    at = whole.index(b"PK\x01\x02")
    line = whole[at : whole.index(b"PK\x01\x02", at + 4)]
    return whole[:at] + line * count + b"PK\x05\x06" + pack("<HHHHLLH", 0, 0, 1, 1, len(line) * count, at, 0)


def zip64(size: int) -> bytes:
    """The file says its size in the newer way, and it is a lie."""
    extra = pack("<HHQQ", 1, 16, size, size)
    info = member(MODEL)
    info.extra = extra
    raw = bytearray(archive(lambda packed: packed.writestr(info, GOOD.files[MODEL]), without=(MODEL,)))
    line = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"model.onnx"))
    raw[line + 20 : line + 28] = b"\xff" * 8
    return bytes(raw)


def tar(kind: bytes, name: str = MODEL, mode: str = "w", **facts: Any) -> bytes:
    """A tar with one member of this kind beside a manifest."""
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode=mode, format=tarfile.PAX_FORMAT) as packed:  # type: ignore[call-overload]
        first = tarfile.TarInfo(MANIFEST)
        first.size = len(GOOD.manifest.to_bytes())
        packed.addfile(first, io.BytesIO(GOOD.manifest.to_bytes()))
        info = tarfile.TarInfo(name)
        info.type = kind
        for fact, value in facts.items():
            setattr(info, fact, value)
        packed.addfile(info)
    return kept.getvalue()


def nested(levels: int = 5, width: int = 16) -> bytes:
    """Archives in archives, as 42.zip: four gigabytes in the end."""
    raw = zlib_zeros(4 << 20)
    for _ in range(levels):
        kept = io.BytesIO()
        with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as packed:
            for number in range(width):
                packed.writestr(f"{number:x}.zip", raw)
        raw = kept.getvalue()
    return raw


def zlib_zeros(size: int) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("0.dll", bytes(size))
    return kept.getvalue()


HUGE = FileEntry("0" * 64, 1 << 40)
CASES: dict[str, Callable[[], bytes]] = {
    "a name that climbs": lambda: archive(put("../evil")),
    "a name that climbs, in the manifest too": lambda: named("../../../evil"),
    "a name from the root, in the manifest too": lambda: named("/tmp/modelyard-evil"),
    "a name with backslashes": lambda: named("..\\..\\evil"),
    "a name in a folder": lambda: named("sub/evil"),
    "a name with NUL": lambda: changed((b"card.md", b"car\0.md")),
    "a drive": lambda: named("c:evil"),
    "a folder's entry": lambda: archive(put("sub/", b"", stat.S_IFDIR | 0o755)),
    "the model is a link": lambda: archive(
        put(MODEL, b"/etc/passwd", LINK), without=(MODEL,), bundle=claims(**{MODEL: FileEntry("0" * 64, 11)})
    ),
    "the model is called a link": lambda: archive(modes={MODEL: LINK}),
    "the manifest is a link": lambda: archive(modes={MANIFEST: LINK}),
    "the model is a device": lambda: archive(modes={MODEL: DEVICE}),
    "the card is a pipe": lambda: archive(modes={"card.md": FIFO}),
    "one name twice, the good one last": lambda: archive(put(MODEL, GOOD.files[MODEL]), put(MODEL, GOOD.files[MODEL])),
    "the manifest twice": lambda: archive(put(MANIFEST, b"{}")),
    "names that differ in case": lambda: archive(put("MODEL.ONNX", GOOD.files[MODEL])),
    "a name that looks the same": lambda: archive(put("m\u043edel.onnx", GOOD.files[MODEL])),
    "256 MiB of zeros as the model": lambda: zeros(MODEL, 256 << 20),
    "256 MiB of zeros as the manifest": lambda: zeros(MANIFEST, 256 << 20),
    "256 MiB of zeros, and a manifest that says a terabyte": lambda: zeros(MODEL, 256 << 20, claims(**{MODEL: HUGE})),
    "a manifest that says less than nothing": lambda: zeros(
        MODEL, 256 << 20, claims(**{MODEL: FileEntry("0" * 64, -2)})
    ),
    "a way of packing that takes memory": lambda: archive(
        put(MODEL, GOOD.files[MODEL], packed=zipfile.ZIP_LZMA), without=(MODEL,)
    ),
    "archives in archives": nested,
    "archives in the model's place": lambda: archive(put(MODEL, nested(2)), without=(MODEL,)),
    "a million files": a_million,
    "a size of 2^62 in the newer way": lambda: zip64(1 << 62),
    "a size of nothing in the newer way": lambda: zip64(0),
    "a list that lies about a size": lambda: patched(24, pack("<L", 1)),
    "a list that lies about a place": lambda: patched(42, pack("<L", 0xFFFF)),
    "a checksum that is wrong": lambda: patched(16, b"\0\0\0\0"),
    "a way of packing that nobody knows": lambda: patched(10, pack("<H", 99)),
    "a password": lambda: patched(8, pack("<H", 1)),
    "cut in half": lambda: archive()[: len(archive()) // 2],
    "an end without a list": lambda: b"PK\x03\x04" + b"PK\x05\x06" + pack("<HHHHLLH", 0, 0, 9, 9, 99, 99, 0),
    "a list that is somewhere else": lambda: b"PK\x03\x04" + archive()[4:-20] + b"\xff" * 20,
    "a byte of the model changed": lambda: changed((GOOD.files[MODEL], GOOD.files[MODEL][:-1] + b"\x7f")),
    "no model": lambda: archive(without=(MODEL,)),
    "a tar": lambda: tar(tarfile.REGTYPE),
    "a tar with a link": lambda: tar(tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a tar with a hard link": lambda: tar(tarfile.LNKTYPE, linkname="/etc/passwd", mode="w:gz"),
    "a tar with a device": lambda: tar(tarfile.CHRTYPE, mode="w:bz2"),
    "a tar whose name climbs in a later header": lambda: tar(
        tarfile.REGTYPE, mode="w:gz", pax_headers={"path": "../evil", "linkpath": "/etc/passwd"}
    ),
}


WRITTEN: list[str] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    """Every name that this process opens to write, makes, moves or links."""
    if not WRITTEN or event not in {"open", "os.mkdir", "os.rename", "os.link", "os.symlink"}:
        return
    if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        return
    paths = args[:1] if event in {"open", "os.mkdir"} else args[:2]
    WRITTEN.extend(os.fsdecode(path) for path in paths if isinstance(path, str | bytes))


sys.addaudithook(_watch)


@pytest.fixture
def written() -> Any:
    """What was written since: the first is a mark that somebody looks."""
    WRITTEN.append("")
    yield WRITTEN
    WRITTEN.clear()


@pytest.mark.filterwarnings("ignore:Duplicate name")  # who makes them is warned
@pytest.mark.row("MOD-03")
def test_every_archive_is_refused_and_nothing_is_written(
    home: Home,
    tmp_path: Path,
    written: list[str],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Nothing outside the home and the sandbox's own folder, and nothing that stays: no version, no blob."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    path = tmp_path / "received.zip"
    process, worst_s, most, wrong = psutil.Process(), 0.0, 0, []
    for case, make in CASES.items():
        path.write_bytes(make())
        before = process.memory_info().rss
        written[:] = [""]
        begun = perf_counter()
        try:
            import_model(home, look(path))
        except ModelyardError as exc:
            worst_s = max(worst_s, perf_counter() - begun)
            most = max(most, process.memory_info().rss - before)
            if not exc.detail.isprintable() or "INTERNAL" in exc.code:
                wrong.append((case, exc.detail))
        else:
            wrong.append((case, "accepted"))
        inside = (str(home.settings.home), str(scratch))
        wrong += [(case, name) for name in written if not name.startswith(inside) and name not in {"", "/dev/null"}]
    assert wrong == []
    assert list(scratch.iterdir()) == []
    assert home.catalogue.models() == []
    assert list(home.artifacts._blobs.list()) == []
    assert len(CASES) >= 30
    assert worst_s < 12
    assert most < MOST_RSS_BYTES
    record_property(
        "number",
        f"{len(CASES)} of {len(CASES)} archives refused, 0 written outside; slowest {worst_s:.1f} s, {most >> 20} MiB",
    )


def test_the_honest_one_comes_in(home: Home, tmp_path: Path) -> None:
    """What the archives above are made of."""
    path = tmp_path / "honest.zip"
    path.write_bytes(archive())
    assert import_model(home, look(path)).version.digest == GOOD.digest


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_reasons_say_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "received.zip"
    for case, kind, says in (
        ("a name that climbs, in the manifest too", CorruptBundle, "stranger"),
        ("one name twice, the good one last", CorruptBundle, "twice"),
        ("the model is called a link", CorruptBundle, "no usual file"),
        ("a million files", TooLarge, "65,535"),
    ):
        path.write_bytes(CASES[case]())
        with pytest.raises(kind, match=says):
            import_model(None, look(path)) if kind is TooLarge else _unpack(path)


def _unpack(path: Path) -> None:
    from modelyard.control.actions.unpack import unpack

    unpack(path.read_bytes(), path.name)
