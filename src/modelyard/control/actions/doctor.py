"""Doctor: looks at one installation from the ground up, changes nothing, and says how to mend what is not well.

A group is a generator of findings; where one thing is broken, what stands on it is skipped rather than reported twice.
"""

from __future__ import annotations

import http.client
import os
import platform
import re
import shutil
import socket
import ssl
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import modelyard
from modelyard.control.actions.examine_keys import examine_keys
from modelyard.control.actions.examine_shipping import examine_shipping
from modelyard.control.actions.findings import Finding, State
from modelyard.control.actions.home import Home, open_home
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.plan import Plan
from modelyard.core.settings import Settings
from modelyard.model import golden, sandbox, worker
from modelyard.model.runtime import load

DEFAULT_PORT = 8080
_LOW_BYTES = 1 << 30
_FULL_BYTES = 64 << 20
_ASK_S = 1.0


def examine(settings: Settings, *, port: int = DEFAULT_PORT) -> Iterator[Finding]:
    """Every check, in the order in which things stand on each other; findings come as they are made.

    Parameters
    ----------
    settings : Settings
        Whose home to look at; it is not made when there is none.
    port : int
        Where a server would listen.

    Yields
    ------
    Finding
    """
    machine = f"{platform.system()} {platform.machine()}"
    text = f"modelyard {modelyard.__version__}, Python {platform.python_version()}, {machine}"
    yield Finding("Installation", State.OK, text)
    yield from _home(settings.home)
    home = None
    for finding, opened in _database(settings):
        home = opened
        yield finding
    yield from _sandbox()
    yield from _extras()
    yield from _models(home)
    yield from examine_keys(settings, home)
    yield from _serving(settings, port)
    yield from examine_shipping(home)


def _home(home: Path) -> Iterator[Finding]:
    group = "Installation"
    if not home.exists():
        near = next(parent for parent in home.parents if parent.exists())
        if os.access(near, os.W_OK | os.X_OK):
            yield Finding(group, State.OK, f"home {home} is not there yet: the first train or import makes it")
        else:
            yield Finding(group, State.FAIL, f"home {home} cannot be made", "export MODELYARD_HOME=FOLDER")
        home = near
    elif not home.is_dir() or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(group, State.FAIL, f"home {home} cannot be written", "export MODELYARD_HOME=FOLDER")
        return
    elif stat.S_IMODE(home.stat().st_mode) & 0o077:
        yield Finding(group, State.WARN, f"home {home} is open to other users", f"chmod 700 {home}")
    else:
        yield Finding(group, State.OK, f"home {home}")
    yield _disk(home)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    if free < _FULL_BYTES:
        return Finding("Installation", State.FAIL, f"the disk is full: {_size(free)} free", f"df -h {folder}")
    if free < _LOW_BYTES:
        return Finding("Installation", State.WARN, f"the disk is nearly full: {_size(free)} free", f"df -h {folder}")
    return Finding("Installation", State.OK, f"{_size(free)} free on its disk")


def _database(settings: Settings) -> Iterator[tuple[Finding, Home | None]]:
    """Opening it runs SQLite's own integrity check and compares the schema."""
    if not settings.database.exists():
        yield Finding("Installation", State.SKIP, "no database yet"), None
        return
    try:
        home = open_home(settings)
        models = home.catalogue.models()
    except ModelyardError as exc:
        yield _failed("Installation", exc), None
        return
    versions = sum(len(model.versions) for model in models)
    held = f"{_count(len(models), 'model')}, {_count(versions, 'version')}"
    text = f"database is whole: {held}, {_size(settings.database.stat().st_size)}"
    yield Finding("Installation", State.OK, text), home


def _sandbox() -> Iterator[Finding]:
    missing = sandbox.missing()
    if missing:
        text = f"this machine lacks {', '.join(missing)}: pickles and joblib files are refused unless --trust is given"
        yield Finding("Sandbox", State.WARN, text, "import such files on Linux 5.13 or newer")
    else:
        yield Finding("Sandbox", State.OK, f"Landlock (ABI {worker.landlock_abi()}) and seccomp: pickles open safely")


def _extras() -> Iterator[Finding]:
    alike: dict[tuple[str, ...], list[str]] = {}  # extras that need the same libraries share a line
    for extra, libraries in _required().items():
        alike.setdefault(tuple(libraries), []).append(extra)
    for names, extras in alike.items():
        absent = [name for name in names if not _installed(name)]
        label = ", ".join(sorted(extras))
        if absent:
            text = f"{label}: not installed ({', '.join(absent)})"
            yield Finding("Extras", State.SKIP, text, f'pip install "modelyard[{sorted(extras)[0]}]"')
        else:
            yield Finding("Extras", State.OK, f"{label}: {', '.join(f'{n} {metadata.version(n)}' for n in names)}")


def _required() -> dict[str, list[str]]:
    """Libraries of each extra on this platform, as the installed package itself says."""
    extras: dict[str, list[str]] = {}
    for line in metadata.requires("modelyard") or []:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        elsewhere = "sys_platform == 'linux'" in line.replace('"', "'") and platform.system() != "Linux"
        if name and extra and name[0] != "modelyard" and not elsewhere:
            extras.setdefault(extra[1], []).append(name[0])
    return extras


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _models(home: Home | None) -> Iterator[Finding]:
    if home is None:
        yield Finding("Models", State.SKIP, "none to check")
        return
    models = home.catalogue.models()
    for model in models:
        for version in model.versions:
            label = f"{version.name}@{version.version}"
            try:
                bundle = home.artifacts.read(version.digest)
                rows = golden.check(load(bundle), bundle.samples, label)
            except ModelyardError as exc:
                yield _failed("Models", exc)
            else:
                answered = f"answers its {_count(rows, 'golden row')}" if rows else "has no golden rows to answer"
                yield Finding("Models", State.OK, f"{label} is whole and {answered}, {_size(version.size_bytes)}")
    if not models:
        yield Finding("Models", State.SKIP, "none yet", "modelyard train data.csv --target COLUMN")


def _serving(settings: Settings, port: int) -> Iterator[Finding]:
    if _is_free(port):
        yield Finding("Serving", State.OK, f"port {port} is free")
    elif scheme := _spoken(port):
        yield Finding("Serving", State.OK, f"port {port}: a Modelyard server, {scheme}://127.0.0.1:{port}/docs")
    else:
        fix = f"modelyard serve --port {port + 1}"
        yield Finding("Serving", State.WARN, f"port {port} is taken by another program", fix)
    for path in sorted(settings.plans.glob("serve-*.json")):
        yield _plan(path)


def _plan(path: Path) -> Finding:
    """A plan is there as long as its server runs; one without a server was left by a server that was killed."""
    port = path.stem.removeprefix("serve-")
    try:
        models = Plan.from_bytes(path.read_bytes()).models
    except (InvalidRequest, OSError) as exc:
        return Finding("Serving", State.FAIL, f"plan {path.name} cannot be read: {exc}", f"rm {path}")
    names = ", ".join(f"{model.name}@{model.default}" for model in models)
    if port.isdigit() and _spoken(int(port)):
        return Finding("Serving", State.OK, f"plan {path.name} is served: {names}")
    if port.isdigit() and not _is_free(int(port)):  # a server that wants a certificate of whoever asks, for one
        text = f"plan {path.name} ({names}): what listens on port {port} does not say whether it serves it"
        return Finding("Serving", State.SKIP, text)
    return Finding("Serving", State.WARN, f"plan {path.name} ({names}) has no server: it was killed", f"rm {path}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _spoken(port: int) -> str:
    """``http`` or ``https`` where a Modelyard server listens, which tells strangers so much; else nothing."""
    unproven = ssl.create_default_context()
    unproven.check_hostname, unproven.verify_mode = False, ssl.CERT_NONE  # no secret is sent, and nothing believed
    links: dict[str, http.client.HTTPConnection] = {
        "http": http.client.HTTPConnection("127.0.0.1", port, timeout=_ASK_S),
        "https": http.client.HTTPSConnection("127.0.0.1", port, timeout=_ASK_S, context=unproven),
    }
    for scheme, link in links.items():
        try:
            link.request("GET", "/v2")
            if b'"modelyard"' in link.getresponse().read(4096):
                return scheme
        except (OSError, http.client.HTTPException):
            continue
        finally:
            link.close()
    return ""


def _failed(group: str, error: ModelyardError) -> Finding:
    because = f" ({error.cause})" if error.cause else ""
    return Finding(group, State.FAIL, f"{error.detail}{because}", error.hint)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
