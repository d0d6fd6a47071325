"""From a CSV to a container that answers: ``modelyard build`` with the real engine, and what comes out of it."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.requirements import Requirement

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.shipment import access, prepare
from modelyard.core.errors import BuildFailed, ModelyardError, RegistryRefused
from modelyard.core.identity import Role, scopes
from modelyard.core.manifest import SAMPLES, Samples
from modelyard.core.settings import Settings
from modelyard.guard.grant import Grant
from modelyard.model.bundle import seal
from modelyard.ship import layout
from modelyard.ship.engine.containers import Container
from modelyard.ship.engine.engines import Engine, find_engine
from modelyard.ship.engine.trial import Tried, try_image
from modelyard.ship.packages import Recipe, pack
from tests.containers import CACHE, Registry, base_layout
from tests.containers import engine as real_engine
from tests.house.source import ROOT
from tests.models import linear_bundle

MOST_BYTES = 200_000_000
MOST_WORKER_BYTES = 80 << 20
TAG = f"modelyard-test-{secrets.token_hex(4)}"
#: As an operator would, whatever the image: nothing can be written but /tmp, no rights at all.
HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Docker; the images that were made are removed."""
    real_engine()
    found = find_engine("docker")
    yield found
    for line in found.call("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", doing="list images").splitlines():
        if line.startswith(TAG):
            found.call("image", "rm", "-f", line, doing="remove an image")


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home with the article's model, trained as the README says, and the cache of all test runs."""
    folder = tmp_path_factory.mktemp("build")
    CACHE.mkdir(parents=True, exist_ok=True)
    (folder / "modelyard").symlink_to(CACHE)
    told = {**os.environ, "MODELYARD_HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder)}
    words = ["--target", "target", "--model", "linear", "--solver", "gradient", "--name", "linear-regression"]
    run(told, "train", str(ROOT / "examples/linear/data.csv"), *words)
    return told


@pytest.fixture(scope="module")
def home(environ: dict[str, str]) -> Home:
    return open_home(Settings.from_environ(environ))


def run(environ: dict[str, str], *words: str) -> str:
    """What ``modelyard`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", *words], env=environ, capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(environ: dict[str, str], *words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(environ, "build", "--json", *words))
    return document


@pytest.fixture(scope="module")
def image(engine: Engine, environ: dict[str, str]) -> dict[str, Any]:
    """The image that ``modelyard build`` makes when it is told nothing else."""
    return build(environ, "linear-regression", "--tag", f"{TAG}:1")


@pytest.fixture(scope="module")
def archive(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same without an engine."""
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    base = f"oci:{base_layout()}:3.11-slim"
    return build(environ, "linear-regression", "--format", "oci", "--base", base, "-o", str(path), "--tag", f"{TAG}:2")


class Running:
    """``docker run`` as somebody would type it, until the block ends."""

    def __init__(self, engine: Engine, *words: str) -> None:
        self._engine = engine
        self.id = engine.call("run", "-d", "-p", "127.0.0.1::8080", *words, doing="run").strip()
        self.port = 0

    def __enter__(self) -> Running:
        try:
            self.port = Container(self.id, self._engine.call).port()
            self.curl("/readyz", "--retry", "90", "--retry-delay", "1", "--retry-connrefused", "--retry-all-errors")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.call("rm", "-f", "-v", self.id, doing="remove")

    def curl(self, path: str, *words: str) -> str:
        """The very program that the article uses."""
        command = ["curl", "-sS", "-f", "--max-time", "60", *words, f"http://127.0.0.1:{self.port}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, f"{done.stderr}\n{self.logs()}"
        return done.stdout

    def ask(self, *words: str) -> str:
        """The article's question."""
        data = ["-X", "POST", "-H", "Content-Type: application/json", "--data", '{"feature": 3}']
        return self.curl("/predict", *data, *words)

    def python(self, text: str) -> str:
        """What this prints in the container, where there is no shell."""
        return self._engine.call("exec", self.id, "python3", "-c", text, doing="look inside").strip()

    def logs(self) -> str:
        return self._engine.call("logs", self.id, doing="read", merged=True)

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        self._engine.call("stop", "-t", "30", self.id, doing="stop", limit_s=60.0)
        return int(self._engine.call("inspect", "--format", "{{.State.ExitCode}}", self.id, doing="look"))


def test_the_walkthrough_through_a_container(
    engine: Engine, image: dict[str, Any], record_property: pytest.RecordProperty
) -> None:
    """Train, build, run with a published port: curl answers as the article promises."""
    assert (image["tag"], image["models"][0]["version"], image["format"]) == (f"{TAG}:1", 1, "image")
    assert list(image["facts"]) == ["Plan", "Context", "Image", "Check"]
    assert re.fullmatch(r"started in \d+\.\d s, golden rows 5/5, \d+ MiB, stopped", image["facts"]["Check"])
    assert image["size_bytes"] == engine.inspect(image["tag"]).size_bytes <= MOST_BYTES
    with Running(engine, image["tag"], "--trusted-network") as container:
        assert container.ask() == '{"prediction": [6.0]}'
        assert "openapi" in container.curl("/openapi.json")
    record_property("number", f"{image['size_bytes'] / 1e6:.0f} MB; {image['facts']['Check']}")


def test_the_same_from_an_archive_made_without_an_engine(engine: Engine, archive: dict[str, Any]) -> None:
    said = engine.call("load", "-i", archive["path"], doing="load")
    assert f"Loaded image: {TAG}:2" in said
    found = engine.inspect(f"{TAG}:2")
    assert found.id == archive["image_id"]
    assert found.size_bytes <= MOST_BYTES
    with Running(engine, *HARDENED, f"{TAG}:2", "--trusted-network", "--drain-delay", "0") as container:
        assert container.ask() == '{"prediction": [6.0]}'
        assert container.stop() == 0


def test_one_worker_takes_little_memory(
    engine: Engine, image: dict[str, Any], home: Home, record_property: pytest.RecordProperty
) -> None:
    tried = tried_once(engine, image["tag"], home)
    assert tried.rows == 5
    assert 0 < tried.worker_bytes <= MOST_WORKER_BYTES
    assert tried.worker_bytes < tried.memory_bytes  # the supervisor has some, too
    record_property("number", f"worker {tried.worker_bytes / 2**20:.0f} MiB, start {tried.answered_s:.1f} s")


def tried_once(engine: Engine, image: str, home: Home) -> Tried:
    with home.artifacts.held():
        return try_image(engine, image, prepare(home, ["linear-regression"]), print)


STATUS = """
import os
status = dict(line.split(':\\t', 1) for line in open('/proc/1/status').read().splitlines() if ':\\t' in line)
print({name: status[name].split()[0] for name in ('Uid', 'Gid', 'CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp')})
"""
WRITES = """
import os
refused = []
for folder, _, names in os.walk('/', onerror=None):
    if not folder.startswith(('/proc', '/sys', '/dev', '/tmp')):
        try:
            open(folder + '/x', 'w')
        except OSError as exc:
            refused.append(folder)
        else:
            print('could write', folder)
print(len(refused) > 100, os.access('/tmp', os.W_OK))
"""


@pytest.mark.row("OPS-01")
def test_it_serves_without_any_right(
    engine: Engine, image: dict[str, Any], record_property: pytest.RecordProperty
) -> None:
    """The engine's default seccomp profile, a read-only root, no capabilities, no new privileges, not root."""
    with Running(engine, *HARDENED, image["tag"], "--trusted-network") as container:
        status = json.loads(container.python(STATUS).replace("'", '"'))
        assert status["Uid"] == status["Gid"] == str(layout.USER) != "0"
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert container.python(WRITES) == "True True"
        assert container.ask() == '{"prediction": [6.0]}'
    record_property("number", f"serves as uid {layout.USER}, no capability, seccomp filter, root read-only")


PICKLE = """
import joblib, numpy, sys
from sklearn.linear_model import LinearRegression
x = numpy.arange(1.0, 6.0).reshape(-1, 1)
joblib.dump(LinearRegression().fit(x, 2 * x.ravel()), sys.argv[1])
"""


@pytest.mark.long
@pytest.mark.row("OPS-01")
def test_it_converts_a_pickle_without_any_right(
    engine: Engine, environ: dict[str, str], tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Landlock and seccomp lock the child that opens it, inside a container that is locked in itself."""
    made = build(environ, "--with", "convert", "--tag", f"{TAG}:convert")
    subprocess.run([sys.executable, "-c", PICKLE, str(tmp_path / "line.joblib")], check=True, timeout=60)
    (tmp_path / "rows.csv").write_text("feature\n1\n2\n3\n")
    tmp_path.chmod(0o755)
    mounted = f"type=bind,source={tmp_path},target=/mnt/models,readonly"
    words = ["run", "--rm", *HARDENED, "--memory", "1g", "--mount", mounted, "--entrypoint", "python3", made["tag"]]
    names = ["--sample", "/mnt/models/rows.csv", "--name", "line"]
    said = engine.call(
        *words, "-m", "modelyard", "import", "/mnt/models/line.joblib", *names, doing="convert", limit_s=120.0
    )
    assert "opened in the sandbox (Landlock, seccomp)" in said
    assert "Saved line@1" in said
    record_property("number", f"converts a pickle in Landlock and seccomp, image {made['size_bytes'] / 1e6:.0f} MB")


LISTED = """
import importlib.metadata, json
print(json.dumps({one.name.lower().replace('_', '-'): one.version for one in importlib.metadata.distributions()}))
"""


@pytest.mark.row("OPS-02")
def test_all_that_is_in_an_image_is_hashed_and_listed(
    engine: Engine,
    image: dict[str, Any],
    environ: dict[str, str],
    tmp_path: Path,
    record_property: pytest.RecordProperty,
) -> None:
    """What pip may take is pinned by hash; what is in the image is what its bill of materials says; nothing is old."""
    build(environ, "linear-regression", "--format", "context", "-o", str(tmp_path / "context"))
    lines = (tmp_path / "context" / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split(" --hash=sha256:")[0].split("==") for line in lines)
    for line in lines:
        assert re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.]+ --hash=sha256:[0-9a-f]{64}", line)
    with Running(engine, image["tag"], "--trusted-network") as container:
        installed = json.loads(container.python(LISTED))
        bill = json.loads(container.python(f"print(open('{layout.SBOM}').read())"))
    listed = {
        part["name"].lower(): part["version"]
        for part in bill["components"]
        if part.get("purl", "").startswith("pkg:" + "pypi/")
    }
    assert _canonical(installed) == _canonical(pinned) == _canonical(listed)
    assert _below_floors() == []
    record_property("number", f"0 known-bad; {len(installed)} packages in the image, each hashed, each in its SBOM")


def _below_floors() -> list[str]:
    """Locked releases that pyproject.toml does not allow: its floors leave out those with known holes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    floors = {asked.name: asked.specifier for asked in map(Requirement, texts)}
    assert floors["onnx"].contains("1.21")
    assert not floors["onnx"].contains("1.20.9")
    locks = [path.read_text() for path in (ROOT / "src/modelyard/ship/image").glob("serving*.lock")]
    locked = {pair for text in locks for pair in re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", text, flags=re.MULTILINE)}
    assert {"numpy", "onnxruntime", "onnx", "obstore"} <= {name for name, _ in locked}
    return [f"{name} {version}" for name, version in locked if name in floors and version not in floors[name]]


def _canonical(versions: dict[str, str]) -> dict[str, str]:
    """Names as an index compares them."""
    return {re.sub(r"[-_.]+", "-", name): version for name, version in versions.items()}


def test_keys_that_are_mounted_let_callers_in(
    engine: Engine, image: dict[str, Any], home: Home, tmp_path: Path
) -> None:
    minted = keys.create(home, Grant(name=f"shop-{secrets.token_hex(3)}", scopes=scopes(Role.PREDICTOR)))
    shipment = prepare(home, ["linear-regression"])
    with pytest.raises(ModelyardError) as caught:
        engine.call("run", "--rm", *HARDENED, image["tag"], "--behind-tls-proxy", doing="start without keys")
    assert "there is no key table at /run/modelyard/access" in caught.value.cause
    for name, raw in access(home, shipment.models).items():
        path = tmp_path / "access" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        path.chmod(0o600)
        for each in (path, path.parent):
            os.chown(each, layout.USER, layout.USER)
    tmp_path.chmod(0o755)
    mount = ["-v", f"{tmp_path / 'access'}:{layout.ACCESS}:ro"]
    with Running(engine, *HARDENED, *mount, image["tag"], "--behind-tls-proxy") as container:
        assert container.ask("-H", f"Authorization: Bearer {minted.text}") == '{"prediction": [6.0]}'
        with pytest.raises(AssertionError, match="401"):
            container.ask()


def test_an_image_without_a_model_serves_what_is_mounted(
    engine: Engine, environ: dict[str, str], tmp_path: Path
) -> None:
    made = build(environ, "--tag", f"{TAG}:none")
    assert (made["name"], made["models"]) == ("modelyard", [])
    assert "golden rows 2/2" in made["facts"]["Check"]  # of the model that it was lent
    run(environ, "model", "export", "linear-regression", str(tmp_path / "exported"))
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    mount = ["-v", f"{tmp_path / 'exported'}:{layout.MOUNTED}:ro"]
    with Running(engine, *HARDENED, *mount, made["tag"], "--trusted-network") as container:
        assert container.ask() == '{"prediction": [6.0]}'


def test_a_model_that_was_changed_in_the_image_is_found(
    engine: Engine, image: dict[str, Any], home: Home, tmp_path: Path
) -> None:
    digest = image["models"][0]["digest"]
    model = bytearray((prepare(home, ["linear-regression"]).bundles[digest] / "model.onnx").read_bytes())
    model[-1] ^= 1
    (tmp_path / "model.onnx").write_bytes(model)
    place = layout.BUNDLES / digest / "model.onnx"
    (tmp_path / "Dockerfile").write_text(f"FROM {image['tag']}\nCOPY model.onnx {place}\n")
    broken = engine.build(tmp_path, f"{TAG}:broken", print)
    with pytest.raises(BuildFailed, match="before it was ready") as caught:
        tried_once(engine, broken, home)
    assert "model.onnx was changed" in caught.value.cause
    assert engine.call("ps", "-aq", "--filter", "name=modelyard-trial", doing="list") == ""


def test_an_image_that_answers_wrongly_gets_no_name(
    engine: Engine, image: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its golden rows say otherwise than its model: sealed so, every digest right. Who had the name keeps it."""
    good = linear_bundle("liar")
    wrong = Samples(rows=good.samples.rows, outputs={"prediction": [7.0] * len(good.samples.rows)})
    home = open_home(Settings(home=tmp_path / "home"))
    publish(home, seal(good.manifest, {**good.files, SAMPLES: msgspec.json.encode(wrong)}))
    made: list[str] = []
    make = Engine.build

    def kept(self: Engine, *words: Any) -> str:
        made.append(make(self, *words))
        assert self.has(made[0])
        return made[0]

    monkeypatch.setattr(Engine, "build", kept)
    with pytest.raises(BuildFailed, match="the image does not work") as caught:
        pack("image")(prepare(home, ["liar"]), Recipe(cache=CACHE, tag=image["tag"]), print)
    assert "answers its golden rows differently" in caught.value.cause
    assert engine.inspect(image["tag"]).id == image["image_id"]
    assert not engine.has(made[0])


def test_a_push_gives_the_digest_that_the_registry_has(engine: Engine, home: Home, image: dict[str, Any]) -> None:
    """Pushed by the engine; where that is refused the image stays, without the registry's name."""
    with Registry() as registry:
        repository = f"{registry.host}/ml/linear"
        tag = image["tag"].partition(":")[2]
        engine.tag(image["tag"], f"{repository}:{tag}")
        pushed = engine.push(f"{repository}:{tag}")
        engine.remove_image(f"{repository}:{tag}")
        assert re.fullmatch(rf"{re.escape(repository)}@sha256:[0-9a-f]{{64}}", pushed)
        asked = subprocess.run(
            ["curl", "-sSf", "-I", f"http://{registry.host}/v2/ml/linear/manifests/{pushed.partition('@')[2]}"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert "200 OK" in asked.stdout
    recipe = Recipe(cache=CACHE, tag=f"{TAG}:pushed", push=repository)
    with home.artifacts.held(), pytest.raises(RegistryRefused, match="cannot be pushed"):
        pack("image")(prepare(home, ["linear-regression"]), recipe, print)
    assert engine.has(recipe.tag)
    assert not engine.has(f"{repository}:pushed")
