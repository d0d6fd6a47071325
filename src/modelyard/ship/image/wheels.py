"""The packages of an image as wheels: fetched by pip or taken from a folder, checked against the lock, unpacked.

Pip's own configuration says where from, so private indexes work. It is asked for another Python and platform than this
one's where the image has another; nothing of a wheel runs here.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from modelyard.core.errors import BuildFailed, MissingExtra, StoreFull, Unavailable
from modelyard.ship.image import slim
from modelyard.ship.image.locks import Pin, machine_of, pins, version_of
from modelyard.store import files

if TYPE_CHECKING:
    from packaging.tags import Tag

#: The newest glibc that a wheel may ask for; every base image that is still maintained has it.
_GLIBC = (2, 28)
_FETCH_S = 1800.0
_RETRIES = "2"
_ELSEWHERE = "where there is a network: modelyard build MODEL --format context; then here: --wheels CONTEXT/wheelhouse"
_OFFLINE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLE"
)
_SPACE = re.compile(r"No space left on device|Disk quota exceeded")


@dataclass(frozen=True)
class Entry:
    """One file of the packages.

    Parameters
    ----------
    path : str
        Below `layout.LIBRARY`, with slashes.
    mode : int
        0o755 where the wheel says that it is a program, else 0o644.
    raw : bytes
        What is in it.
    """

    path: str
    mode: int
    raw: bytes


def fetch(
    cache: Path,
    wheels: Path | None = None,
    python: str = "3.11",
    platform: str = "linux/amd64",
    extras: Iterable[str] = (),
) -> list[Path]:
    """Wheels of all packages of an image beside Modelyard's own, by name; each file is the one that is locked.

    Parameters
    ----------
    cache : Path
        Folder of what can be used again; wheels are kept below it. Several may fetch at once.
    wheels : Path, optional
        Folder to take all of them from; then nothing is fetched.
    python, platform : str
        Of the image.
    extras : iterable of str
        Parts of Modelyard that it carries beside the server, see `locks.EXTRAS`.

    Raises
    ------
    BuildFailed
        The folder lacks some, there is no wheel for this Python and platform, or a file is not the one that is locked.
    Unavailable
        The package index cannot be reached.
    MissingExtra
        Pip is needed, or `packaging`.
    """
    wanted = pins(python, platform, extras)
    ranks = _ranks(python, platform)
    where = f"Python {python} on {platform}"
    folder = cache / "wheels" if wheels is None else wheels
    if wheels is None:
        _make(folder)
    found = _look(folder, wanted, ranks)
    lacking = [pin for pin in wanted if pin.name not in found]
    if lacking and wheels is not None:
        raise _lacks(wheels, lacking, where)
    if lacking:
        _download(folder, lacking, python, platform)
        found |= _look(folder, lacking, ranks)
        if lacking := [pin for pin in lacking if pin.name not in found]:
            raise BuildFailed(what=f"there is no wheel of {_names(lacking)} for {where}", hint=_ELSEWHERE)
    return [found[pin.name] for pin in wanted]


def unpack(wheels: Iterable[Path]) -> Iterator[Entry]:
    """The files of these wheels as they lie in an image, by path; what no server imports is left out.

    Packages lie flat, as ``pip install --target`` lays them. Programs and C headers are left out too.
    """
    members: dict[str, tuple[Path, str]] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                path = _placed(name)
                if path and not slim.superfluous(path):
                    members[path] = (wheel, name)
    archives: dict[Path, zipfile.ZipFile] = {}
    try:
        for path, (wheel, name) in sorted(members.items()):
            archive = archives.setdefault(wheel, archives.get(wheel) or zipfile.ZipFile(wheel))
            executable = archive.getinfo(name).external_attr >> 16 & 0o111
            yield Entry(path, 0o755 if executable else 0o644, archive.read(name))
    finally:
        for archive in archives.values():
            archive.close()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _placed(name: str) -> str:
    """Where a member of a wheel goes; empty for folders and for what is not put below the library."""
    path = PurePosixPath(name)
    if name.endswith("/"):
        return ""
    if path.is_absolute() or ".." in path.parts:
        raise BuildFailed(what=f"a wheel has a file outside of itself: {name[:80]!r}")
    if not path.parts[0].endswith(".data"):
        return str(path)
    return str(PurePosixPath(*path.parts[2:])) if path.parts[1] in {"purelib", "platlib", "data"} else ""


def _ranks(python: str, platform: str) -> dict[Tag, int]:
    """The tags of wheels that run there, best first."""
    try:
        from packaging import tags  # noqa: PLC0415 - of the extra `ship`
    except ModuleNotFoundError as exc:
        raise MissingExtra(what="making an image", library="packaging", extra="ship") from exc
    version, platforms = version_of(python), _platforms(platform)
    interpreter = f"cp{version[0]}{version[1]}"
    both = [*tags.cpython_tags(version, platforms=platforms), *tags.compatible_tags(version, interpreter, platforms)]
    return {tag: rank for rank, tag in reversed(list(enumerate(both)))}


def _platforms(platform: str) -> list[str]:
    """Tags of platforms, newest glibc first, with the names that older ones had before."""
    machine = machine_of(platform)
    older = {17: "2014", 12: "2010", 5: "1"}
    names = []
    for minor in range(_GLIBC[1], 4, -1):
        names.append(f"manylinux_2_{minor}_{machine}")
        if minor in older and (machine == "x86_64" or minor == 17):
            names.append(f"manylinux{older[minor]}_{machine}")
    return [*names, f"linux_{machine}"]


def _look(folder: Path, wanted: Sequence[Pin], ranks: dict[Tag, int]) -> dict[str, Path]:
    """By package, the best file of the folder that is one of the locked ones and runs there."""
    by_name: dict[str, list[tuple[int, Path]]] = {}
    for path in _listed(folder):
        name, rank = _read_name(path.name, ranks)
        if rank is not None:
            by_name.setdefault(name, []).append((rank, path))
    found: dict[str, Path] = {}
    for pin in wanted:
        for _, path in sorted(by_name.get(str(pin), [])):
            if digest_of(path) in pin.hashes:
                found[pin.name] = path
                break
    return found


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".whl")
    except OSError as exc:
        hint = "name a folder of wheels, such as the wheelhouse/ of a context"
        raise BuildFailed(
            what=f"cannot read the folder of wheels {folder.name!r}", cause=exc.strerror, hint=hint
        ) from exc


def _read_name(file: str, ranks: dict[Tag, int]) -> tuple[str, int | None]:
    """``name==version`` of a wheel by its file's name, and how well it fits; None when it does not."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415 - of the extra `ship`

    try:
        name, version, _, tags = parse_wheel_filename(file)
    except InvalidWheelFilename:
        return "", None
    return f"{name}=={version}", min((ranks[tag] for tag in tags if tag in ranks), default=None)


def _download(folder: Path, lacking: Sequence[Pin], python: str, platform: str) -> None:
    """Let pip fetch these; they appear in the folder one by one, each of them whole."""
    lines = [f"{pin} {' '.join(f'--hash=sha256:{each}' for each in sorted(pin.hashes))}\n" for pin in lacking]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as name:
        aside = Path(name)
        (aside / "requirements.txt").write_text("".join(lines))
        _pip(aside, python, platform)
        try:
            for path in _listed(aside / "got"):
                path.replace(folder / path.name)
        except OSError as exc:
            raise files.full_or(exc, folder) from exc


def _pip(aside: Path, python: str, platform: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--retries", _RETRIES]
    command += ["--implementation", "cp", "--python-version", "{}.{}".format(*version_of(python))]
    for each in _platforms(platform):
        command += ["--platform", each]
    command += ["--dest", str(aside / "got"), "--requirement", str(aside / "requirements.txt")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S, check=False, cwd=aside)  # noqa: S603 - our own words
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(what="the package index is too slow: no wheels after half an hour", hint=_ELSEWHERE) from exc
    if done.returncode:
        raise _refusal(done.stderr or done.stdout, f"Python {python} on {platform}")


def _refusal(said: str, where: str) -> Exception:
    """What it means that pip did not fetch them."""
    if "No module named pip" in said:
        return MissingExtra(what="fetching packages of an image", library="pip", extra="ship")
    if _SPACE.search(said):
        return StoreFull(where="the cache of wheels")
    lines = [line.strip() for line in said.splitlines() if line.strip().startswith("ERROR")]
    last = lines[-1].removeprefix("ERROR:").strip()[:300] if lines else said.strip()[-300:]
    if "DO NOT MATCH THE HASHES" in said:
        what = "the package index hands out files that are not the ones that are locked"
        return BuildFailed(what=what, cause=last, hint="see which index pip is told to use: pip config list")
    if _OFFLINE.search(said):
        return Unavailable(what="the package index cannot be reached", cause=last, hint=_ELSEWHERE)
    return BuildFailed(what=f"pip cannot fetch the packages for {where}", cause=last, hint=_ELSEWHERE)


def _lacks(folder: Path, lacking: Sequence[Pin], where: str) -> BuildFailed:
    """The folder has not all; a file of the right name with other bytes is named as such."""
    stems = {f"{pin.name.replace('-', '_')}-{pin.version}-" for pin in lacking}
    wrong = [path.name for path in _listed(folder) if any(path.name.lower().startswith(stem) for stem in stems)]
    cause = f"for {where}" + (
        f"; there, but not what is locked or not for that: {', '.join(wrong[:4])}" if wrong else ""
    )
    return BuildFailed(what=f"{folder.name!r} has no wheel of {_names(lacking)}", cause=cause, hint=_ELSEWHERE)


def _names(lacking: Sequence[Pin]) -> str:
    shown = ", ".join(map(str, lacking[:6]))
    return shown if len(lacking) <= 6 else f"{shown} and {len(lacking) - 6} more"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise Unavailable(
            what="cannot make the folder that wheels are kept in",
            cause=exc.strerror,
            hint="set XDG_CACHE_HOME to a folder that you may write to",
        ) from exc
