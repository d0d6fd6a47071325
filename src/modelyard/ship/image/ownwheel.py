"""Modelyard's own wheel for an image: the modules that are needed there, the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import modelyard
from modelyard.ship.image.locks import EXTRAS, SERVING, read
from modelyard.ship.image.reach import sources
from modelyard.store.files import replace

_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(folder: Path, extras: Iterable[str] = ()) -> Path:
    """Put the wheel into `folder` and say where; stored, not compressed, so that no library decides on its bytes."""
    path = folder / f"modelyard-{modelyard.__version__}-py3-none-any.whl"
    raw = _zipped(_members(sorted(extras)))
    if not path.exists() or path.read_bytes() != raw:
        folder.mkdir(parents=True, exist_ok=True)
        replace(path, raw, mode=0o644)
    return path


def _members(extras: list[str]) -> dict[str, bytes]:
    info = f"modelyard-{modelyard.__version__}.dist-info"
    members = {f"modelyard/{name}": raw for name, raw in sources(extras).items()}
    members[f"{info}/METADATA"] = _metadata(extras).encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: modelyard\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if licence := _licence():
        members[f"{info}/licenses/LICENSE"] = licence
    record = f"{info}/RECORD"
    members[record] = _record(members, record).encode()
    return members


def _metadata(extras: list[str]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        "Name: modelyard",
        f"Version: {modelyard.__version__}",
        "Summary: The part of Modelyard that serves models.",
        "License-Expression: Apache-2.0",
        "License-File: LICENSE",
        "Requires-Python: >=3.11",
    ]
    needed: set[str] = set()
    for lock in (SERVING, *(EXTRAS[extra] for extra in extras)):
        for pin, marker in read(files("modelyard.ship.image").joinpath(lock).read_text()):
            needed.add(f"{pin}; {marker}" if marker else str(pin))
    return "\n".join([*lines, *(f"Requires-Dist: {each}" for each in sorted(needed)), ""])


def _licence() -> bytes:
    """The licence's text, from the installed package or, before it is one, from the folder above ``src``."""
    try:
        listed = metadata.distribution("modelyard").files or []
    except metadata.PackageNotFoundError:
        listed = []
    places = [Path(str(file.locate())) for file in listed if file.name == "LICENSE"]
    places.append(Path(modelyard.__file__).parents[2] / "LICENSE")
    return next((path.read_bytes() for path in places if path.is_file()), b"")


def _record(members: Mapping[str, bytes], record: str) -> str:
    lines = []
    for name, raw in sorted(members.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(raw)}\n")
    return "".join([*lines, f"{record},,\n"])


def _zipped(members: Mapping[str, bytes]) -> bytes:
    """Sorted, without times and owners; the metadata at the end, as the format recommends."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members, key=lambda each: (".dist-info/" in each, each)):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system, member.external_attr = 3, 0o100644 << 16
            archive.writestr(member, members[name])
    return buffer.getvalue()
