"""A folder that ``docker build`` makes the image of, somewhere else and with no network."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.imagename import parse_image
from modelyard.core.manifest import MANIFEST, SIGNATURE
from modelyard.core.reference import check_name
from modelyard.model.bundle import open_bundle
from modelyard.ship.deployment import Told
from modelyard.ship.image import contextguide, dockerfile, ownwheel, slim, wheels
from modelyard.ship.image.images import refused
from modelyard.ship.image.labels import labels_of, version_of
from modelyard.ship.image.locks import pins, this_platform
from modelyard.ship.image.sbom import Contents, bill
from modelyard.ship.packages import Packed, Recipe
from modelyard.ship.shipment import Shipment

_MB = 1_000_000
_EPOCH = 946_684_800  # 2000-01-01; what is added is less than nine years
_DEFAULT_PYTHON = "3.11"
_OURS = frozenset(
    {"Dockerfile", ".dockerignore", "README.md", "requirements.txt", "slim.py", "plan.json", "sbom.json"}
    | {"wheelhouse", "models"}
)


def pack(shipment: Shipment, recipe: Recipe, told: Told) -> Packed:
    """Write the folder; whole, or what was there stays. A folder of somebody else is left alone.

    Raises
    ------
    InvalidName, InvalidRequest
        A name, label or base has something in it that cannot be in a Dockerfile.
    Conflict
        There is something else where it would be written.
    BuildFailed, Unavailable, StoreFull
        The packages cannot be had, or the folder cannot be written.
    """
    if recipe.output is None:
        raise InvalidRequest(what="it is not said where the context is written", hint="-o PATH")
    output = recipe.output.absolute()
    recipe = replace(recipe, base=recipe.base.removeprefix("docker:"))  # an engine's own image: it builds, too
    platform, python = recipe.platform or this_platform(), python_of(recipe.base)
    rendered = _texts(shipment, recipe, platform, python)
    _check_place(output)
    told(f"packages for Python {python} on {platform}")
    found = wheels.fetch(recipe.cache, recipe.wheels, python, platform, shipment.extras)
    told(f"write {output.name}")
    with _aside(output) as folder:
        _write(folder, shipment, recipe, found, rendered)
        digest, size = _digest(folder)
        _settle(folder)
    return Packed(
        path=recipe.output,
        tag=_tag(shipment, recipe),
        digest=digest,
        size_bytes=size,
        facts={
            "Plan": f"{recipe.base}, {len(found) + 1} packages pinned with hashes, user {slim.USER}, health check",
            "Context": f"{recipe.output}/ (Dockerfile, wheelhouse, {_counted(shipment)}, SBOM), "
            f"{size / _MB:.0f} MB, reproducible: {digest[:19]}…",
        },
    )


def _counted(shipment: Shipment) -> str:
    """How many models there are, in words."""
    count = len(shipment.models)
    return "1 model" if count == 1 else f"{count or 'no'} models"


def python_of(base: str) -> str:
    """The Python that a base's name says it has; nothing is looked up, and the build says when it is another."""
    named = parse_image(base) if not base.startswith(("oci:", "archive:")) else None
    words = f"{named.repository}:{named.tag}" if named else ""
    found = re.search(r"(?:^|[^0-9.])3\.?(1[1-9]|[2-9][0-9])(?![0-9])", words)
    return f"3.{found[1]}" if found else _DEFAULT_PYTHON


def _texts(shipment: Shipment, recipe: Recipe, platform: str, python: str) -> dict[str, str]:
    """The files that have values of a user in them. All of those are checked before anything is fetched."""
    check_name(shipment.name, "an image")
    names = [check_name(model.name) for model in shipment.models]
    tag = _tag(shipment, recipe)
    wanted = dockerfile.Wanted(
        base=recipe.base,
        python=python,
        labels=labels_of(shipment, recipe.labels, base=recipe.base),
        models=bool(names),
        extras=shipment.extras,
        whole_base=recipe.whole_base,
    )
    guide = contextguide.Guide(
        tag=tag,
        label=shipment.label,
        models=names,
        base=recipe.base,
        python=python,
        platform=platform,
        packages=len(pins(python, platform, shipment.extras)) + 1,
    )
    return {
        "Dockerfile": dockerfile.render(wanted),
        ".dockerignore": contextguide.IGNORE,
        "README.md": contextguide.readme(guide),
    }


def _tag(shipment: Shipment, recipe: Recipe) -> str:
    tag = recipe.tag or f"{shipment.name}:{version_of(shipment)}"
    parse_image(tag)
    return tag


def _write(folder: Path, shipment: Shipment, recipe: Recipe, found: Sequence[Path], texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text)
    house = folder / "wheelhouse"
    house.mkdir()
    for wheel in found:
        shutil.copyfile(wheel, house / wheel.name)
    own = ownwheel.build(house, shipment.extras)
    packages = [*found, own]
    (folder / "requirements.txt").write_text(_requirements(packages))
    shutil.copyfile(slim.__file__, folder / "slim.py")
    (folder / "plan.json").write_bytes(shipment.plan.to_bytes())
    version = parse_image(_tag(shipment, recipe)).tag
    contents = Contents(shipment=shipment, version=version, wheels=tuple(packages), base=recipe.base)
    (folder / "sbom.json").write_bytes(bill(contents))
    for digest, source in sorted(shipment.bundles.items()):
        bundle = open_bundle(source, digest=digest)
        target = folder / "models" / digest
        target.mkdir(parents=True)
        for name in [MANIFEST, *bundle.files, *([SIGNATURE] if bundle.signature is not None else [])]:
            shutil.copyfile(source / name, target / name)


def _requirements(packages: Iterable[Path]) -> str:
    """The files of the wheelhouse, as pip wants them named where it is to check each one's hash."""
    lines = []
    for path in packages:
        name, version, *_ = path.name.split("-")
        lines.append(f"{name.lower().replace('_', '-')}=={version} --hash=sha256:{wheels.digest_of(path)}\n")
    return "".join(sorted(lines))


def _check_place(output: Path) -> None:
    """Only an empty folder or one of ours, with nothing of anybody else in it, gives way."""
    if not output.exists() and not output.is_symlink():
        return
    hint = "name another folder: -o PATH"
    if output.is_symlink() or not output.is_dir():
        raise Conflict(what=f"{output.name!r} is no folder", hint=hint)
    names = {path.name for path in output.iterdir()}
    if not names:
        return
    file = output / "Dockerfile"
    marked = file.is_file() and file.read_text(errors="replace").startswith(dockerfile.MARK)
    if strangers := sorted(names - _OURS) if marked else sorted(names):
        what = f"{output.name!r} has files that no build wrote: {', '.join(strangers[:5])}"
        raise Conflict(what=what, hint=hint)


@contextmanager
def _aside(output: Path) -> Iterator[Path]:
    """A new folder that takes the output's place when the block ends well."""
    try:
        with TemporaryDirectory(dir=output.parent, prefix=f".{output.name[:100]}.") as name:
            folder = Path(name) / "new"
            folder.mkdir()
            yield folder
            _check_place(output)
            if output.exists():
                output.rename(Path(name) / "old")
            folder.rename(output)
    except OSError as exc:
        raise refused(exc, output) from exc


def _digest(folder: Path) -> tuple[str, int]:
    """One digest of all files, by their paths; and how large they are together."""
    whole, size = hashlib.sha256(), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(folder).as_posix()} {wheels.digest_of(path)}\n".encode())
        size += path.stat().st_size
    return f"sha256:{whole.hexdigest()}", size


def _settle(folder: Path) -> None:
    """The same rights and times for everybody who writes it, since they become those of the image's files.

    A file's time is made of its bytes: BuildKit takes a file of the same name, size and time for the one that it had.
    """
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o755 if path.is_dir() else 0o644)
        time = 0 if path.is_dir() else _EPOCH + int(wheels.digest_of(path)[:7], 16)
        os.utime(path, (time, time))
