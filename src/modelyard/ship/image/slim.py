"""Which files of a base image a Python server needs, and which files of its packages it does not.

Everything here is of the standard library, and nothing of Modelyard: the same file runs inside of a Docker build::

    python3 slim.py ROOT OUT --library DIR

copies what is needed from the root folder ROOT to OUT, and makes the packages in DIR lighter where they are. What is
kept: Python and its standard library, the C libraries that it and the packages are linked with, names and certificates
that connections need, and which Debian packages those files are of. No shell, no package manager.
"""

from __future__ import annotations

import argparse
import compileall
import os
import py_compile
import re
import shutil
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

USER = 10001
OLDEST = (3, 11)
#: Files of packages that no server reads: tests, types, sources in C, and parts of libraries that ours never imports.
_SUPERFLUOUS = re.compile(
    r"""(?x)
    (?: .*/ )? (?: tests? | __pycache__ ) /                        # folders, wherever they are
    | .* \. (?: pyi | pyx | pxd | pxi | c | h | hpp | cpp | cc | a | lib | exe | f | f90 ) $
    | [^/]+\.dist-info/ (?: RECORD | INSTALLER | REQUESTED | direct_url\.json ) $  # speak of files as pip left them
    | bin/ | include/                                              # programs; headers
    | onnxruntime/ (?: transformers | tools | quantization | datasets | backend ) /
    | onnxruntime/capi/libonnxruntime\.so                          # nothing links it: its Python module has all of it
    | numpy/ (?: distutils | _pyinstaller ) /      # scipy imports numpy.f2py
    | numpy/_core/ (?: _simd | _[a-z]+_tests ) \.                  # what its own tests look at
    """
)
#: Of the standard library: what is for people at a desk, for building Python, and for its own tests.
_NOT_STANDARD = (
    *("__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3"),
    *("pydoc_data", "site-packages", "dist-packages", "config-3*", "LICENSE.txt", "*.pyc"),
)
_NOT_DYNLOAD = (
    *("_tkinter.*", "_curses*", "readline.*", "_dbm.*", "_gdbm.*", "nis.*", "ossaudiodev.*", "_crypt.*"),
    *("_ctypes_test.*", "_test*", "_xx*", "xx*"),
)
#: Loaded by name while a program runs; and what every wheel may be linked with (manylinux), so that a base does not
#: depend on which packages lie on it.
_LOADED = (
    *("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1", "libstdc++.so.6", "libm.so.6"),
    *("libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1", "libz.so.1", "libexpat.so.1"),
)
#: Kept where there is such a file, link or folder; the folders with all that is in them.
_FILES = (
    *("etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/host.conf", "etc/gai.conf", "etc/services", "etc/protocols"),
    *("etc/os-release", "usr/lib/os-release", "etc/debian_version", "etc/ld.so.conf", "etc/ld.so.conf.d"),
    *(
        "etc/ld.so.cache",
        "etc/ssl/certs",
        "etc/ssl/openssl.cnf",
        "usr/lib/ssl",
        "etc/pki/tls/certs",
        "etc/ssl/cert.pem",
    ),
    *("etc/pki/ca-trust/extracted/pem", "usr/share/ca-certificates", "usr/lib/locale/C.utf8"),
)
_NEVER = ("etc/ssl/private", "usr/lib/ssl/private", "usr/lib/ssl/misc")
_FOLDERS = ("bin", "sbin", "lib", "lib64", "dev", "etc", "mnt", "opt", "proc", "run", "sys", "tmp", "usr", "var")
_MACHINES = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}


class Unfit(ValueError):
    """The base image cannot carry a server; the sentence says why."""


def superfluous(path: str) -> bool:
    """Whether a file below the library of an image can be left out of it."""
    return _SUPERFLUOUS.match(path) is not None


def needed(root: Path, extra: Iterable[Path | bytes] = (), sonames: Iterable[str] = ()) -> list[str]:
    """Paths below `root` that a Python server needs, sorted: files, links and folders.

    Parameters
    ----------
    root : Path
        Root folder of the base image.
    extra : iterable of Path or bytes
        C libraries that are linked with those of the image: files, folders that hold them, or what is in them.
    sonames : iterable of str
        More of the image's own C libraries: ``libseccomp.so.2``. With any, the program that finds them is kept too.

    Raises
    ------
    Unfit
        There is no Python 3.11 or newer in it, or it is not made of glibc.
    """
    keep = _Keeper(_Root(root))
    for folder in _FOLDERS:
        keep.path(folder)
    python = interpreter(root)
    for path in python.programs:
        keep.path(path)
    for path in _standard(keep.root, python.library):
        keep.path(path)
    for path in _FILES:
        keep.tree(path)
    _link(keep, python, list(extra), list(sonames))
    for package in owners(root, keep.kept):
        keep.tree(f"usr/share/doc/{package}/copyright")
    keep.tree("usr/share/common-licenses")
    return sorted(keep.kept)


def additions(root: Path, kept: Iterable[str]) -> dict[str, bytes]:
    """Files that are written beside those that are kept: the server's user, and which packages of Debian are there."""
    at = _Root(root)
    user = f"modelyard:x:{USER}:{USER}:modelyard:/nonexistent:/usr/sbin/nologin\n"
    written = {
        "etc/passwd": _with_line(at.read("etc/passwd"), user),
        "etc/group": _with_line(at.read("etc/group"), f"modelyard:x:{USER}:\n"),
    }
    for package, stanza in owners(root, kept).items():
        written[f"var/lib/dpkg/status.d/{package}"] = stanza.encode() + b"\n"
    return written


@dataclass(frozen=True)
class Interpreter:
    """The Python of a base image.

    Parameters
    ----------
    version : tuple of int
        Major and minor.
    programs : tuple of str
        What it is started by, below the root; the first is on every image's PATH. With the marks of a venv.
    binary : str
        The program itself.
    library : str
        Folder of the standard library.
    """

    version: tuple[int, int]
    programs: tuple[str, ...]
    binary: str
    library: str


def interpreter(root: Path) -> Interpreter:
    """The Python that ``python3`` means in this image."""
    at = _Root(root)
    for folder in ("usr/local/bin", "usr/bin"):
        binary = at.real(f"{folder}/python3")
        if binary is None:
            continue
        named = re.search(r"python3\.(\d+)$", binary)
        prefix = binary.rpartition("/bin/")[0]
        for library in (f"{prefix}/{lib}/python3.{named[1]}" for lib in ("lib", "lib64") if named):
            if at.real(f"{library}/os.py") and named:
                version = (3, int(named[1]))
                if version < OLDEST:
                    raise Unfit(f"its Python is {version[0]}.{version[1]}, and Modelyard needs 3.11 or newer")
                names = ("python", "python3", f"python3.{named[1]}")
                places = {f"{folder}/{name}" for name in names} | {binary, f"{folder.rpartition('/')[0]}/pyvenv.cfg"}
                return Interpreter(version, tuple(sorted(p for p in places if at.has(p))), binary, library)
    raise Unfit("it has no Python: neither /usr/local/bin/python3 nor /usr/bin/python3 is there with its library")


def owners(root: Path, kept: Iterable[str]) -> dict[str, str]:
    """Debian packages of which a file is kept, each with what the package manager knows of it."""
    at, kept = _Root(root), set(kept)
    status = at.read("var/lib/dpkg/status")
    stanzas = {_field(each, "Package"): each for each in re.split(r"\n\n+", status.strip()) if each}
    found = {}
    info = at.real("var/lib/dpkg/info")  # in this root, wherever a hostile one says that it is
    for listing in sorted(at.at(info).glob("*.list")) if info and at.is_folder(info) else []:
        package = listing.name.removesuffix(".list").partition(":")[0]
        lines = (line.strip("/") for line in at.read(f"{info}/{listing.name}").splitlines())
        if package in stanzas and any(at.placed(line) in kept and not at.is_folder(line) for line in lines if line):
            found[package] = re.sub(r"(?m)^Conffiles:\n(?: .*\n?)+", "", stanzas[package]).strip()
    return found


class _Root:
    """A root folder, looked at as if it were ``/``: absolute links lead inside of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def at(self, path: str) -> Path:
        return self.root / path

    def trail(self, path: str) -> tuple[list[str], str | None]:
        """Links that the path goes through, and where it ends; None where nothing is."""
        links: list[str] = []
        parts, done = [part for part in path.split("/") if part not in {"", "."}], ""
        while parts:
            part = parts.pop(0)
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = f"{done}/{part}" if done else part
            if not self.at(here).is_symlink():
                if not self.at(here).exists():
                    return links, None
                done = here
                continue
            if here in links or len(links) > 64:
                return links, None
            links.append(here)
            target = str(self.at(here).readlink())
            if target.startswith("/"):
                done = ""
            parts = [each for each in target.split("/") if each not in {"", "."}] + parts
        return links, done

    def real(self, path: str) -> str | None:
        return self.trail(path)[1]

    def placed(self, path: str) -> str:
        """The path with links in its folders followed, not the last one."""
        folder, _, name = path.rpartition("/")
        return f"{self.real(folder) or folder}/{name}" if folder else name

    def has(self, path: str) -> bool:
        return self.real(path) is not None

    def is_folder(self, path: str) -> bool:
        real = self.real(path)
        return real is not None and self.at(real).is_dir()

    def read(self, path: str) -> str:
        real = self.real(path)
        return self.at(real).read_text(errors="replace") if real and self.at(real).is_file() else ""

    def below(self, folder: str) -> Iterator[str]:
        """Everything in a folder, at every depth; links are not followed."""
        for entry in sorted(os.scandir(self.at(folder)), key=lambda each: each.name):
            path = f"{folder}/{entry.name}"
            yield path
            if entry.is_dir(follow_symlinks=False):
                yield from self.below(path)


class _Keeper:
    """Collects paths, with the folders that they lie in and the links that lead to them."""

    def __init__(self, root: _Root) -> None:
        self.root = root
        self.kept: set[str] = set()

    def path(self, path: str) -> str | None:
        """Keep this and what it leads to; where it ends. Nothing happens when nothing is there."""
        links, end = self.root.trail(path)
        if end is None:
            return None
        for each in (*links, end):
            while each:
                self.kept.add(each)
                each = each.rpartition("/")[0]
        return end

    def tree(self, path: str) -> None:
        """Keep this, and what is in it when it is a folder."""
        end = self.path(path)
        if end is None or not self.root.at(end).is_dir():
            return
        for each in self.root.below(end):
            if not each.startswith(_NEVER):
                self.path(each)


def _standard(root: _Root, library: str) -> Iterator[str]:
    """The standard library without what servers do not import."""
    for path in root.below(library):
        parts = path.removeprefix(f"{library}/").split("/")
        unwanted = _NOT_DYNLOAD if parts[0] == "lib-dynload" else _NOT_STANDARD
        if not any(fnmatch(part, pattern) for part in parts for pattern in unwanted):
            yield path


def _link(keep: _Keeper, python: Interpreter, extra: list[Path | bytes], sonames: list[str]) -> None:
    """Keep the C libraries that all this is linked with, and those that they are linked with."""
    elf = _elf(keep.root.at(python.binary).read_bytes())
    if elf is None or elf.machine not in _MACHINES:
        raise Unfit("its Python is for another kind of machine than x86-64 or arm64")
    if "ld-linux" not in elf.loader:
        raise Unfit("it is not made of glibc, which the libraries need: take a Debian base such as python:3.11-slim")
    keep.path(elf.loader)
    linker = _Linker(keep, elf.machine)
    if not linker.want("libc.so.6"):
        raise Unfit("it is not made of glibc, which the libraries need: take a Debian base such as python:3.11-slim")
    for path in [python.binary, *(path for path in sorted(keep.kept) if path.endswith(".so"))]:
        linker.follow(path)
    for name in (*_LOADED, *sonames):
        linker.want(name)
    if sonames:
        keep.path("sbin/ldconfig")
    for raw in _images(extra):
        linker.satisfy(raw)


class _Linker:
    """Finds C libraries as the dynamic loader does."""

    def __init__(self, keep: _Keeper, machine: int) -> None:
        self._keep, self._machine = keep, machine
        triplet = _MACHINES[machine]
        self._folders = [*_configured(keep.root)]
        for lib in ("lib", "usr/lib", "usr/local/lib"):
            self._folders += [f"{lib}/{triplet}", lib]
        self._folders += ["lib64", "usr/lib64"]
        self._seen: set[str] = set()

    def want(self, soname: str, beside: Iterable[str] = ()) -> bool:
        """Keep the library of this name; whether there is one."""
        for folder in (*beside, *self._folders):
            found = self._keep.root.real(f"{folder}/{soname}")
            if found and self._fits(found):
                self._keep.path(f"{folder}/{soname}")
                self.follow(found)
                return True
        return False

    def follow(self, path: str) -> None:
        """Keep what this file of the image is linked with."""
        real = self._keep.root.real(path)
        if real is None or real in self._seen:
            return
        self._seen.add(real)
        self.satisfy(self._keep.root.at(real).read_bytes(), real.rpartition("/")[0])

    def satisfy(self, raw: bytes, origin: str = "") -> None:
        """Keep what this is linked with, as far as the image has it."""
        elf = _elf(raw)
        if elf is None:
            return
        beside = [path.replace("$ORIGIN", origin).replace("${ORIGIN}", origin) for path in elf.paths] if origin else []
        for soname in elf.needed:
            self.want(soname, beside)

    def _fits(self, path: str) -> bool:
        elf = _elf(self._keep.root.at(path).read_bytes())
        return elf is not None and elf.machine == self._machine


def _configured(root: _Root) -> Iterator[str]:
    """Folders that the loader is told to look into."""
    texts = [root.read("etc/ld.so.conf")]
    if root.is_folder("etc/ld.so.conf.d"):
        texts += [root.read(path) for path in root.below("etc/ld.so.conf.d")]
    for line in "\n".join(texts).splitlines():
        if line.startswith("/"):
            yield line.strip().strip("/")


def _images(extra: Iterable[Path | bytes]) -> Iterator[bytes]:
    for each in extra:
        if isinstance(each, bytes):
            yield each
        elif each.is_dir():
            yield from (path.read_bytes() for path in sorted(each.rglob("*.so*")) if path.is_file())
        else:
            yield each.read_bytes()


@dataclass(frozen=True)
class _Elf:
    machine: int
    loader: str
    needed: tuple[str, ...]
    paths: tuple[str, ...]


def _elf(raw: bytes) -> _Elf | None:
    """What a program or library is linked with; None when it is damaged, or none of a little-endian 64-bit machine."""
    if raw[:6] != b"\x7fELF\x02\x01":
        return None
    try:
        return _read_elf(raw)
    except (struct.error, ValueError):
        return None


def _read_elf(raw: bytes) -> _Elf:
    machine, start = struct.unpack_from("<H", raw, 18)[0], struct.unpack_from("<Q", raw, 32)[0]
    size, count = struct.unpack_from("<HH", raw, 54)
    loads, loader, dynamic = [], "", []
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", raw, start + index * size)
        if kind == 1:
            loads.append((address, offset, length))
        elif kind == 2:
            dynamic = list(struct.iter_unpack("<qQ", raw[offset : offset + length // 16 * 16]))
        elif kind == 3:
            loader = raw[offset : offset + length].rstrip(b"\0").decode().lstrip("/")
    strings = next((value for tag, value in dynamic if tag == 5), 0)
    table = next((offset + strings - address for address, offset, n in loads if address <= strings < address + n), 0)

    def text(value: int) -> str:
        return raw[table + value : raw.index(b"\0", table + value)].decode()

    needed = tuple(text(value) for tag, value in dynamic if tag == 1)
    paths = tuple(each.strip("/") for tag, value in dynamic if tag in {15, 29} for each in text(value).split(":"))
    return _Elf(machine, loader, needed, paths)


def _with_line(text: str, line: str) -> bytes:
    """The table with this line of the server's user; one with the same number gives way."""
    rest = [each for each in text.splitlines(keepends=True) if each.split(":")[2:3] != [str(USER)]]
    return ("".join(rest) + line).encode()


def _field(stanza: str, name: str) -> str:
    found = re.search(rf"(?m)^{name}: (.*)$", stanza)
    return found[1].strip() if found else ""


def main(words: list[str] | None = None) -> None:
    """The same as a program, see above; without ROOT and OUT only the packages are made lighter."""
    parser = argparse.ArgumentParser(description="Copy what a Python server needs of a base image.")
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--library", type=Path, help="folder of packages, made lighter where it is")
    parser.add_argument("--soname", action="append", default=[], help="a C library that is kept too")
    asked = parser.parse_args(words)
    if asked.library:
        _lighten(asked.library)
    if asked.out:
        try:
            _carry(asked.root, asked.out, [asked.library] if asked.library else [], asked.soname)
        except Unfit as exc:
            sys.exit(f"slim.py: this base image cannot be used: {exc}")
    if asked.library:
        _compile(asked.library, Path("/"))
        _settle(asked.library)


def _carry(root: Path, out: Path, extra: list[Path], sonames: list[str]) -> None:
    kept, python = needed(root, extra, sonames), interpreter(root)
    out.mkdir(parents=True, exist_ok=True)
    for path in kept:
        _copy(root / path, out / path)
    for path, raw in additions(root, kept).items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(raw)
    if python.version == sys.version_info[:2]:
        _compile(out / python.library, out)
    _settle(out)


def _settle(top: Path) -> None:
    for path in (*top.rglob("*"), top):
        os.utime(path, (0, 0), follow_symlinks=False)


def _copy(source: Path, target: Path) -> None:
    """One entry, with its mode; its folder is there."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        target.chmod(source.stat().st_mode & 0o7777)
    else:
        shutil.copyfile(source, target)
        target.chmod(source.stat().st_mode & 0o755)


def _lighten(library: Path) -> None:
    for path in sorted(library.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif superfluous(path.relative_to(library).as_posix()):
            path.unlink()


def _compile(folder: Path, root: Path) -> None:
    """Compile once, for good: no start of a server looks at a time stamp or writes."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, stripdir=str(root), prependdir="/", invalidation_mode=mode, workers=1)


if __name__ == "__main__":
    main()
