"""Locks of images: they are consistent with the project's own, and read for the image's Python and machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.ship.image import locks

ROOT = Path(__file__).parents[4]
LOCKS = [locks.SERVING, *locks.EXTRAS.values()]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize("file", LOCKS)
def test_it_fits_the_lock_of_the_project(file: str) -> None:
    """The same versions, and no file that the project's lock does not know."""
    project = {str(pin): pin for pin, _ in locks.read((ROOT / "requirements.lock").read_text())}
    read = locks.read((ROOT / "src/modelyard/ship/image" / file).read_text())
    assert read
    for pin, _ in read:
        assert pin.hashes, pin
        assert pin.hashes <= project[str(pin)].hashes, pin


@pytest.mark.parametrize(
    ("group", "file"), [("serving", locks.SERVING), *((f"serving-{e}", f) for e, f in locks.EXTRAS.items())]
)
def test_it_has_what_the_group_asks_for(group: str, file: str) -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    found = {pin.name for pin, _ in locks.read((ROOT / "src/modelyard/ship/image" / file).read_text())}
    assert {_name(each) for each in groups[group]} <= found


@pytest.mark.parametrize("extra", sorted(locks.EXTRAS))
def test_an_extra_of_an_image_has_all_of_the_projects_extra(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {pin.name for pin in locks.pins(extras=[extra])}
    assert {_name(each) for each in project["optional-dependencies"][extra]} <= found


def test_nothing_of_the_control_plane_is_in_a_server() -> None:
    found = {pin.name for pin in locks.pins()}
    assert not found & {"sqlalchemy", "alembic", "fastapi", "uvicorn", "starlette", "rich", "psutil", "pandas", "pip"}


def test_markers_are_those_of_the_image() -> None:
    old, new = ({pin.name: pin.version for pin in locks.pins(python)} for python in ("3.11", "3.12"))
    assert old["numpy"] != new["numpy"]
    assert "pysimdjson" in new
    assert "pysimdjson" not in {pin.name for pin in locks.pins("3.14")}
    assert {pin.name for pin in locks.pins(platform="linux/arm64")} == set(old)


@pytest.mark.parametrize("python", ["3.10", "2.7", "4.0", "3", "3.x", "", "3.11; rm"])
def test_other_pythons_are_refused(python: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot run Modelyard"):
        locks.pins(python)


def test_other_platforms_and_extras_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no images for the platform 'linux/386'") as caught:
        locks.pins(platform="linux/386")
    assert "linux/arm64" in caught.value.cause
    with pytest.raises(InvalidRequest, match="no part of an image is called 'gpu'"):
        locks.pins(extras=["gpu"])
