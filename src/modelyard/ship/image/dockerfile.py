"""The Dockerfile of an image, as text. Every value that reaches it was checked here: none can begin another line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.core.errors import InvalidRequest
from modelyard.core.imagename import parse_image
from modelyard.ship import layout

#: The first line: by it we know a folder of ours again.
MARK = "# Written by: modelyard build --format context. Write it again rather than change it."
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,253}[A-Za-z0-9])?")
_LONGEST_VALUE = 4096
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PIP = f"""python3 -m pip install --no-cache-dir --no-compile --disable-pip-version-check --root-user-action=ignore \\
      --no-index --find-links /build/wheelhouse --require-hashes --no-deps \\
      --target {layout.LIBRARY} --requirement /build/requirements.txt"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the image is to be.

    Parameters
    ----------
    base : str
        Name of the image below.
    python : str
        The Python of the base that the packages are for: ``3.11``.
    labels : mapping of str to str
        What the image says of itself.
    models : bool
        Whether there are models, a plan among the files.
    extras : sequence of str
        See `Shipment`.
    whole_base : bool
        Whether all that is in the base is kept.
    """

    base: str
    python: str
    labels: Mapping[str, str] = field(default_factory=dict)
    models: bool = True
    extras: Sequence[str] = ()
    whole_base: bool = False


def render(wanted: Wanted) -> str:
    """The Dockerfile; both of Docker's builders and Podman take it.

    Raises
    ------
    InvalidRequest
        The base is no name of an image, or a label has something in it that is no text of one line.
    """
    parts = [_header(wanted), _packages(wanted), _final(wanted), _labels(wanted.labels), _start(wanted)]
    return "\n\n".join(parts) + "\n"


def _header(wanted: Wanted) -> str:
    return "\n".join(
        [
            MARK,
            "# The image below. Pin it in production: --build-arg BASE=NAME@sha256:...",
            f"ARG BASE={_base(wanted.base)}",
        ]
    )


def _base(text: str) -> str:
    if text.startswith(("oci:", "archive:")):
        raise InvalidRequest(
            what="a Dockerfile cannot stand on a layout or an archive of this machine",
            hint="name an image of a registry: --base python:3.11-slim; or make the image here: --format oci",
        )
    parse_image(text)
    return text


def _packages(wanted: Wanted) -> str:
    """The first stage: packages from the wheelhouse, each the one that is locked; then what is not needed goes."""
    major, minor = wanted.python.split(".")
    wrong = f"this base has another Python than {wanted.python}, which the packages in wheelhouse/ are for"
    slim = f"RUN python3 /build/slim.py {'' if wanted.whole_base else '/ /slim '}--library {layout.LIBRARY}"
    if "convert" in wanted.extras and not wanted.whole_base:
        slim += " --soname libseccomp.so.2"
    lines = [
        "FROM ${BASE} AS packages",
        "WORKDIR /build",
        "COPY slim.py requirements.txt ./",
        "COPY wheelhouse/ wheelhouse/",
        f"RUN python3 -c \"import sys; sys.exit(sys.version_info[:2] != ({major}, {minor}) and '{wrong}')\" \\",
        f" && {_PIP}",
        slim,
    ]
    return "\n".join(lines)


def _final(wanted: Wanted) -> str:
    """The image: no shell, no package manager, nobody's right to write."""
    lines = ["FROM ${BASE}"] if wanted.whole_base else ["FROM scratch", "COPY --from=packages /slim/ /"]
    lines.append(f"COPY --from=packages {layout.LIBRARY}/ {layout.LIBRARY}/")
    if wanted.models:
        lines.append(f"COPY models/ {layout.BUNDLES}/")
    lines.append(f"COPY plan.json sbom.json {layout.ROOT}/")
    environment = {"LANG": "C.UTF-8", **layout.ENVIRONMENT}
    if not wanted.whole_base:
        environment = {"PATH": _PATH, **environment}
    pairs = [f"{name}={value}" for name, value in environment.items()]
    return "\n".join([*lines, "ENV " + " \\\n    ".join(pairs)])


def _labels(labels: Mapping[str, str]) -> str:
    checked = [f"{check_label(key, value)}={_quoted(value)}" for key, value in sorted(labels.items())]
    return "LABEL " + " \\\n      ".join(checked) if checked else "# no labels"


def check_label(key: str, value: str) -> str:
    """The key, when it can be one and the value is printable text of one line; else `InvalidRequest`."""
    if not _LABEL.fullmatch(key):
        cause = "a key is letters, digits, '.', '_', '-' and '/', at most 255 of them"
        raise InvalidRequest(what=f"{key[:80]!r} cannot be the key of a label", cause=cause)
    if not value.isprintable() or len(value) > _LONGEST_VALUE:
        cause = f"it is printable text of one line, at most {_LONGEST_VALUE} characters"
        raise InvalidRequest(what=f"the label {key[:80]!r} has a value that cannot be one", cause=cause)
    return key


def _quoted(value: str) -> str:
    r"""In double quotes, where ``\``, ``"`` and ``$`` mean something."""
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'


def _start(wanted: Wanted) -> str:
    command = ["python3", *layout.command(models=wanted.models, extras=wanted.extras)]
    times = (
        f"--interval={layout.HEALTH_INTERVAL_S}s --timeout={layout.HEALTH_TIMEOUT_S}s "
        f"--start-period={layout.HEALTH_START_S}s --retries={layout.HEALTH_RETRIES}"
    )
    return "\n".join(
        [
            f"USER {layout.USER}:{layout.USER}",
            f"EXPOSE {layout.HTTP_PORT} {layout.GRPC_PORT}",
            "STOPSIGNAL SIGTERM",
            f"HEALTHCHECK {times} \\",
            f"  CMD {json.dumps(list(layout.HEALTH))}",
            f"ENTRYPOINT {json.dumps(command)}",
        ]
    )
