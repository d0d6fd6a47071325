"""Contexts: whole or not there, the same every time, and no folder of anybody else's is touched."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.core.errors import BuildFailed, Conflict, CorruptBundle, InvalidName, InvalidRequest, Unavailable
from modelyard.core.plan import Plan
from modelyard.core.release import Shipped
from modelyard.ship.image import slim
from modelyard.ship.image.dockerfile import MARK
from modelyard.ship.packages import Packed, Recipe, pack
from modelyard.ship.packages.context import python_of
from modelyard.ship.shipment import Shipment
from tests.containers import CACHE
from tests.models import linear_bundle

NAMES = {".dockerignore", "Dockerfile", "README.md", "models", "plan.json", "requirements.txt", "sbom.json", "slim.py"}


@pytest.fixture
def shipment(tmp_path: Path) -> Shipment:
    bundle = linear_bundle()
    folder = tmp_path / "bundles" / bundle.digest
    folder.mkdir(parents=True)
    bundle.write(folder)
    return Shipment("shop", (Shipped(name="linear", version=7, digest=bundle.digest),), {bundle.digest: folder}, PLAN)


PLAN = Plan(models=())
_pack = pack("context")


def made(shipment: Shipment, output: Path, **recipe: object) -> Packed:
    return _pack(shipment, replace(Recipe(cache=CACHE, output=output), **recipe), lambda _: None)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_is_in_it(shipment: Shipment, tmp_path: Path) -> None:
    packed = made(shipment, tmp_path / "out")
    got = files(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == NAMES | {"wheelhouse"}
    assert packed.size_bytes == sum(map(len, got.values()))
    assert (packed.path, packed.tag) == (tmp_path / "out", "shop:7")
    bundle = linear_bundle()
    assert {name.rpartition("/")[2] for name in got if name.startswith(f"models/{bundle.digest}/")} == {
        *("manifest.json", *bundle.files)
    }
    locked = dict(line.split(" --hash=sha256:") for line in got["requirements.txt"].decode().splitlines())
    house = {name: raw for name, raw in got.items() if name.startswith("wheelhouse/")}
    assert set(locked.values()) == {hashlib.sha256(raw).hexdigest() for raw in house.values()}
    assert got["slim.py"] == Path(slim.__file__).read_bytes()
    assert Plan.from_bytes(got["plan.json"]) == PLAN
    assert "model:linear@7" in {part["bom-ref"] for part in json.loads(got["sbom.json"])["components"]}
    assert "19 packages pinned with hashes" in packed.facts["Plan"]


def test_it_is_the_same_every_time(shipment: Shipment, tmp_path: Path) -> None:
    first = made(shipment, tmp_path / "a")
    umask = os.umask(0o077)
    try:
        second = made(shipment, tmp_path / "b")
    finally:
        os.umask(umask)
    assert first.digest == second.digest
    assert files(tmp_path / "a") == files(tmp_path / "b")
    modes = [{path.stat().st_mode for path in (tmp_path / each).rglob("*")} for each in "ab"]
    assert modes[0] == modes[1] == {0o100644, 0o040755}
    times = [
        {path.name: path.stat().st_mtime for path in (tmp_path / each).rglob("*") if path.is_file()} for each in "ab"
    ]
    assert times[0] == times[1]
    assert len(set(times[0].values())) == len(times[0])  # BuildKit tells files apart by name, size and time
    assert made(shipment, tmp_path / "c", labels={"a": "b"}).digest != first.digest
    assert made(shipment, tmp_path / "d", base="docker:python:3.11-slim").digest == first.digest


def test_its_own_wheelhouse_makes_it_again_offline(shipment: Shipment, tmp_path: Path) -> None:
    first = made(shipment, tmp_path / "a")
    second = made(shipment, tmp_path / "b", cache=tmp_path / "no-cache", wheels=tmp_path / "a" / "wheelhouse")
    assert second.digest == first.digest
    assert not (tmp_path / "no-cache").exists()


def test_pip_installs_it_with_hashes_and_no_index(shipment: Shipment, tmp_path: Path) -> None:
    """What the Dockerfile does, here; and every package is consistent with the others."""
    made(shipment, tmp_path / "out")
    words = ["--no-index", "--find-links", "wheelhouse", "--require-hashes", "--no-deps", "--no-compile"]
    words += ["--target", str(tmp_path / "lib"), "--requirement", "requirements.txt"]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    environ = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    subprocess.run([*pip, *words], cwd=tmp_path / "out", env=environ, check=True, timeout=120)
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "check"],
        env={"PYTHONPATH": str(tmp_path / "lib"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    ours = {path.name.split("-")[0].lower() for path in (tmp_path / "lib").glob("*.dist-info")}
    assert not [line for line in checked.stdout.splitlines() if line.split()[0].replace("-", "_") in ours]


def test_a_folder_of_ours_is_replaced_whole(shipment: Shipment, tmp_path: Path) -> None:
    first = made(shipment, tmp_path / "out", labels={"a": "b"})
    (tmp_path / "out" / "wheelhouse" / "old.whl").write_text("of an earlier version")
    second = made(shipment, tmp_path / "out")
    assert second.digest != first.digest
    assert "wheelhouse/old.whl" not in files(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "found",
    [
        {"notes.txt": "mine"},
        {"Dockerfile": "FROM scratch\n"},
        {"Dockerfile": f"{MARK}\n", "deploy.sh": "mine"},
        {".git/HEAD": "ref"},
    ],
)
def test_a_folder_of_somebody_else_is_left_alone(shipment: Shipment, tmp_path: Path, found: dict[str, str]) -> None:
    for name, text in found.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    with pytest.raises(Conflict, match="'out' has files that no build wrote") as caught:
        made(shipment, tmp_path / "out")
    assert "-o PATH" in caught.value.hint
    assert {name: raw.decode() for name, raw in files(tmp_path / "out").items()} == found


def test_a_file_or_link_is_not_replaced(shipment: Shipment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("file", "link"):
        with pytest.raises(Conflict, match=f"'{name}' is no folder"):
            made(shipment, tmp_path / name)
    (tmp_path / "empty").mkdir()
    made(shipment, tmp_path / "empty")


def test_what_fails_leaves_nothing(shipment: Shipment, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BuildFailed, match="has no wheel"):
        made(shipment, tmp_path / "out", wheels=tmp_path / "bundles")
    model = next(iter(shipment.bundles.values())) / "model.onnx"
    raw = model.read_bytes()
    model.write_bytes(raw + b"x")
    with pytest.raises(CorruptBundle):
        made(shipment, tmp_path / "out")
    model.write_bytes(raw)
    made(shipment, tmp_path / "out")
    model.write_bytes(raw + b"x")
    whole = files(tmp_path / "out")
    with pytest.raises(CorruptBundle):
        made(shipment, tmp_path / "out")
    assert files(tmp_path / "out") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "out"])
    with pytest.raises(Unavailable, match="cannot write 'out'"):
        made(shipment, tmp_path / "nowhere" / "out")


@pytest.mark.parametrize(
    ("change", "recipe", "error"),
    [
        ({"name": "shop\nRUN x"}, {}, InvalidName),
        ({"name": "Shop"}, {}, InvalidName),
        ({"models": (Shipped(name="a\nb", version=1, digest="0" * 64),)}, {}, InvalidName),
        ({}, {"tag": "shop:7\nRUN x"}, InvalidRequest),
        ({}, {"tag": 'shop:7" x'}, InvalidRequest),
        ({}, {"base": "python:3.11\nRUN x"}, InvalidRequest),
        ({}, {"base": "oci:/srv"}, InvalidRequest),
        ({}, {"labels": {"a": "b\nRUN x"}}, InvalidRequest),
        ({}, {"labels": {"a b": "c"}}, InvalidRequest),
        ({}, {"platform": "linux/riscv64"}, InvalidRequest),
        ({"extras": ("gpu",)}, {}, InvalidRequest),
    ],
)
def test_what_cannot_be_in_a_dockerfile_is_refused_before_anything_is_made(
    shipment: Shipment, tmp_path: Path, change: dict[str, object], recipe: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        made(replace(shipment, **change), tmp_path / "out", cache=tmp_path / "cache", **recipe)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("base", "python"),
    [
        ("python:3.11-slim", "3.11"),
        ("python:3.12", "3.12"),
        ("python:3.13.1-slim-bookworm", "3.13"),
        ("registry.example:5000/base/python-312@sha256:" + "0" * 64, "3.12"),
        ("registry.example/ubi9/python-311:1.2", "3.11"),
        ("python:latest", "3.11"),
        ("debian:13.3", "3.11"),
    ],
)
def test_the_python_is_the_one_that_the_base_is_named_by(base: str, python: str) -> None:
    assert python_of(base) == python
