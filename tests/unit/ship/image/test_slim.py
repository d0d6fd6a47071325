"""What a server needs of a base image: roots made here of real files of this machine, and the base that CI has."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.ship.image import slim
from tests.containers import STATE, base_layout

ELF_AMD64, ELF_ARM64 = 62, 183


def elf(machine: int = ELF_AMD64, loader: str = "", needed: tuple[str, ...] = (), runpath: str = "") -> bytes:
    """A program or library that is linked with these: as much of one as a loader reads before it maps it."""
    texts = b"\0"
    at = {}
    for text in (*needed, runpath):
        at[text] = len(texts)
        texts += text.encode() + b"\0"
    interp = loader.encode() + b"\0"
    heads, base = 64, 64 + 56 * 3
    dynamic = [(1, at[each]) for each in needed] + ([(29, at[runpath])] if runpath else [])
    place = base + len(interp)
    place += -place % 16
    strings = place + 16 * (len(dynamic) + 2)
    dynamic += [(5, 0x400000 + strings), (0, 0)]
    raw = bytearray(strings + len(texts))
    raw[:20] = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine)
    struct.pack_into("<QQ", raw, 24, 0, heads)
    struct.pack_into("<HHH", raw, 52, 64, 56, 3)
    segments = [(1, 0, len(raw)), (2, place, 16 * len(dynamic)), (3 if loader else 4, base, len(interp))]
    for index, (kind, offset, length) in enumerate(segments):
        struct.pack_into("<IIQQQQ", raw, heads + 56 * index, kind, 0, offset, 0x400000 + offset, 0, length)
    for index, (tag, value) in enumerate(dynamic):
        struct.pack_into("<qQ", raw, place + 16 * index, tag, value)
    raw[base : base + len(interp)] = interp
    raw[strings:] = texts
    return bytes(raw)


def put(root: Path, files: dict[str, bytes | str]) -> Path:
    """Files by path; text that begins with ``->`` is a link."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def official(root: Path, *, machine: int = ELF_AMD64, version: str = "3.12") -> Path:
    """Python as the official images have it: built into /usr/local, with a libpython; folders merged into /usr."""
    triplet = {ELF_AMD64: "x86_64-linux-gnu", ELF_ARM64: "aarch64-linux-gnu"}[machine]
    loader = {ELF_AMD64: "lib64/ld-linux-x86-64.so.2", ELF_ARM64: "lib/ld-linux-aarch64.so.1"}[machine]
    lib, libraries = f"usr/local/lib/python{version}", f"usr/lib/{triplet}"
    for merged in ("bin", "sbin", "lib", "lib64"):
        put(root, {f"usr/{merged}/.keep": "", merged: f"->usr/{merged}"})
    libc = elf(machine)
    return put(
        root,
        {
            f"usr/{loader}": elf(machine),
            "usr/local/bin/python": "->python3",
            "usr/local/bin/python3": f"->python{version}",
            f"usr/local/bin/python{version}": elf(
                machine, f"/{loader}", (f"libpython{version}.so.1.0", "libc.so.6"), "/usr/local/lib"
            ),
            f"usr/local/bin/pip{version}": "#!/usr/local/bin/python",
            f"usr/local/lib/libpython{version}.so.1.0": elf(machine, needed=("libm.so.6", "libc.so.6")),
            f"{lib}/os.py": "",
            f"{lib}/json/__init__.py": "",
            f"{lib}/json/__pycache__/__init__.cpython-312.pyc": b"",
            f"{lib}/test/test_os.py": "",
            f"{lib}/idlelib/idle.py": "",
            f"{lib}/ensurepip/_bundled/pip.whl": "",
            f"{lib}/site-packages/pip/__init__.py": "",
            f"{lib}/config-{version}-{triplet}/libpython{version}.a": "",
            f"{lib}/lib-dynload/_ssl.cpython-312-{triplet}.so": elf(machine, needed=("libssl.so.3", "libc.so.6")),
            f"{lib}/lib-dynload/_tkinter.cpython-312-{triplet}.so": elf(machine, needed=("libtk8.6.so",)),
            f"{lib}/lib-dynload/_testcapi.cpython-312-{triplet}.so": libc,
            f"{libraries}/libc.so.6": libc,
            f"{libraries}/libm.so.6": libc,
            f"{libraries}/libtk8.6.so": libc,
            f"{libraries}/libssl.so.3": elf(machine, needed=("libcrypto.so.3",), runpath="$ORIGIN/private"),
            f"{libraries}/private/libcrypto.so.3": "->libcrypto.so.3.0.1",
            f"{libraries}/private/libcrypto.so.3.0.1": libc,
            f"{libraries}/libnss_dns.so.2": libc,
            f"{libraries}/libseccomp.so.2": "->libseccomp.so.2.5",
            f"{libraries}/libseccomp.so.2.5": libc,
            f"{libraries}/libapt-pkg.so.6.0": libc,
            "usr/sbin/ldconfig": libc,
            "usr/bin/bash": elf(machine, f"/{loader}", ("libc.so.6",)),
            "usr/bin/apt": elf(machine, f"/{loader}", ("libapt-pkg.so.6.0",)),
            "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
            "etc/group": "root:x:0:\n",
            "etc/shadow": "root:*:1::::::\n",
            "etc/os-release": "->../usr/lib/os-release",
            "usr/lib/os-release": "ID=debian\n",
            "etc/nsswitch.conf": "hosts: files dns\n",
            "etc/ssl/certs/ca-certificates.crt": "certificates",
            "etc/ssl/certs/one.pem": "->/usr/share/ca-certificates/one.crt",
            "etc/ssl/private/key.pem": "secret",
            "usr/share/ca-certificates/one.crt": "one",
            "tmp/left-over": "",
            "var/lib/dpkg/status": "Package: libc6\nArchitecture: amd64\nVersion: 2.36-9\nConffiles:\n /etc/a 1\n\n"
            "Package: apt\nVersion: 2.6\n\nPackage: libssl3\nVersion: 3.0\n",
            "var/lib/dpkg/info/libc6:amd64.list": f"/.\n/lib\n/lib/{triplet}\n/lib/{triplet}/libc.so.6\n",
            "var/lib/dpkg/info/apt.list": "/.\n/usr\n/usr/bin\n/usr/bin/apt\n",
            "var/lib/dpkg/info/libssl3:amd64.list": f"/.\n/usr/lib/{triplet}/libssl.so.3\n",
            "usr/share/doc/libc6/copyright": "LGPL",
            "usr/share/doc/apt/copyright": "GPL",
        },
    )


@pytest.mark.parametrize(("machine", "triplet"), [(ELF_AMD64, "x86_64-linux-gnu"), (ELF_ARM64, "aarch64-linux-gnu")])
def test_of_an_official_image_python_and_what_it_is_linked_with_is_kept(
    tmp_path: Path, machine: int, triplet: str
) -> None:
    kept = slim.needed(official(tmp_path, machine=machine))
    assert kept == sorted(set(kept))
    there = set(kept)
    libraries = f"usr/lib/{triplet}"
    assert {
        *("bin", "lib", "usr", "usr/local/bin/python3", "usr/local/bin/python3.12", "usr/local/lib/python3.12/os.py"),
        *("usr/local/lib/libpython3.12.so.1.0", f"{libraries}/libm.so.6", f"{libraries}/libssl.so.3"),
        *(f"{libraries}/private/libcrypto.so.3", f"{libraries}/private/libcrypto.so.3.0.1", f"{libraries}/libc.so.6"),
        *("etc/os-release", "usr/lib/os-release", "etc/ssl/certs/one.pem", "usr/share/ca-certificates/one.crt"),
        *(f"{libraries}/libnss_dns.so.2", "usr/share/doc/libc6/copyright", "tmp"),
    } <= there
    gone = (
        "bash",
        "apt",
        "test_os",
        "idle.py",
        "pip",
        "_tkinter",
        "libtk",
        "_testcapi",
        "shadow",
        "private/key",
        ".pyc",
    )
    assert not [path for path in kept if any(word in path for word in gone)]
    assert not [path for path in kept if "libseccomp" in path or "ldconfig" in path or path.startswith("tmp/")]
    for path in kept:  # every entry has its folder, and every link leads to something that is kept
        assert "/" not in path or path.rpartition("/")[0] in there
    assert not [path for path in kept if (tmp_path / path).is_symlink() and not _led(tmp_path, path, there)]


def _led(root: Path, path: str, there: set[str]) -> bool:
    target = str((root / path).readlink())
    end = target.lstrip("/") if target.startswith("/") else os.path.normpath(f"{path}/../{target}")
    return end in there


def test_a_library_is_kept_because_a_package_wants_it(tmp_path: Path) -> None:
    root = official(tmp_path / "root")
    put(root, {"usr/lib/x86_64-linux-gnu/libgomp.so.1": elf(), "usr/lib/libgomp.so.1": elf(ELF_ARM64)})
    package = put(
        tmp_path / "lib", {"a/b.cpython-312.so": elf(needed=("libgomp.so.1", "libb-1a2b.so", "libcuda.so.1"))}
    )
    wanted = "usr/lib/x86_64-linux-gnu/libgomp.so.1"
    assert wanted not in slim.needed(root)
    for extra in (package, package / "a/b.cpython-312.so", (package / "a/b.cpython-312.so").read_bytes()):
        kept = slim.needed(root, [extra])
        assert wanted in kept
        assert "usr/lib/libgomp.so.1" not in kept  # for another machine
    kept = slim.needed(root, sonames=["libseccomp.so.2"])
    assert {"usr/lib/x86_64-linux-gnu/libseccomp.so.2.5", "usr/sbin/ldconfig"} <= set(kept)


def test_a_venv_over_debians_python_keeps_both(tmp_path: Path) -> None:
    root = official(tmp_path, version="3.11")
    shutil.rmtree(root / "usr/local")
    put(
        root,
        {
            "usr/bin/python3": "->python3.11",
            "usr/bin/python3.11": elf(ELF_AMD64, "/lib64/ld-linux-x86-64.so.2", ("libc.so.6",)),
            "usr/lib/python3.11/os.py": "",
            "usr/lib/python3.11/sitecustomize.py": "->/etc/python3.11/sitecustomize.py",
            "etc/python3.11/sitecustomize.py": "",
            "usr/lib/python3/dist-packages/apt/__init__.py": "",
            "usr/local/bin/python3": "->/usr/bin/python3",
            "usr/local/bin/python": "->python3",
            "usr/local/pyvenv.cfg": "home = /usr/bin\n",
            "usr/local/lib/python3.11/site-packages/pip/__init__.py": "",
        },
    )
    kept = set(slim.needed(root))
    assert {"usr/local/pyvenv.cfg", "usr/local/bin/python", "usr/bin/python3.11", "usr/lib/python3.11/os.py"} <= kept
    assert "etc/python3.11/sitecustomize.py" in kept
    assert not [path for path in kept if "packages" in path]
    assert slim.interpreter(root).version == (3, 11)


def test_what_is_written_beside(tmp_path: Path) -> None:
    root = official(tmp_path)
    put(root, {"usr/lib/x86_64-linux-gnu/other": ""})
    (root / "etc/group").write_text("root:x:0:\nstranger:x:10001:\n")
    written = slim.additions(root, slim.needed(root))
    assert written["etc/passwd"].startswith(b"root:x:0:0:")
    assert written["etc/passwd"].endswith(b"\nmodelyard:x:10001:10001:modelyard:/nonexistent:/usr/sbin/nologin\n")
    assert written["etc/group"] == b"root:x:0:\nmodelyard:x:10001:\n"
    packages = {name.rpartition("/")[2] for name in written if "status.d" in name}
    assert packages == {"libc6", "libssl3"}
    assert written["var/lib/dpkg/status.d/libc6"] == b"Package: libc6\nArchitecture: amd64\nVersion: 2.36-9\n"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"usr/local/bin/python3": None}, "no Python"),
        ({"usr/local/lib/python3.12/os.py": None}, "no Python"),
        ({"usr/local/bin/python3.12": elf(ELF_AMD64, "/lib/ld-musl-x86_64.so.1", ("libc.so",))}, "not made of glibc"),
        ({"usr/local/bin/python3.12": elf(40, "/lib/ld-linux-armhf.so.3", ("libc.so.6",))}, "another kind of machine"),
        ({"usr/local/bin/python3.12": b"#!/bin/sh"}, "another kind of machine"),
        ({"usr/lib/x86_64-linux-gnu/libc.so.6": None}, "not made of glibc"),
        ({"usr/local/bin/python3": "->/nowhere"}, "no Python"),
        ({"usr/local/bin/python3": "->python3"}, "no Python"),
    ],
)
def test_a_base_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, bytes | str | None], match: str) -> None:
    root = official(tmp_path)
    for path, content in change.items():
        (root / path).unlink()
        if content is not None:
            put(root, {path: content})
    with pytest.raises(slim.Unfit, match=match):
        slim.needed(root)


def test_an_old_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(slim.Unfit, match=r"its Python is 3\.9, and Modelyard needs 3\.11"):
        slim.needed(official(tmp_path, version="3.9"))


@pytest.mark.parametrize("cut", [0, 3, 63, 64, 100, 200, 230])
def test_a_library_that_is_cut_off_is_none(cut: int) -> None:
    whole = elf(needed=("libm.so.6",))
    found = slim._elf(whole[:cut])
    assert found is None or found.needed in {(), ("libm.so.6",)}


def test_links_that_lead_out_or_in_circles_lead_nowhere(tmp_path: Path) -> None:
    root = official(tmp_path / "root")
    (tmp_path / "secret").write_text("")
    (root / "etc/nsswitch.conf").unlink()
    (root / "etc/host.conf").unlink(missing_ok=True)
    put(
        root,
        {
            "etc/nsswitch.conf": "->../../../../../../secret",
            "etc/host.conf": "->gai.conf",
            "etc/gai.conf": "->host.conf",
        },
    )
    assert not {"etc/nsswitch.conf", "etc/host.conf", "etc/gai.conf"} & set(slim.needed(root))


def test_the_program_does_the_same_alone(tmp_path: Path) -> None:
    """As it runs inside of a Docker build: by a Python that knows nothing of Modelyard."""
    root = official(tmp_path / "root", version=sysconfig.get_python_version())
    library = put(
        tmp_path / "lib",
        {"a/__init__.py": "x = 1\n", "a/a.pyi": "", "a/tests/test_a.py": "", "bin/a": "", "b/tests/c": ""},
    )
    words = [sys.executable, "-I", "-S", slim.__file__, str(root), str(tmp_path / "out"), "--library", str(library)]
    subprocess.run(words, check=True, timeout=60)
    out = tmp_path / "out"
    lib = f"usr/local/lib/python{sysconfig.get_python_version()}"
    compiled = {path for path in _all(out) if "__pycache__" in path}
    assert f"{lib}/__pycache__/os.{sys.implementation.cache_tag}.pyc" in compiled
    written = set(slim.additions(root, slim.needed(root)))
    folders = {"var/lib", "var/lib/dpkg", "var/lib/dpkg/status.d"}
    assert _all(out) - compiled - written - folders == set(slim.needed(root)) - written
    assert (out / "lib").readlink() == Path("usr/lib")
    assert {path for path in _all(library) if "__pycache__" not in path} == {"a", "a/__init__.py"}
    pyc = next((library / "a/__pycache__").glob("*.pyc")).read_bytes()
    assert pyc[4:8] == b"\x01\0\0\0"  # hash-based, never checked
    assert {path.lstat().st_mtime for path in (*out.rglob("*"), *library.rglob("*"))} == {0.0}


def test_the_program_says_why_a_base_cannot_be_used(tmp_path: Path) -> None:
    words = [sys.executable, "-I", "-S", slim.__file__, str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        "slim.py: this base image cannot be used: it has no Python: neither /usr/local/bin/python3 nor"
        " /usr/bin/python3 is there with its library\n"
    )


def _all(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_nothing_of_modelyard_is_imported() -> None:
    assert "modelyard" not in "".join(line for line in Path(slim.__file__).read_text().splitlines() if "import" in line)


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("numpy/core.py", False),
        ("numpy/tests/test_a.py", True),
        ("a/test/data.bin", True),
        ("a/testing/b.py", False),
        ("a/latest/b.py", False),
        ("a/b.pyi", True),
        ("a-1.dist-info/RECORD", True),
        ("a-1.dist-info/METADATA", False),
        ("a-1.dist-info/licenses/LICENSE", False),
        ("a/RECORD", False),
        ("onnxruntime/capi/libonnxruntime.so.1.32.0", True),
        ("onnxruntime/capi/onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so", False),
        ("numpy/_core/_simd.cpython-311-x86_64-linux-gnu.so", True),
        ("numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so", False),
        ("bin/f2py", True),
        ("a/bin/b.py", False),
    ],
)
def test_what_of_the_packages_is_left_out(path: str, *, gone: bool) -> None:
    assert slim.superfluous(path) is gone


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real base image, unpacked."""
    base_layout()
    root = tmp_path_factory.mktemp("base")
    subprocess.run(
        ["tar", "-C", str(root), "--exclude=./dev/*", "-xf", str(STATE / "base.tar")], check=True, timeout=120
    )
    yield root
    shutil.rmtree(root, ignore_errors=True)


def test_of_the_real_base_a_third_is_left(base: Path, tmp_path: Path) -> None:
    kept = slim.needed(base, sonames=["libseccomp.so.2"])
    size = sum(
        (base / path).stat().st_size for path in kept if not (base / path).is_symlink() and (base / path).is_file()
    )
    assert size < 45_000_000
    assert {"libc6", "libssl3", "libstdc++6", "python3.11-minimal", "ca-certificates", "libseccomp2"} <= set(
        slim.owners(base, kept)
    )
    assert not {"bash", "dash", "apt", "dpkg", "coreutils"} & set(slim.owners(base, kept))


def test_of_the_real_base_every_module_can_be_imported(base: Path, tmp_path: Path) -> None:
    """By the interpreter that was kept, inside of nothing but what was kept."""
    if os.geteuid():
        pytest.skip("only root may change the root folder of a process; make test as root")
    slim.main([str(base), str(tmp_path / "out")])
    program = """if True:
        import importlib, os, pathlib, socket, ssl, sys
        for path in pathlib.Path(os.__file__).parent.joinpath("lib-dynload").glob("*.so"):
            importlib.import_module(path.name.partition(".")[0])
        assert ssl.create_default_context().get_ca_certs()
        import asyncio, ctypes, http.client, pwd, sqlite3, zoneinfo
        assert pwd.getpwuid(10001).pw_name == "modelyard"
        assert sys.prefix == "/usr/local", sys.prefix
        print(os.listdir("/usr/bin"))
    """
    words = ["chroot", str(tmp_path / "out"), "/usr/local/bin/python3", "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "sh'" not in done.stdout
