"""Modelyard's own wheel: proper, and the same bytes every time."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import modelyard
from modelyard.ship.image import ownwheel


@pytest.mark.parametrize("extras", [(), ("convert", "clouds")])
def test_it_is_the_same_every_time(tmp_path: Path, extras: tuple[str, ...]) -> None:
    first = ownwheel.build(tmp_path / "a", extras)
    umask = os.umask(0o077)
    try:
        second = ownwheel.build(tmp_path / "b", reversed(extras))
    finally:
        os.umask(umask)
    assert first.name == second.name == f"modelyard-{modelyard.__version__}-py3-none-any.whl"
    assert first.read_bytes() == second.read_bytes()
    stamp = first.stat().st_mtime_ns
    assert ownwheel.build(tmp_path / "a", extras).stat().st_mtime_ns == stamp  # not written again


def test_it_is_a_proper_wheel(tmp_path: Path) -> None:
    with zipfile.ZipFile(ownwheel.build(tmp_path)) as archive:
        names = archive.namelist()
        info = f"modelyard-{modelyard.__version__}.dist-info"
        record = list(csv.reader(io.StringIO(archive.read(f"{info}/RECORD").decode())))
        assert [row[0] for row in record[:-1]] == sorted(set(names) - {f"{info}/RECORD"})
        for name, digest, size in record[:-1]:
            raw = archive.read(name)
            assert digest == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")
            assert int(size) == len(raw)
        said = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
        assert "Apache License" in archive.read(f"{info}/licenses/LICENSE").decode()
    assert (said["Name"], said["Version"]) == ("modelyard", modelyard.__version__)
    needed = {Requirement(each).name for each in said.get_all("Requires-Dist")}
    assert {"numpy", "onnxruntime", "msgspec"} <= needed
    assert not needed & {"sqlalchemy", "fastapi"}
    assert not [name for name in names if "tests" in name or name.endswith(".pyc")]
