"""Every package: what a shipment becomes serves it, locked in, small, labelled, and the same every time.

A context becomes an image here by ``docker build`` with no network, an archive by ``docker load``.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from modelyard.control.actions import keys, tls
from modelyard.control.actions.home import Home
from modelyard.control.actions.shipment import access
from modelyard.core.identity import parse_scope
from modelyard.core.plan import Plan, PlannedModel, PlannedVersion
from modelyard.core.release import Shipped
from modelyard.guard.grant import Grant
from modelyard.ship import layout
from modelyard.ship.engine.containers import Container, Options
from modelyard.ship.engine.engines import Engine, find_engine
from modelyard.ship.engine.trial import try_image
from modelyard.ship.packages import PACKAGES, Packed, Recipe, pack
from modelyard.ship.shipment import Shipment
from tests.containers import BASE, CACHE, base_layout, engine
from tests.models import linear_bundle, mixed_bundle

MB = 1_000_000
#: Where each kind finds the base: an engine has it by its name, without one it lies in a layout.
BASES = {"oci": lambda: f"oci:{base_layout()}:3.11-slim"}
NASTY = 'q"u\\o$te # 日本'


@dataclass(frozen=True)
class Made:
    """An image in the engine, and what it was made of."""

    kind: str
    shipment: Shipment
    packed: Packed
    again: Packed
    engine: Engine
    image: str
    made_s: float


def _shipment(folder: Path) -> Shipment:
    models, planned, places = [], [], {}
    for bundle in (linear_bundle(), mixed_bundle()):
        name = bundle.manifest.name
        places[bundle.digest] = folder / bundle.digest
        places[bundle.digest].mkdir(parents=True)
        bundle.write(places[bundle.digest])
        models.append(Shipped(name=name, version=2, digest=bundle.digest))
        planned.append(PlannedModel(name, 2, (PlannedVersion(2, bundle.digest, "here"),)))
    return Shipment("contract", tuple(models), places, layout.placed(Plan(models=tuple(planned))))


def _load(kind: str, packed: Packed, engine: Engine, tag: str) -> str:
    """The image's id in the engine."""
    if kind == "image":
        return packed.image_id
    assert packed.path is not None
    if kind == "oci":
        return engine.load(packed.path)
    words = ["docker", "build", "--quiet", "--network", "none", "--tag", tag, str(packed.path)]
    built = subprocess.run(
        words, capture_output=True, text=True, timeout=300, env={**os.environ, "DOCKER_BUILDKIT": "1"}
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return built.stdout.strip()


@pytest.fixture(scope="module", params=sorted(PACKAGES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    engine()
    kind, folder = str(request.param), tmp_path_factory.mktemp("packages")
    found, shipment = find_engine("docker"), _shipment(folder / "bundles")
    tag = f"contract-{kind}:{uuid4().hex[:8]}"
    base = BASES.get(kind, lambda: BASE)()

    def packed(number: int) -> Packed:
        output = None if kind == "image" else folder / f"{number}{'.tar' if kind == 'oci' else ''}"
        recipe = Recipe(base=base, tag=tag, output=output, cache=CACHE, labels={"team": NASTY})
        return pack(kind)(shipment, recipe, lambda _: None)

    began = time.monotonic()
    first = packed(1)
    image = _load(kind, first, found, tag)
    took = time.monotonic() - began
    try:
        yield Made(kind, shipment, first, packed(2), found, image, took)
    finally:
        subprocess.run(["docker", "rmi", "--force", tag], capture_output=True, timeout=120)


def inspected(made: Made) -> dict[str, Any]:
    raw = subprocess.run(["docker", "inspect", made.image], capture_output=True, check=True, timeout=60).stdout
    found: dict[str, Any] = json.loads(raw)[0]
    return found


def test_the_same_shipment_and_recipe_give_the_same(made: Made) -> None:
    assert made.packed.digest == made.again.digest
    assert made.packed.digest.startswith("sha256:")
    assert made.packed.size_bytes == made.again.size_bytes > 0


def test_it_answers_its_golden_rows_locked_in(made: Made, record_property: Any) -> None:
    """Read-only, without capabilities, no new privileges, as nobody in particular."""
    tried = try_image(made.engine, made.image, made.shipment, lambda _: None)
    assert tried.rows == sum(len(bundle.samples.rows) for bundle in (linear_bundle(), mixed_bundle()))
    assert tried.worker_bytes < 80 << 20
    record_property("ready_s", tried.ready_s)
    record_property("made_s", made.made_s)


def test_it_says_how_it_is_run_and_what_it_is(made: Made) -> None:
    config = inspected(made)["Config"]
    assert config["User"] == f"{layout.USER}:{layout.USER}"
    assert config["Entrypoint"] == ["python3", *layout.COMMAND]
    assert set(config["ExposedPorts"]) == {f"{layout.HTTP_PORT}/tcp", f"{layout.GRPC_PORT}/tcp"}
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", *layout.HEALTH]
    environment = dict(each.split("=", 1) for each in config["Env"])
    assert layout.ENVIRONMENT.items() <= environment.items()
    assert config["Labels"]["team"] == NASTY
    assert config["Labels"]["org.opencontainers.image.title"] == "contract"


def test_it_is_small(made: Made) -> None:
    assert inspected(made)["Size"] <= 200 * MB


def test_there_is_no_shell_and_no_package_manager(made: Made) -> None:
    created = subprocess.run(["docker", "create", made.image], capture_output=True, text=True, check=True, timeout=60)
    container = created.stdout.strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as piped:
            listed = subprocess.run(["tar", "-t"], stdin=piped.stdout, capture_output=True, text=True, timeout=120)
    finally:
        subprocess.run(["docker", "rm", container], capture_output=True, timeout=60)
    names = set(listed.stdout.splitlines())
    programs = {
        name.rpartition("/")[2] for name in names if name.startswith(("usr/bin/", "usr/sbin/", "usr/local/bin/"))
    }
    assert not programs & {"sh", "bash", "dash", "apt", "apt-get", "dpkg", "pip", "pip3", "perl"}
    assert "python3" in programs
    assert f"{layout.SBOM}"[1:] in names
    assert "var/lib/dpkg/status.d/libc6" in names
    assert not [name for name in names if "/tests/" in name and name.startswith(f"{layout.LIBRARY}"[1:])]
    assert {f"{layout.BUNDLES}/{digest}/model.onnx"[1:] for digest in made.shipment.bundles} <= names


@pytest.fixture(scope="module")
def running(made: Made) -> Iterator[Container]:
    """One that is looked at every second, and not every tenth."""
    words = [
        "docker",
        "run",
        "--detach",
        *Options().flags(),
        "--health-interval",
        "1s",
        made.image,
        "--trusted-network",
    ]
    run = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    try:
        yield Container(run.stdout.strip(), made.engine.call)
    finally:
        subprocess.run(["docker", "rm", "--force", run.stdout.strip()], capture_output=True, timeout=60)


def test_its_health_check_finds_it_healthy(running: Container) -> None:
    deadline = time.monotonic() + 40
    while running.health() != "healthy":
        assert time.monotonic() < deadline, running.state()
        time.sleep(0.5)


LOOK = """
import json, os, pathlib, pwd, socket, sqlite3, ssl, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
Ed25519PrivateKey.generate().sign(b'')
import joserfc.jwt, hpack, google.protobuf.message, backports.zstd, urllib3, uvloop
written = []
for path in ('/', '/opt/modelyard', '/usr', '/var', '/tmp'):
    try:
        pathlib.Path(path, 'probe').write_text('')
        written.append(path)
    except OSError:
        pass
pyc = pathlib.Path(os.__file__).parent / '__pycache__' / f'os.{sys.implementation.cache_tag}.pyc'
print(json.dumps({
    'uid': os.getuid(), 'gid': os.getgid(), 'groups': os.getgroups(), 'name': pwd.getpwuid(os.getuid()).pw_name,
    'written': written, 'certificates': len(ssl.create_default_context().get_ca_certs()),
    'localhost': socket.gethostbyname('localhost'), 'compiled': pyc.is_file(),
    'caps': [line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'NoNewPrivs'))],
}))
"""


def test_inside_nothing_is_missing_and_nothing_can_be_changed(running: Container) -> None:
    words = ["docker", "exec", running.id, "python3", "-c", LOOK]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["uid"], said["gid"], said["name"]) == (layout.USER, layout.USER, "modelyard")
    assert said["written"] == ["/tmp"]
    assert said["certificates"] > 100
    assert said["localhost"] == "127.0.0.1"
    assert said["compiled"]
    assert said["caps"] == ["0000000000000000", "1"]


def test_it_pulls_bundles_and_says_what_it_does_not_do(running: Container) -> None:
    """What an init step calls; and a command that needs what no server has."""
    words = ["docker", "exec", running.id, "python3", "-m", "modelyard"]
    pull = subprocess.run([*words, "pull", "oci://127.0.0.1:9/m:1", "-o", "/tmp/m"], capture_output=True, timeout=60)
    assert b"error[REGISTRY-REFUSED]" in pull.stderr, pull.stderr
    train = subprocess.run([*words, "train", "data.csv"], capture_output=True, text=True, timeout=60)
    assert train.returncode == 2
    assert "'train' is not part of an image that serves" in train.stderr
    assert "Traceback" not in train.stderr


def test_callers_show_keys_over_tls_on_both_ports(made: Made, home: Home, tmp_path: Path) -> None:
    """What a target mounts: a key table with its peppers; and here a certificate of the server's own."""
    import tritonclient.grpc as triton

    key = keys.create(home, Grant(name="shop", scopes=frozenset({parse_scope("model:*:predict")}))).text
    certificate = tls.make(home)
    places = {layout.ACCESS: tmp_path / "access", PurePosixPath("/run/modelyard/tls"): tmp_path / "tls"}
    files = {tmp_path / "access" / name: raw for name, raw in access(home, made.shipment.models).items()}
    files |= {tmp_path / "tls" / path.name: path.read_bytes() for path in (certificate.cert, certificate.key)}
    for path, raw in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        os.chown(path, layout.USER, layout.USER)
        path.chmod(0o400)
    args = [
        "--tls-cert",
        "/run/modelyard/tls/cert.pem",
        "--tls-key",
        "/run/modelyard/tls/key.pem",
        "--drain-delay",
        "0",
    ]
    options = Options(ports={layout.HTTP_PORT: 0, layout.GRPC_PORT: 0}, mounts=places)
    container = made.engine.run(made.image, args, options)
    try:
        ask = Ask(container.port(), ssl.create_default_context(cafile=certificate.ca))
        ask.wait("/readyz")
        assert ask("/models/linear/predict", {"feature": 3.0}) == (401, None)
        assert ask("/models/linear/predict", {"feature": 3.0}, key) == (200, [6.0])
        address = f"localhost:{container.port(layout.GRPC_PORT)}"
        question = triton.InferInput("input", [1, 1], "FP64")
        question.set_data_from_numpy(np.array([[3.0]]))
        bearer = {"authorization": f"Bearer {key}"}
        with triton.InferenceServerClient(address, ssl=True, root_certificates=str(certificate.ca)) as client:
            answer = client.infer("linear", [question], headers=bearer)
            assert answer.as_numpy("prediction").tolist() == [6.0]
    finally:
        container.remove()


class Ask:
    """One question over TLS, on a connection of its own."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context

    def wait(self, path: str) -> None:
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError, HTTPException):
                if self._send("GET", path)[0] == 200:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def __call__(self, path: str, row: dict[str, float], key: str = "") -> tuple[int, Any]:
        status, raw = self._send("POST", path, json.dumps(row), {"authorization": f"Bearer {key}"} if key else {})
        return status, json.loads(raw).get("prediction")

    def _send(self, *request: Any) -> tuple[int, bytes]:
        connection = HTTPSConnection("localhost", self._port, timeout=10, context=self._context)
        try:
            headers = {"content-type": "application/json", **(request[3] if len(request) > 3 else {})}
            connection.request(request[0], request[1], request[2] if len(request) > 2 else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
