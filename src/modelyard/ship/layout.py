"""Where things are inside a container that serves: one table for images, targets and the serving plan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

import msgspec

from modelyard.core.plan import Access, Plan, PlannedModel
from modelyard.core.privacy import Journaling

#: All that Modelyard puts into an image.
ROOT = PurePosixPath("/opt/modelyard")
#: Python packages; on ``PYTHONPATH``.
LIBRARY = ROOT / "lib"
#: Bundles, each a folder named by its digest.
BUNDLES = ROOT / "bundles"
#: What is served.
PLAN = ROOT / "plan.json"
#: Which packages, files and models are in the image (CycloneDX).
SBOM = ROOT / "sbom.json"
#: Where the key table and what belongs to it is mounted: `ACCESS_FILES`.
ACCESS = PurePosixPath("/run/modelyard/access")
#: Where an image without a model looks for one; the folder that KServe puts models into.
MOUNTED = PurePosixPath("/mnt/models")

USER = 10001
HTTP_PORT = 8080
GRPC_PORT = 8081
#: Seconds between SIGTERM and SIGKILL that let requests finish: drain delay, grace, and a little.
STOP_S = 40

KEYS, PEPPERS, TOKENS, CERTIFICATES = "keys.json", "peppers", "tokens.json", "certificates.toml"
_SERVE = ("-m", "modelyard", "serve", "--host", "0.0.0.0")  # noqa: S104 - of the container
#: How a container of an image with models begins; what the operator adds comes after it.
COMMAND = (*_SERVE, "--plan", str(PLAN))
#: The same of an image that serves the bundles that are mounted into it.
MOUNTED_COMMAND = (*_SERVE, "--access", str(ACCESS), "--bundles", str(MOUNTED))
#: The same of one that can open other servers' folders and foreign model files too: its ``convert`` extra.
FOREIGN_COMMAND = (*_SERVE, "--access", str(ACCESS), f"{MOUNTED}/")
#: Ends well when the server of its own container is ready: the health check of an image, for those that speak no TLS.
#: HTTP/1.0 has no Host, of which a server may know only those that its plan names.
HEALTH = (
    *("python3", "-I", "-S", "-c"),
    f"import socket; s = socket.create_connection(('127.0.0.1', {HTTP_PORT}), 3); "
    "s.sendall(b'GET /readyz HTTP/1.0\\r\\n\\r\\n'); "
    "raise SystemExit(b' 200 ' not in s.recv(64))",
)
#: Seconds between two of them, for one of them, and until the first that counts; and how many may fail.
HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S, HEALTH_START_S, HEALTH_RETRIES = 10, 5, 30, 3
ENVIRONMENT = {
    "PYTHONPATH": str(LIBRARY),
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "MODELYARD_HOME": "/tmp/modelyard",  # noqa: S108 - the only place that may be written, a tmpfs of its own
}


def command(*, models: bool, extras: Iterable[str] = ()) -> tuple[str, ...]:
    """How a container begins, after ``python3``: as it has models in it, or as models are mounted into it."""
    if models:
        return COMMAND
    return FOREIGN_COMMAND if "convert" in extras else MOUNTED_COMMAND


def placed(plan: Plan) -> Plan:
    """The plan with every path as it is inside a container; what only this machine can do is left out of it."""
    access = Access(
        keys=str(ACCESS / KEYS),
        peppers=str(ACCESS / PEPPERS),
        tokens=str(ACCESS / TOKENS),
        certificates=str(ACCESS / CERTIFICATES),
        hosts=plan.access.hosts,
    )
    return msgspec.structs.replace(
        plan,
        models=tuple(map(_placed, plan.models)),
        requested=(),
        access=access,
        journal=Journaling(),
        usage="",
        serial=0,
        folders={},
    )


def _placed(model: PlannedModel) -> PlannedModel:
    versions = tuple(msgspec.structs.replace(item, path=str(BUNDLES / item.digest)) for item in model.versions)
    return msgspec.structs.replace(model, versions=versions)
