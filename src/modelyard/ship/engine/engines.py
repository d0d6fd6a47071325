"""Container engines: Docker or Podman, whichever answers here. What they say is translated by `refusals`.

Where the engine is (``DOCKER_HOST``, contexts) is the business of its client, which is a program of its own.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from modelyard.core.errors import ModelyardError, NoEngine, NotFound, Timeout, Unavailable
from modelyard.core.imagename import parse_image
from modelyard.ship.deployment import Told
from modelyard.ship.engine.containers import Container, Options
from modelyard.ship.engine.refusals import Failure, clean, refusal

#: Engine -> the call that it answers with its version and platform only when it can be used.
ENGINES: dict[str, tuple[str, ...]] = {
    "docker": ("version", "--format", "{{.Server.Version}} {{.Server.Os}}/{{.Server.Arch}}"),
    "podman": ("info", "--format", "{{.Version.Version}} {{.Host.OS}}/{{.Host.Arch}}"),
}

_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")
_CALL_S, _COPY_S, _BUILD_S = 60.0, 900.0, 3600.0
_KEPT_LINES = 400
_PROGRESS = re.compile(r"(?:#\d+ )?((?:\[[^\]]*\d+/\d+\]|Step \d+/\d+ :|STEP \d+/\d+:) .+)")
_PROGRESS_CHARACTERS = 100


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that an engine has.

    Parameters
    ----------
    id : str
        ``sha256:...`` of its config.
    tags : tuple of str
        Its names.
    size_bytes : int
        Unpacked.
    platform : str
        ``linux/amd64``.
    user : str
        Whom it runs as.
    labels : dict of str to str
        What it says of itself.
    """

    id: str
    tags: tuple[str, ...] = ()
    size_bytes: int
    platform: str
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Engine:
    """An engine that answered. Made by `find_engine`.

    Parameters
    ----------
    name : str
        ``docker`` or ``podman``.
    program : str
        Path of its client.
    version, platform : str
        Its own; ``linux/amd64``.
    """

    name: str
    program: str
    version: str
    platform: str

    def call(self, *words: str, doing: str, limit_s: float = _CALL_S, merged: bool = False) -> str:
        """What the client prints for these words.

        Parameters
        ----------
        *words : str
            Of its command line.
        doing : str
            What for, as an error says it: ``load an image``.
        limit_s : float
            Longest time.
        merged : bool
            Whether what it prints on standard error belongs to the answer.

        Raises
        ------
        ModelyardError
            See `refusals.refusal`; `Timeout`.
        """
        errors = subprocess.STDOUT if merged else subprocess.PIPE
        done = _run([self.program, *words], limit_s, f"{self.name}: {doing}", errors)
        if done.returncode:
            raise self._refusal(doing, f"{done.stdout}\n{done.stderr or ''}")
        return done.stdout

    def build(self, context: Path, tag: str, told: Told, flags: Sequence[str] = ()) -> str:
        """Make an image of a folder with a Dockerfile; its id.

        Parameters
        ----------
        context : Path
            The folder.
        tag : str
            Name of the image; empty for one that has only its id.
        told : callable
            Told each step of it.
        flags : sequence of str
            More words for ``build``.

        Raises
        ------
        ModelyardError
            As `call`; when a step fails, `BuildFailed` with the last lines.
        """
        with tempfile.TemporaryDirectory(prefix="modelyard-build-") as folder:
            ids = Path(folder) / "id"
            words = ["build", "--iidfile", str(ids), *flags]
            words += ["--tag", image_name(tag)] if tag else []
            words += ["--format", "docker"] if self.name == "podman" else []  # the OCI format has no health checks
            self._follow([*words, str(context)], f"build {tag or 'an image'}", told)
            return _full_id(ids.read_text(encoding="ascii").strip())

    def load(self, archive: Path) -> str:
        """Take in an archive of an image; its id."""
        said = self.call("load", "--input", str(archive), doing=f"load {archive.name}", limit_s=_COPY_S)
        named = [line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("Loaded image")]
        if not named:
            raise Unavailable(what=f"{self.name} does not say what it loaded from {archive.name!r}", cause=clean(said))
        return self.inspect(named[-1]).id

    def save(self, image: str, archive: Path) -> None:
        """Write the image to an archive."""
        self.call("save", "--output", str(archive), image_name(image), doing=f"save {image}", limit_s=_COPY_S)

    def inspect(self, image: str) -> Image:
        """What the engine knows of an image; `NotFound` when it has none of that name."""
        raw = self.call("image", "inspect", image_name(image), doing=f"look at {image}")
        said = json.loads(raw)[0]
        config = said.get("Config") or {}
        return Image(
            id=_full_id(said["Id"]),
            tags=tuple(said.get("RepoTags") or ()),
            size_bytes=said.get("Size", 0),
            platform=f"{said.get('Os', '')}/{said.get('Architecture', '')}",
            user=config.get("User", ""),
            labels=config.get("Labels") or {},
        )

    def tag(self, image: str, name: str) -> None:
        """Give the image one more name; one that had it has it no longer."""
        self.call("tag", image_name(image), image_name(name), doing=f"name an image {name}")

    def push(self, image: str) -> str:
        """Push the image to the registry of its name; ``REPOSITORY@sha256:...``, as it is there."""
        self.call("push", image_name(image), doing=f"push {image}", limit_s=_COPY_S)
        place = parse_image(image).place
        raw = self.call("image", "inspect", "--format", "{{json .RepoDigests}}", image, doing=f"look at {image}")
        digests = [each.digest for each in map(parse_image, json.loads(raw) or ()) if each.place == place]
        if not digests:
            raise Unavailable(what=f"{self.name} does not say which digest {image} has where it was pushed")
        return f"{place}@{digests[-1]}"

    def has(self, image: str) -> bool:
        """Whether there is an image of that name or id."""
        try:
            self.inspect(image)
        except NotFound:
            return False
        return True

    def run(self, image: str, args: Sequence[str] = (), options: Options | None = None) -> Container:
        """Start a container, locked in as `Options` says. The image is here already: nothing is fetched."""
        options = options or Options()
        options = options if options.name else replace(options, name=f"modelyard-{secrets.token_hex(6)}")
        words = ["run", "--detach", "--pull", "never", *options.flags(), image_name(image), *args]
        try:
            said = self.call(*words, doing=f"start {image}", limit_s=_COPY_S)
        except ModelyardError:
            self._forget(options.name)  # it was made, and could not be started
            raise
        return Container(said.strip().splitlines()[-1], self.call)

    def remove_image(self, image: str) -> None:
        """Remove a name, and with its last name the image; nothing happens when it is not there."""
        try:
            self.call("image", "rm", image_name(image), doing=f"remove {image}")
        except NotFound:
            return

    def _forget(self, name: str) -> None:
        with suppress(ModelyardError):
            self.call("rm", "-f", "-v", name, doing="remove a container")

    def _follow(self, words: Sequence[str], doing: str, told: Told) -> None:
        """A call that takes minutes: each of its steps is told, its last lines are kept."""
        lines: deque[str] = deque(maxlen=_KEPT_LINES)
        with subprocess.Popen(  # noqa: S603 - a list of words, no shell
            [self.program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            late = threading.Timer(_BUILD_S, process.kill)
            late.start()
            try:
                for line in process.stdout or ():
                    lines.append(line)
                    if step := _PROGRESS.fullmatch(clean(line).strip()):
                        told(step[1][:_PROGRESS_CHARACTERS])
            except BaseException:
                process.kill()
                raise
            finally:
                in_time = late.is_alive()
                late.cancel()
        if not in_time:
            raise Timeout(what=f"{self.name}: {doing}", limit_s=_BUILD_S)
        if process.returncode:
            raise self._refusal(doing, "".join(lines))

    def _refusal(self, doing: str, output: str) -> ModelyardError:
        return refusal(Failure(self.name, doing, output, self.platform))


def find_engine(name: str = "", *, doing: str = "this") -> Engine:
    """The engine of this name; without one, Docker, or else Podman.

    Parameters
    ----------
    name : str
        ``docker``, ``podman``, or empty for whichever answers.
    doing : str
        What needs it, as an error says it: ``--format image``.

    Raises
    ------
    NoEngine
        None answers: it says why, and what mends it.
    NotFound
        There is no engine of that name.
    """
    if name and name not in ENGINES:
        raise NotFound(what="container engine", name=name[:80], known=ENGINES)
    refused: list[ModelyardError] = []
    for each in [name] if name else ENGINES:
        program = shutil.which(each)
        if program is None:
            continue
        try:
            return _greet(each, program, doing)
        except ModelyardError as exc:
            refused.append(exc)
    if refused:  # of two that are installed, Docker is the one that was meant
        raise refused[0]
    missing = f"{name} is not installed" if name else "neither docker nor podman is installed"
    raise NoEngine(what=doing, cause=f"{missing}, or it is not on PATH")


def image_name(text: str) -> str:
    """The text when it is the name of an image, see `core.imagename`, or its id; else `InvalidRequest`."""
    if not _ID.fullmatch(text):
        parse_image(text)
    return text


def _greet(name: str, program: str, doing: str) -> Engine:
    engine = partial(Engine, name, program)
    try:
        said = engine("", "").call(*ENGINES[name], doing=doing).split()
    except (Timeout, NoEngine):
        raise
    except ModelyardError as exc:
        raise NoEngine(what=doing, cause=f"{name} is installed and does not answer: {exc.cause or exc}") from exc
    if len(said) != 2:
        raise NoEngine(what=doing, cause=f"{name} is installed and does not answer")
    return engine(*said)


def _run(words: Sequence[str], limit_s: float, what: str, errors: int) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - a list of words, no shell
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise Timeout(what=what, limit_s=f"{limit_s:g}") from exc
    except OSError as exc:
        raise NoEngine(what=what, cause=f"{Path(words[0]).name} cannot be run: {exc.strerror}") from exc


def _full_id(text: str) -> str:
    """``sha256:...``, which Podman leaves out."""
    return text if text.startswith("sha256:") else f"sha256:{text}"
