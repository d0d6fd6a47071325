"""Which packages an image carries: the locks beside this file, read for one Python and one platform.

``make lock`` writes them from the groups of pyproject.toml. Every version has the hashes of its files, so it does not
matter where the files come from.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from modelyard.core.errors import InvalidRequest, MissingExtra

#: Part of Modelyard that an image may carry -> the lock of what it needs beside the server's own packages.
EXTRAS = {"convert": "serving-convert.lock", "clouds": "serving-clouds.lock"}
SERVING = "serving.lock"
#: Platform of an image -> what Python calls that machine.
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_OLDEST = (3, 11)
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One package, at one version.

    Parameters
    ----------
    name : str
        As the lock writes it: lower case, with hyphens.
    version : str
        The only one.
    hashes : frozenset of str
        SHA-256 of the files that are it, in hexadecimal.
    """

    name: str
    version: str
    hashes: frozenset[str]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def pins(python: str = "3.11", platform: str = "linux/amd64", extras: Iterable[str] = ()) -> list[Pin]:
    """What an image with this Python, on this platform, carries beside Modelyard; by name.

    Raises
    ------
    InvalidRequest
        There is no such platform or extra, or the Python is too old.
    """
    environment = _environment(python, platform)
    found: dict[str, Pin] = {}
    for file in (SERVING, *(_lock_of(extra) for extra in extras)):
        for pin, marker in read(files("modelyard.ship.image").joinpath(file).read_text()):
            if _holds(marker, environment):
                known = found.setdefault(pin.name, pin)
                assert known.version == pin.version, f"{known} and {pin}"
    return [found[name] for name in sorted(found)]


def read(text: str) -> list[tuple[Pin, str]]:
    """What stands in a lock: each package with its hashes, and the marker that says where it is needed."""
    result: list[tuple[Pin, str]] = []
    for block in re.split(r"\n(?=\S)", text.strip()):
        head, _, rest = block.partition("\n")
        found = _PIN.match(head)
        assert found, head
        name, version, marker = found.groups()
        result.append((Pin(name, version, frozenset(_HASH.findall(rest))), marker or ""))
    return result


def version_of(python: str) -> tuple[int, int]:
    """Major and minor of a Python version; `InvalidRequest` when it is none that Modelyard runs on."""
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,3})(?:\.\d{1,3})?", python)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST or int(found[1]) > _OLDEST[0]:
        raise InvalidRequest(
            what=f"an image with Python {python[:20]!r} cannot run Modelyard", cause="it needs Python 3.11 or newer"
        )
    return int(found[1]), int(found[2])


def machine_of(platform: str) -> str:
    """What Python calls the machine of this platform; `InvalidRequest` says which platforms there are."""
    if platform not in MACHINES:
        raise InvalidRequest(
            what=f"there are no images for the platform {platform[:40]!r}", cause=f"there are: {', '.join(MACHINES)}"
        )
    return MACHINES[platform]


def this_platform() -> str:
    """The platform of this machine's own images: ``linux/amd64``; `InvalidRequest` where none of ours would run."""
    machine = platform.machine().lower()
    for name, called in MACHINES.items():
        if machine in {called, name.partition("/")[2]}:
            return name
    hint = f"say for which platform: --platform {' or '.join(MACHINES)}"
    raise InvalidRequest(what=f"there are no images for this machine, which is {machine or 'unknown'}", hint=hint)


def _lock_of(extra: str) -> str:
    if extra not in EXTRAS:
        raise InvalidRequest(what=f"no part of an image is called {extra[:40]!r}", cause=f"there is: {sorted(EXTRAS)}")
    return EXTRAS[extra]


def _environment(python: str, platform: str) -> dict[str, str]:
    major, minor = version_of(python)
    return {
        "python_version": f"{major}.{minor}",
        "python_full_version": f"{major}.{minor}.0" if python.count(".") == 1 else python,
        "implementation_name": "cpython",
        "implementation_version": f"{major}.{minor}.0",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": machine_of(platform),
        "platform_release": "",
        "platform_version": "",
        "extra": "",
    }


def _holds(marker: str, environment: dict[str, str]) -> bool:
    if not marker:
        return True
    try:
        from packaging.markers import Marker  # noqa: PLC0415 - of the extra `ship`
    except ModuleNotFoundError as exc:
        raise MissingExtra(what="making an image", library="packaging", extra="ship") from exc
    return Marker(marker).evaluate(environment)
