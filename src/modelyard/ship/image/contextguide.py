"""What a context says to whoever builds it: its README and what of the folder Docker is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.ship import layout

#: Nothing but what the Dockerfile copies.
IGNORE = "*\n!requirements.txt\n!wheelhouse\n!slim.py\n!models\n!plan.json\n!sbom.json\n"
_BLOCK = "```"


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What a README speaks of; all of it checked before.

    Parameters
    ----------
    tag : str
        ``NAME:TAG`` of the image to be.
    label : str
        What it serves.
    models : sequence of str
        Names of the models.
    base, python, platform : str
        What it stands on, and what the packages are for.
    packages : int
        How many there are.
    """

    tag: str
    label: str
    models: Sequence[str]
    base: str
    python: str
    platform: str
    packages: int


def readme(guide: Guide) -> str:
    """How to build, run, push and verify."""
    return "\n".join([_head(guide), _build(guide), _run(guide), _verify(guide), _private(guide)])


def _head(guide: Guide) -> str:
    return f"""# {guide.tag}

Serves {guide.label}.

Written by `modelyard build --format context`: the same models and packages give the same folder.

| | |
|---|---|
| `Dockerfile` | two stages; the image has Python, {guide.packages} packages, the models, and no shell |
| `requirements.txt`, `wheelhouse/` | the packages, each pinned to a version and a SHA-256; nothing is fetched |
| `slim.py` | which files of the base a Python server needs; standard library only |
| `models/`, `plan.json` | what is served, each model in a folder named by its digest |
| `sbom.json` | what is in the image (CycloneDX 1.6); in the image at `{layout.SBOM}` |
"""


def _build(guide: Guide) -> str:
    where = f"Python {guide.python} on {guide.platform}"
    return f"""## Build

{_BLOCK}sh
docker build --network none --platform {guide.platform} -t {guide.tag} .
docker push REGISTRY/{guide.tag}
{_BLOCK}

The packages are for {where}. The base is {guide.base}; another one with the same Python
and glibc does too, and in production it is named by digest: `--build-arg BASE=NAME@sha256:...`.
"""


def _run(guide: Guide) -> str:
    name = guide.models[0] if guide.models else "NAME"
    mount = "" if guide.models else f" -v $PWD/MODELS:{layout.MOUNTED}:ro"
    return f"""## Run

{_BLOCK}sh
docker run --rm -p 127.0.0.1:{layout.HTTP_PORT}:{layout.HTTP_PORT} --read-only --tmpfs /tmp \\
  --cap-drop ALL --security-opt no-new-privileges{mount} {guide.tag} --trusted-network
curl -s http://127.0.0.1:{layout.HTTP_PORT}/v2/models/{name}
{_BLOCK}

It runs as user {layout.USER}, writes to `/tmp` only, and listens on {layout.HTTP_PORT} (HTTP) and {layout.GRPC_PORT}
(gRPC). `/livez`, `/readyz` and `/startupz` need no key. `--trusted-network` says that only callers who may ask can
reach it. Without it callers need a key: mount a key table at `{layout.ACCESS}`, and add `--behind-tls-proxy`, or a
certificate with `--tls-cert` and `--tls-key`. Give it {layout.STOP_S} seconds to stop. The health check speaks plain
HTTP: where the server itself speaks TLS, run it with `--no-healthcheck`.
"""


def _verify(guide: Guide) -> str:
    return f"""## Verify

Every package is checked against `requirements.txt` when the image is built, every model against its digest when it is
loaded; what does not fit is not served. To compare the bill of materials with the image:

{_BLOCK}sh
docker create --name look {guide.tag} && docker cp look:{layout.SBOM} - | tar -xO | cmp - sbom.json; docker rm look
{_BLOCK}
"""


def _private(guide: Guide) -> str:
    del guide
    return f"""## A private index instead of the wheelhouse

The same hashes hold wherever the files come from. With BuildKit, and the index and its password in a `pip.conf` that
does not become part of the image, take out `--no-index` and write before `python3 -m pip`:

{_BLOCK}Dockerfile
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf python3 -m pip install ...
{_BLOCK}
{_BLOCK}sh
docker build --secret id=pip_conf,src=$HOME/.config/pip/pip.conf .
{_BLOCK}

Modelyard's own wheel is in `wheelhouse/` in any case.
"""
