"""Images with no engine: the same for everybody who makes them, taken by every engine and registry, and serving."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.shipment import prepare
from modelyard.core.errors import InvalidRequest, RegistryRefused
from modelyard.core.network import Network
from modelyard.core.settings import Settings
from modelyard.ship import layout
from modelyard.ship.image.bases import open_base
from modelyard.ship.image.locks import this_platform
from modelyard.ship.image.shelf import Shelf
from modelyard.ship.packages import Packed, Recipe
from modelyard.ship.packages.oci import pack
from modelyard.ship.shipment import Shipment
from modelyard.store.distribution import Repository
from tests.containers import BASE, CACHE, Registry, base_layout, engine, program
from tests.models import linear_bundle

MOST_BYTES = 200_000_000
#: Makes the image that a line of JSON describes, in a process of its own.
MAKER = """
import json, os, sys
from pathlib import Path
import msgspec
from modelyard.core.errors import ModelyardError
from modelyard.core.plan import Plan
from modelyard.core.release import Shipped
from modelyard.ship.packages import Recipe
from modelyard.ship.packages.oci import pack
from modelyard.ship.shipment import Shipment

told = json.loads(sys.argv[1])
os.umask(told["umask"])
shipment = Shipment(
    name=told["name"],
    models=tuple(msgspec.convert(each, Shipped) for each in told["models"]),
    bundles={digest: Path(path) for digest, path in told["bundles"].items()},
    plan=msgspec.convert(told["plan"], Plan),
)
recipe = Recipe(
    base=told["base"], cache=Path(told["cache"]), wheels=Path(told["wheels"]), output=Path(told["output"]),
    tag=told["tag"], platform="linux/amd64",
)
try:
    print(json.dumps([pack(shipment, recipe, lambda line: None).digest, ""]))
except ModelyardError as exc:
    print(json.dumps(["", f"{type(exc).__name__}: {exc} ({exc.cause})"]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One with linear@1 and linear@2."""
    home = open_home(Settings(home=tmp_path_factory.mktemp("home") / "home"))
    publish(home, linear_bundle())
    publish(home, linear_bundle(slope=3.0))
    return home


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    base = f"oci:{base_layout()}:3.11-slim"
    return Recipe(base=base, cache=CACHE, output=tmp_path_factory.mktemp("out") / "linear.tar", platform="linux/amd64")


@pytest.fixture(scope="module")
def made(home: Home, recipe: Recipe) -> Packed:
    """linear@1, as an archive."""
    return pack(prepare(home, ["linear@1"]), recipe, print)


def test_it_is_small_and_says_what_it_is(made: Packed) -> None:
    assert made.path is not None
    assert made.tag == "linear:1"
    assert made.size_bytes <= MOST_BYTES
    manifest, config = documents(made.path)
    assert made.size_bytes >= sum(part["size"] for part in manifest["layers"])
    assert config["config"]["User"] == "10001:10001"
    assert config["config"]["Entrypoint"] == ["python3", *layout.COMMAND]
    assert config["config"]["Labels"]["org.opencontainers.image.title"] == "linear"
    assert config["config"]["Healthcheck"]["Test"][:2] == ["CMD", "python3"]
    assert "/" not in json.dumps(config["config"]["Labels"]), "nothing of this machine's folders"


def test_everybody_makes_the_same(home: Home, recipe: Recipe, made: Packed, tmp_path: Path) -> None:
    """Another process, cache, home, umask, locale, time zone and seed of hashes, and bundles that lie elsewhere."""
    shipment = prepare(home, ["linear@1"])
    moved = {}
    for digest, folder in shipment.bundles.items():
        moved[digest] = str(tmp_path / "elsewhere" / digest)
        subprocess.run(
            ["cp", "-r", "--no-preserve=all", "--", str(folder), "."], cwd=make(tmp_path / "elsewhere"), check=True
        )
    said = child(
        shipment, recipe, tmp_path, umask=0o077, bundles=moved, LC_ALL="C", TZ="Asia/Tokyo", PYTHONHASHSEED="7"
    )
    assert said == [made.digest, ""]
    assert made.path is not None
    assert (tmp_path / "out.tar").read_bytes() == made.path.read_bytes()


def test_another_model_costs_one_small_layer(home: Home, recipe: Recipe, made: Packed, tmp_path: Path) -> None:
    began = time.monotonic()
    again = pack(prepare(home, ["linear@2"]), replace(recipe, output=tmp_path / "two.tar"), print)
    took_s = time.monotonic() - began
    assert made.path is not None
    assert again.path is not None
    before, after = documents(made.path)[0]["layers"], documents(again.path)[0]["layers"]
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    assert after[-1]["size"] < 100_000
    assert took_s < 10, "about a second where nobody else is at work"


def test_no_room_leaves_nothing(home: Home, recipe: Recipe, made: Packed, tmp_path: Path) -> None:
    """Files of this process may have a megabyte: whatever is written first, it does not fit."""
    (tmp_path / "out.tar").write_bytes(b"the one before")
    digest, trouble = child(prepare(home, ["linear@1"]), recipe, tmp_path, limit=1 << 20)
    assert digest == ""
    assert trouble.startswith("Unavailable: cannot use the folder")
    assert (tmp_path / "out.tar").read_bytes() == b"the one before"
    digest, trouble = child(prepare(home, ["linear@1"]), recipe, tmp_path, limit=16 << 20, cache=str(CACHE))
    assert trouble.startswith("Unavailable: cannot write 'out.tar'")
    assert (tmp_path / "out.tar").read_bytes() == b"the one before"
    assert {path.name for path in tmp_path.iterdir()} <= {"out.tar", "cache", "tmp"}


def test_a_layout_and_what_is_none(home: Home, recipe: Recipe, made: Packed, tmp_path: Path) -> None:
    target = make(tmp_path / "layout")
    packed = pack(prepare(home, ["linear@1"]), replace(recipe, output=target), print)
    assert (packed.path, packed.digest) == (target, made.digest)
    inspected = run(program("skopeo"), "inspect", f"oci:{target}:linear:1")
    assert json.loads(inspected)["Digest"] == made.digest
    (tmp_path / "other").write_text("mine")
    with pytest.raises(InvalidRequest, match="folder of other things"):
        pack(prepare(home, ["linear@1"]), replace(recipe, output=tmp_path), print)


def test_without_a_place_it_is_put_into_the_cache(home: Home, recipe: Recipe, made: Packed, tmp_path: Path) -> None:
    packed = pack(prepare(home, ["linear@1"]), replace(recipe, output=None), print)
    assert packed.path is not None
    assert packed.path.is_relative_to(CACHE)
    assert packed.digest == made.digest
    packed.path.unlink()


def test_a_registry_has_the_digest_that_was_computed(
    home: Home, recipe: Recipe, made: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushed by us and by skopeo: one digest. What is there is not sent again."""
    assert made.path is not None
    sent: list[bool] = []
    put = Repository.put

    def counted(self: Repository, *args: Any, **more: Any) -> bool:
        sent.append(put(self, *args, **more))
        return sent[-1]

    monkeypatch.setattr(Repository, "put", counted)
    with Registry() as registry:
        wanted = replace(recipe, output=None, push=f"{registry.host}/ml/linear")
        packed = pack(prepare(home, ["linear@1"]), wanted, print)
        assert (packed.pushed, packed.path) == (f"{registry.host}/ml/linear@{made.digest}", None)
        assert sent == [True] * 5
        sent.clear()
        pack(prepare(home, ["linear@2"]), wanted, print)
        assert sent == [False, False, False, True, True]
        theirs = f"docker://{registry.host}/theirs/linear:1"
        run(program("skopeo"), "copy", "--dest-tls-verify=false", f"oci-archive:{made.path}", theirs)
        for name in (theirs, f"docker://{registry.host}/ml/linear:1"):
            found = json.loads(run(program("skopeo"), "inspect", "--tls-verify=false", name))
            assert found["Digest"] == made.digest


def test_a_base_that_no_registry_gives_is_taken_from_the_engine_that_has_it(tmp_path: Path) -> None:
    docker, shelf = engine(), Shelf(tmp_path)
    name = "127.0.0.1:9/nowhere/python:3.11"  # the port of discarding, where nobody listens
    run(docker, "tag", BASE, name)
    try:
        with open_base(name, this_platform(), shelf, Network()) as base:
            assert "as the engine of this machine has it" in base.note
            assert base.layer(0).stat().st_size > 1 << 20
    finally:
        run(docker, "rmi", name)
    with pytest.raises(RegistryRefused), open_base(name, this_platform(), shelf, Network()):
        pass


def test_docker_loads_it_and_it_answers_locked_in(made: Packed) -> None:
    docker = engine()
    said = run(docker, "load", "--input", str(made.path))
    assert "linear:1" in said
    assert run(docker, "image", "inspect", "--format", "{{.Id}}", "linear:1").strip() == made.image_id
    flags = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    flags += ["--user", "10001:10001", "--memory", "256m", "--publish", "127.0.0.1::8080", "--health-interval", "1s"]
    name = run(docker, "run", "--detach", *flags, "linear:1", "--trusted-network").strip()
    try:
        port = int(run(docker, "port", name, "8080").strip().rpartition(":")[2])
        answer = asked(port, {"inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 1], "data": [3.0]}]})
        assert answer["outputs"][0]["data"] == [6.0]
        assert health(docker, name) == "healthy"
        assert run(docker, "exec", name, "python3", "-c", "import os; print(os.getuid())").strip() == "10001"
        written = subprocess.run(
            [docker, "exec", name, "python3", "-c", "open('/x', 'w')"], capture_output=True, timeout=60
        )
        assert b"Read-only file system" in written.stderr
        shell = subprocess.run([docker, "exec", name, "sh", "-c", "true"], capture_output=True, timeout=60)
        assert shell.returncode != 0
    finally:
        run(docker, "rm", "--force", name)
        run(docker, "rmi", "--force", made.image_id)


def test_the_whole_base_can_be_kept(home: Home, recipe: Recipe, made: Packed, tmp_path: Path) -> None:
    whole = pack(prepare(home, ["linear@1"]), replace(recipe, output=tmp_path / "whole.tar", whole_base=True), print)
    assert whole.path is not None
    index = json.loads((base_layout() / "index.json").read_text())
    base = json.loads((base_layout() / "blobs" / "sha256" / index["manifests"][0]["digest"][7:]).read_text())
    manifest = documents(whole.path)[0]
    assert manifest["layers"][0]["digest"] == base["layers"][0]["digest"]
    assert made.path is not None
    assert manifest["layers"][1:3] == documents(made.path)[0]["layers"][1:3]


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
    return done.stdout


def documents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and config of an archive."""
    with tarfile.open(path) as archive:

        def read(name: str) -> Any:
            return json.loads(archive.extractfile(name).read())  # type: ignore[union-attr]

        manifest = read(f"blobs/sha256/{read('index.json')['manifests'][0]['digest'][7:]}")
        return manifest, read(f"blobs/sha256/{manifest['config']['digest'][7:]}")


def child(shipment: Shipment, recipe: Recipe, folder: Path, *, limit: int = 0, **more: Any) -> list[str]:
    """Make the image in a process of its own; digest and trouble."""
    told = {
        "name": shipment.name,
        "models": [{"name": each.name, "version": each.version, "digest": each.digest} for each in shipment.models],
        "bundles": {digest: str(path) for digest, path in shipment.bundles.items()},
        "plan": json.loads(shipment.plan.to_bytes()),
        "base": recipe.base,
        "cache": str(folder / "cache"),
        "wheels": str(CACHE / "wheels"),
        "output": str(folder / "out.tar"),
        "tag": "linear:1",
        "umask": 0o022,
    }
    variables = {key: value for key, value in more.items() if key.isupper()}
    told |= {key: value for key, value in more.items() if not key.isupper()}

    def held_back() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", MAKER, json.dumps(told)],
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(make(folder / "tmp")), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=held_back if limit else None,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: list[str] = json.loads(done.stdout)
    return answer


def asked(port: int, question: dict[str, Any]) -> Any:
    """The answer, as soon as the container gives one."""
    deadline = time.monotonic() + 60
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", "/v2/models/linear/infer", json.dumps(question))
            response = connection.getresponse()
            raw = response.read()
            if response.status == 200:
                return json.loads(raw)
            assert response.status == 503, raw
        except OSError:
            pass
        finally:
            connection.close()
        assert time.monotonic() < deadline, "it does not answer"
        time.sleep(0.1)


def health(docker: str, name: str) -> str:
    """What Docker makes of the image's own health check, once it has looked."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = run(docker, "inspect", "--format", "{{.State.Health.Status}}", name).strip()
        if state != "starting":
            return state
        time.sleep(0.5)
    return "starting"
