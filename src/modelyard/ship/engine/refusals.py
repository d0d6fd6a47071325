"""What container engines say when something does not work, in our words. `engines` calls it.

Docker, BuildKit and Podman word the same trouble differently and give the same exit code for all of it, so their
sentences are what there is to go by; tests keep recorded ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelyard.core.errors import BuildFailed, Conflict, ModelyardError, NoEngine, NotFound, RegistryRefused, StoreFull

_SHOWN_LINES, _SHOWN_CHARACTERS = 12, 300
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CHATTER = re.compile(r"#\d+ (?:DONE|CACHED|transferring|resolve|sha256:|\[internal\])|Run 'docker \w+ --help'")

_SPACE = re.compile(r"no space left on device|disk quota exceeded|not enough space", re.I)
_SOCKET = re.compile(r"permission denied while trying to connect|\.sock[^\n]{0,40}: permission denied", re.I)
_SILENT = re.compile(
    r"cannot connect to the docker daemon|is the docker daemon running|failed to connect to the docker api"
    r"|unable to connect to podman|error during connect",
    re.I,
)
_VERSIONS = re.compile(r"client version \S+ is too (?:new|old)[^\n]*", re.I)
_PORT = re.compile(r"port is already allocated|address already in use|bind for \S+ failed", re.I)
_FORMAT = re.compile(
    r"exec format error|no matching manifest for|no image found in .*for architecture|does not match the (?:specified|"
    r"detected host) platform",
    re.I,
)
_STEP = re.compile(
    r"returned a non-zero code|did not complete successfully|executor failed running|error while running runtime"
    r"|while running runtime: exit status",
    re.I,
)
_UNAUTHORIZED = re.compile(
    r"pull access denied|unauthorized|no basic auth credentials|authentication required|denied: requested access", re.I
)
_NO_IMAGE = re.compile(
    r"no such image|image not known|unable to find image|failed to find image|image does not exist locally", re.I
)
_ABSENT = re.compile(r"manifest unknown|manifest for \S+ not found|: not found|repository does not exist", re.I)
_UNREACHED = re.compile(
    r"no such host|dial tcp|i/o timeout|tls handshake|x509:|connection refused|network is unreachable|toomanyrequests"
    r"|server gave http response to https client|pinging container registry|failed to do request",
    re.I,
)
_PREAMBLE = re.compile(r"^ERROR: failed to solve: (?:.*definition: )?|^(?:Error|ERROR): |^Error response from daemon: ")
_HOST = re.compile(r"https?://([A-Za-z0-9.:\[\]-]+)/v2/")
_IMAGE = re.compile(
    r"(?:load metadata for|source metadata for|access denied for|manifest for|initializing source docker://)"
    r"\s*([\w./:@-]+?)[,:]?(?:\s|$)",
    re.I,
)


@dataclass(frozen=True)
class Failure:
    """A call of an engine that did not work.

    Parameters
    ----------
    engine : str
        ``docker`` or ``podman``.
    doing : str
        What it was to do: ``build churn:7``.
    output : str
        What it said.
    platform : str
        What the engine runs: ``linux/amd64``.
    """

    engine: str
    doing: str
    output: str
    platform: str = ""


def clean(text: str) -> str:
    """The text without anything that moves a cursor or hides text; of lines written over each other, the last."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in _ESCAPES.sub("", text).split("\n"))
    return "\n".join(_CONTROLS.sub("", line).rstrip() for line in lines)


def last_lines(text: str, count: int = _SHOWN_LINES) -> str:
    """The last lines that say something, cleaned, none of them endless."""
    lines = [
        line[:_SHOWN_CHARACTERS] for line in clean(text).split("\n") if line.strip(" -") and not _CHATTER.match(line)
    ]
    return "\n".join(lines[-count:])


def refusal(failure: Failure) -> ModelyardError:
    """The error that this failure is; what nobody foresaw is `BuildFailed` with the engine's own last lines."""
    for pattern, error in _MEANINGS:
        if pattern.search(failure.output):
            return error(failure)
    return _unforeseen(failure)


def _full(failure: Failure) -> ModelyardError:
    hint = f"see what takes it: {failure.engine} system df; make room, and run the same command again"
    return StoreFull(where=f"the images of {failure.engine}", hint=hint)


def _forbidden(failure: Failure) -> ModelyardError:
    return NoEngine(
        what=failure.doing,
        cause=f"this user may not use the socket of {failure.engine}",
        hint="use the engine as root, or without: modelyard build --format oci; or let this user in, who can then do"
        " what root can: sudo usermod -aG docker $USER",
    )


def _silent(failure: Failure) -> ModelyardError:
    said = last_lines(failure.output, 1)
    start = "sudo systemctl start docker" if failure.engine == "docker" else "podman machine start"
    hint = f"start it: {start}; or make an image without one: modelyard build --format oci"
    return NoEngine(what=failure.doing, cause=f"{failure.engine} is installed and does not answer: {said}", hint=hint)


def _versions(failure: Failure) -> ModelyardError:
    found = _VERSIONS.search(failure.output)
    hint = "name a version that both speak: DOCKER_API_VERSION=1.41 modelyard build ..."
    return NoEngine(what=failure.doing, cause=clean(found[0] if found else failure.output), hint=hint)


def _port(failure: Failure) -> ModelyardError:
    hint = "name another port, or see who has it: ss -ltnp"
    return Conflict(what=f"{failure.engine} cannot {failure.doing}: the port is taken", hint=hint)


def _foreign(failure: Failure) -> ModelyardError:
    here = failure.platform or "this machine"
    return BuildFailed(
        what=f"{failure.engine} cannot {failure.doing}: an image is for another architecture than {here}",
        cause=last_lines(failure.output, 2),
        hint=f"name a base image that there is for {here}: --base IMAGE",
    )


def _step(failure: Failure) -> ModelyardError:
    return BuildFailed(
        what=f"{failure.engine} could not {failure.doing}: a step of the Dockerfile failed",
        cause=last_lines(failure.output),
        hint="look at what it says; the same without an engine: modelyard build --format oci",
    )


def _refused(why: str, mend: str) -> Callable[[Failure], ModelyardError]:
    def error(failure: Failure) -> ModelyardError:
        pushing = failure.doing.startswith("push ")
        host, image = _HOST.search(failure.output), _IMAGE.search(failure.output)
        named = failure.doing.removeprefix("push ") if pushing else image[1] if image else "an image"
        registry = host[1] if host else _registry_of(named)
        hint = mend.format(engine=failure.engine, registry=registry)
        what = f"{named} cannot be {'pushed' if pushing else 'pulled'}: {why}"
        said = _PREAMBLE.sub("", last_lines(failure.output, 1))
        return RegistryRefused(registry=registry, what=what, cause=said, hint=hint)

    return error


def _registry_of(image: str) -> str:
    """The registry that an image's name begins with, as every engine reads it."""
    first, slash, _ = image.partition("/")
    return first if slash and (set(first) & {".", ":"} or first == "localhost") else "the registry"


def _no_image(failure: Failure) -> ModelyardError:
    name, hint = failure.doing.rpartition(" ")[2], f"see what it has: {failure.engine} image ls"
    return NotFound(what="image", name=name, cause=last_lines(failure.output, 1), hint=hint)


def _unforeseen(failure: Failure) -> ModelyardError:
    cause = last_lines(failure.output) or "it did not say why"
    return BuildFailed(what=f"{failure.engine} could not {failure.doing}", cause=cause)


#: In this order: a step that fails may say anything, and a full disk makes everything fail.
_MEANINGS: Sequence[tuple[re.Pattern[str], Callable[[Failure], ModelyardError]]] = (
    (_SPACE, _full),
    (_SOCKET, _forbidden),
    (_SILENT, _silent),
    (_VERSIONS, _versions),
    (_FORMAT, _foreign),
    (_STEP, _step),
    (_PORT, _port),
    (_UNAUTHORIZED, _refused("who asks may not, or there is no such image", "{engine} login {registry}")),
    (
        _UNREACHED,
        _refused(
            "the registry cannot be reached",
            "see whether this machine reaches {registry}, and whether it needs a proxy or a certificate",
        ),
    ),
    (_NO_IMAGE, _no_image),
    (_ABSENT, _refused("there is no such image", "name another one: --base IMAGE")),
)
