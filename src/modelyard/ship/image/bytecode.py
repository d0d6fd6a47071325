"""Modules compiled before they are in an image, which is read-only when they are first imported: a second saved.

The bytecode of a module is the same whoever compiles it, and where: it is done by a child whose only input are the
modules, in order, since how objects are shared in it depends on all that an interpreter did before. It names the
module's path in the image, and holds no time (`unchecked-hash`): nobody looks whether the source has changed. Another
build of the same Python may compile otherwise, so its name is part of every key (`COMPILER`).
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from modelyard.core.errors import BuildFailed

#: What the bytecode is made by; `VERSION` is the Python that can use it.
COMPILER = sys.version
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_TAG = sys.implementation.cache_tag
_LIMIT_S = 600.0
_SIZE = struct.Struct("<I")
_CHILD = Path(__file__).with_name("compiler.py")


def compiled(modules: Mapping[str, bytes]) -> dict[str, bytes]:
    """Bytecode of these modules, by the path of its file.

    Parameters
    ----------
    modules : mapping of str to bytes
        Source by path in the image: ``/opt/modelyard/lib/numpy/__init__.py``. What does not compile (templates, tests
        of a parser) is left out.
    """
    asked = b"".join(_framed(path.encode()) + _framed(source) for path, source in sorted(modules.items()))
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-W", "ignore", str(_CHILD)]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=_LIMIT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as exc:
        raise BuildFailed(what="the modules of the image cannot be compiled", cause=str(exc)[:200]) from exc
    found: dict[str, bytes] = {}
    at = 0
    for path in sorted(modules):
        (size,) = _SIZE.unpack_from(done.stdout, at)
        at += _SIZE.size + size
        if size:
            found[_cached(path)] = done.stdout[at - size : at]
    return found


def _cached(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{_TAG}.pyc"


def _framed(raw: bytes) -> bytes:
    return _SIZE.pack(len(raw)) + raw
