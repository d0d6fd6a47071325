"""Packages of an image: fetched once, checked always, unpacked without what no server reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import takewhile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from modelyard.core.errors import BuildFailed, MissingExtra, StoreFull, Unavailable
from modelyard.core.plan import Plan, PlannedModel, PlannedVersion
from modelyard.ship.image import ownwheel, wheels
from modelyard.ship.image.locks import pins
from tests.containers import CACHE
from tests.models import linear_bundle

MIB = 1 << 20


@pytest.fixture(scope="module")
def found() -> list[Path]:
    return wheels.fetch(CACHE)


@pytest.fixture(scope="module")
def library(found: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and Modelyard as they lie in an image."""
    folder = tmp_path_factory.mktemp("library")
    for entry in wheels.unpack([*found, ownwheel.build(tmp_path_factory.mktemp("own"))]):
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.raw)
        path.chmod(entry.mode)
    return folder


def test_every_package_is_the_one_that_is_locked(found: list[Path]) -> None:
    wanted = pins()
    for pin, path in zip(wanted, found, strict=True):
        assert wheels.digest_of(path) in pin.hashes
        assert str(parse_wheel_filename(path.name)[0]) == pin.name


def test_a_folder_of_wheels_is_enough(found: list[Path], tmp_path: Path) -> None:
    """Nothing is fetched, and files that are not wanted do not matter."""
    house = tmp_path / "wheelhouse"
    house.mkdir()
    for path in found:
        (house / path.name).hardlink_to(path)
    (house / "notes.txt").write_text("ours")
    (house / "not-a-wheel.whl").write_text("neither")
    assert wheels.fetch(tmp_path / "cache", house) == [house / path.name for path in found]
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_lacks_some_says_which(found: list[Path], tmp_path: Path) -> None:
    (tmp_path / "wheelhouse").mkdir()
    for path in found:
        if not path.name.startswith(("numpy", "orjson")):
            (tmp_path / "wheelhouse" / path.name).hardlink_to(path)
    with pytest.raises(BuildFailed, match=r"'wheelhouse' has no wheel of .*numpy==") as caught:
        wheels.fetch(tmp_path / "cache", tmp_path / "wheelhouse")
    assert "orjson" in caught.value.detail
    assert "click" not in caught.value.detail
    assert "--format context" in caught.value.hint
    with pytest.raises(BuildFailed, match="cannot read the folder of wheels 'nowhere'"):
        wheels.fetch(tmp_path / "cache", tmp_path / "nowhere")


def test_a_file_that_was_changed_is_named(found: list[Path], tmp_path: Path) -> None:
    for path in found:
        shutil.copy(path, tmp_path / path.name)
    victim = next(path for path in tmp_path.iterdir() if path.name.startswith("click"))
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 1
    victim.write_bytes(raw)
    with pytest.raises(BuildFailed, match="no wheel of click==") as caught:
        wheels.fetch(tmp_path / "cache", tmp_path)
    assert victim.name in caught.value.cause


def test_wheels_for_another_machine_are_not_taken(found: list[Path]) -> None:
    with pytest.raises(BuildFailed, match="numpy") as caught:
        wheels.fetch(CACHE, found[0].parent, "3.13", "linux/arm64")
    assert "for Python 3.13 on linux/arm64" in caught.value.cause


def _hermit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip of this test has an index that nobody answers at, and nothing else; and an image has four packages."""
    few = [pin for pin in pins() if pin.name in {"click", "cffi", "msgspec", "numpy"}]
    monkeypatch.setattr(wheels, "pins", lambda *_: few)
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")


def _few(found: list[Path]) -> list[str]:
    return [path.name for path in found if path.name.startswith(("click", "cffi", "msgspec", "numpy"))]


def test_no_network_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hermit(monkeypatch)
    monkeypatch.setattr(wheels, "_RETRIES", "1")
    with pytest.raises(Unavailable, match="the package index cannot be reached") as caught:
        wheels.fetch(tmp_path)
    assert "--wheels" in caught.value.hint
    assert list((tmp_path / "wheels").iterdir()) == []


def test_pip_is_asked_for_the_images_python(found: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder that pip itself is told to look into, as with a private index."""
    _hermit(monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(found[0].parent))
    with ThreadPoolExecutor(2) as threads:
        both = [each.result() for each in [threads.submit(wheels.fetch, tmp_path) for _ in range(2)]]
    assert both[0] == both[1]
    assert [path.name for path in both[0]] == _few(found)
    assert {path.suffix for path in (tmp_path / "wheels").iterdir()} == {".whl"}  # nothing of either is left


def test_a_damaged_wheel_of_the_cache_is_fetched_again(
    found: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hermit(monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(found[0].parent))
    (tmp_path / "wheels").mkdir()
    for path in found:
        shutil.copy(path, tmp_path / "wheels")
    victim = next((tmp_path / "wheels").glob("click-*"))
    victim.write_bytes(victim.read_bytes()[:-100])
    assert [path.name for path in wheels.fetch(tmp_path)] == _few(found)
    assert wheels.digest_of(victim) in next(pin.hashes for pin in pins() if pin.name == "click")


@pytest.mark.parametrize(
    ("said", "error", "match"),
    [
        ("/usr/bin/python3: No module named pip", MissingExtra, "pip"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", StoreFull, "no space left"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", BuildFailed, "not the ones"),
        ("ERROR: No matching distribution found for numpy==2.4.6", BuildFailed, "pip cannot fetch"),
        ("WARNING: Retrying: NameResolutionError('x')\nERROR: No matching distribution", Unavailable, "index"),
    ],
)
def test_what_pip_says_is_translated(said: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        raise wheels._refusal(said, "Python 3.11 on linux/amd64")


def test_unpacked_they_are_small_and_whole(found: list[Path], library: Path) -> None:
    size = sum(path.stat().st_size for path in library.rglob("*") if path.is_file())
    assert size < 126 * MIB
    names = [path.relative_to(library).as_posix() for path in library.rglob("*")]
    assert not [name for name in names if name.endswith((".pyi", ".c", ".h", "RECORD")) or "/tests/" in name]
    scanned = {path.name.split("-")[0].lower() for path in library.glob("*.dist-info") if (path / "METADATA").is_file()}
    assert scanned == {path.name.split("-")[0].lower() for path in found} | {"modelyard"}
    assert len(list(library.glob("*.dist-info/**/*LICEN*"))) >= len(found) - 3


def test_unpacking_has_one_order(found: list[Path]) -> None:
    paths = [entry.path for entry in wheels.unpack(found[:6])]
    assert paths == [entry.path for entry in wheels.unpack(reversed(found[:6]))] == sorted(paths)


def test_data_of_a_wheel_is_laid_flat_and_its_programs_left_out(tmp_path: Path) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        tool = zipfile.ZipInfo("a-1.data/purelib/a/tool.py")
        tool.external_attr = 0o100755 << 16
        archive.writestr(tool, "")
        for name in ("a-1.data/platlib/a/b.so", "a-1.data/data/share/a.txt", "a/__init__.py", "a/tests/test_a.py"):
            archive.writestr(name, name)
        for name in ("a-1.data/scripts/a", "a-1.data/headers/a.h", "a-1.dist-info/METADATA", "a-1.dist-info/RECORD"):
            archive.writestr(name, name)
    got = {entry.path: entry.mode for entry in wheels.unpack([wheel])}
    assert got == {
        "a-1.dist-info/METADATA": 0o644,
        "a/__init__.py": 0o644,
        "a/b.so": 0o644,
        "a/tool.py": 0o755,
        "share/a.txt": 0o644,
    }


@pytest.mark.parametrize("name", ["../outside.py", "/etc/passwd", "a/../../b"])
def test_a_wheel_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a-1-py3-none-any.whl", "w") as archive:
        archive.writestr(name, "")
    with pytest.raises(BuildFailed, match="outside of itself"):
        list(wheels.unpack([tmp_path / "a-1-py3-none-any.whl"]))


def test_every_module_of_an_image_can_be_imported_with_its_packages_alone(library: Path) -> None:
    """In a Python that sees nothing else: no site-packages, no folder of the project."""
    program = """
        import importlib, pathlib, sys
        root = pathlib.Path(sys.argv[1])
        sys.path.append(str(root))
        for path in sorted((root / "modelyard").rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            if not name.endswith("__main__") and "migrations" not in name:
                importlib.import_module(name)
        strangers = {m for m, v in sys.modules.items() if "site-packages" in str(getattr(v, "__file__", ""))}
        assert not strangers, strangers
        print(len([m for m in sys.modules if m.startswith("modelyard")]))
    """
    words = [sys.executable, "-I", "-S", "-c", textwrap.dedent(program), str(library)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 200


def test_a_server_runs_of_them(library: Path, tmp_path: Path) -> None:
    """`modelyard serve --plan`, with the packages of an image and the interpreter's own library only."""
    bundle = linear_bundle()
    (tmp_path / "bundle").mkdir()
    bundle.write(tmp_path / "bundle")
    version = PlannedVersion(1, bundle.digest, str(tmp_path / "bundle"))
    plan = Plan(models=(PlannedModel("linear", 1, (version,)),))
    (tmp_path / "plan.json").write_bytes(plan.to_bytes())
    python = os.path.realpath(sys.executable)  # of no virtual environment: it sees nothing of this one
    environ = {"PYTHONPATH": str(library), "PYTHONNOUSERSITE": "1", "MODELYARD_HOME": str(tmp_path / "home")}
    words = ["-m", "modelyard", "serve", "--json", "--port", "0", "--plan", str(tmp_path / "plan.json")]
    with subprocess.Popen([python, *words], env=environ, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout is not None
            events = [json.loads(line) for line in takewhile(lambda line: '"ready"' not in line, server.stdout)]
            port = next(event["listening"][1] for event in events if "listening" in event)
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", "/predict", '{"feature": 3.0}', {"content-type": "application/json"})
            assert json.loads(connection.getresponse().read()) == {"prediction": [6.0]}
            connection.request("GET", "/docs")
            assert b"<html" in connection.getresponse().read()
            connection.close()
            assert any("grpc" in event or event.get("grpc_port") for event in events)
        finally:
            server.terminate()
            server.wait(30)
