"""Bundles travel by a real registry, with a password and TLS; killed on the way, read by other tools, served after."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.control.actions import sign, tls
from modelyard.control.actions.fetch import fetch
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import RegistryRefused
from modelyard.core.manifest import CARD
from modelyard.core.network import Network
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.model.bundle import Bundle, open_bundle, seal
from modelyard.ship.carriers import open_carrier
from modelyard.store import https
from tests.containers import Registry, program
from tests.liar import Asked, Liar, Said
from tests.models import linear_bundle

LINEAR = parse_reference("linear")


def run(*words: str, code: int = 0, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", *words], capture_output=True, text=True, env={**os.environ, **environ}
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as found:
        yield found


@pytest.fixture
def large(home: Home) -> Bundle:
    """A published bundle that takes a while."""
    plain = linear_bundle()
    bundle = seal(plain.manifest, {**plain.files, CARD: os.urandom(24 << 20)})
    publish(home, bundle)
    return bundle


def test_with_a_password_and_a_private_authority(home: Home, tmp_path: Path) -> None:
    publish(home, linear_bundle())
    sign.sign(home, LINEAR)
    made = tls.make(home, ["127.0.0.1"])
    with Registry(user="me", password="word", tls=(made.cert, made.key)) as registry:
        url = f"oci://{registry.host}/ml/linear"
        auth = base64.b64encode(b"me:word").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        known = {
            "MODELYARD_HOME": str(home.settings.home),
            "SSL_CERT_FILE": str(made.ca),
            "DOCKER_CONFIG": str(tmp_path),
        }
        assert "is not one that counts" in run("push", "linear", url, code=1, **{**known, "SSL_CERT_FILE": "/dev/null"})
        nobody = {**known, "DOCKER_CONFIG": str(tmp_path / "nobody")}
        assert f"docker login {registry.host}" in run("push", "linear", url, code=4, **nobody)
        assert "with its signature" in run("push", "linear", url, **known)
        other = str(tmp_path / "other")
        said = run("pull", f"{url}:1", **{**known, "MODELYARD_HOME": other})
        assert "Saved linear@1 (with its signature)." in said
    here, there = (each.catalogue.resolve(LINEAR).digest for each in (home, open_home(Settings(home=Path(other)))))
    assert here == there
    asked = ("predict", "linear", "-i", "feature=3")
    assert (
        run(*asked, MODELYARD_HOME=other).split(",")[0]
        == run(*asked, MODELYARD_HOME=str(home.settings.home)).split(",")[0]
    )


def test_what_is_pulled_as_a_folder_needs_no_database(registry: Registry, tmp_path: Path) -> None:
    """As in an init container: what an image that only serves has no room for is not imported."""
    open_carrier(f"oci://{registry.host}/init/linear:1", Network()).push(linear_bundle())
    blocked = (
        "sys.modules.update(dict.fromkeys(['sqlalchemy', 'alembic', 'cryptography', 'obstore', 'yaml', 'pip', 'onnx']))"
    )
    words = ["pull", f"oci://{registry.host}/init/linear:1", "-o", str(tmp_path / "out"), "--by-digest"]
    code = f"import sys; {blocked}; sys.argv = ['modelyard', *{words!r}]; from modelyard.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": os.environ["PATH"], **_python()}
    )
    assert done.returncode == 0, done.stderr
    assert open_bundle(tmp_path / "out" / linear_bundle().digest).manifest.name == "linear"


def _python() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}


def test_a_killed_push_is_finished_by_the_next(registry: Registry, home: Home, large: Bundle) -> None:
    url = f"oci://{registry.host}/killed/push:1"
    known = {"MODELYARD_HOME": str(home.settings.home)}
    uploads = registry.folder / "kept"
    _killed(
        ["push", "linear", url], lambda: any(path.stat().st_size for path in uploads.rglob("_uploads/*/data")), known
    )
    assert open_carrier(url, Network()).standing() == ""
    run("push", "linear", url, **known)
    assert open_carrier(url, Network()).find().bundle().digest == large.digest


@pytest.mark.parametrize("by_digest", [True, False])
def test_a_killed_pull_is_finished_by_the_next(
    registry: Registry, tmp_path: Path, large: Bundle, by_digest: bool
) -> None:
    url, out = f"oci://{registry.host}/killed/pull:1", tmp_path / "out"
    open_carrier(url, Network()).push(large)
    words = ["pull", url, "-o", str(out), *(["--by-digest"] if by_digest else [])]
    _killed(words, lambda: any(out.glob(".pulling-*/*")), {})
    place = out / large.digest if by_digest else out
    assert not (place / "manifest.json").exists()
    run(*words)
    assert open_bundle(place).digest == large.digest
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def _killed(words: list[str], when: Callable[[], bool], environ: dict[str, str]) -> None:
    """Run it, and kill it as soon as that is so."""
    process = subprocess.Popen(
        [sys.executable, "-m", "modelyard", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environ},
    )
    while process.poll() is None and not when():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL, "it was killed on the way, and had not ended"


def test_a_registry_that_stops_midway_changes_nothing(
    tmp_path: Path, large: Bundle, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives manifests, and breaks every blob off."""
    monkeypatch.setattr(https.time, "sleep", lambda _: None)
    open_carrier(f"oci://{registry.host}/x:1", Network()).push(large)
    card = large.manifest.files[CARD].sha256

    def answers(asked: Asked) -> Said:
        headers, raw = _relayed(registry.host, asked)
        cut = card in asked.path
        return Said(200, {**headers, "Content-Length": str(len(raw))}, [raw[:1000] if cut else raw], broken=cut)

    with Liar(answers) as liar, pytest.raises(RegistryRefused, match="the connection broke"):
        fetch(f"oci://{liar.host}/x:1", tmp_path / "out", Network())
    assert list((tmp_path / "out").iterdir()) == []


def _relayed(host: str, asked: Asked) -> tuple[dict[str, str], bytes]:
    from http.client import HTTPConnection

    link = HTTPConnection(host, timeout=10)
    try:
        link.request("GET", asked.path, headers={"Accept": asked.headers.get("Accept", "*/*")})
        answer = link.getresponse()
        return {"Content-Type": answer.headers["Content-Type"]}, answer.read()
    finally:
        link.close()


def test_skopeo_copies_it_and_it_is_the_same(registry: Registry, tmp_path: Path) -> None:
    address = open_carrier(f"oci://{registry.host}/copy/linear:1", Network()).push(linear_bundle())
    there = f"docker://{registry.host}/copied/linear:1"
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    command = [
        program("skopeo"),
        "copy",
        "--preserve-digests",
        *plain,
        f"docker://{registry.host}/copy/linear:1",
        there,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = open_carrier(f"oci://{registry.host}/copied/linear:1", Network()).find()
    assert found.bundle().digest == linear_bundle().digest
    assert found.address.rpartition("@")[2] == address.rpartition("@")[2]


def test_oras_reads_it_as_a_folder(registry: Registry, tmp_path: Path) -> None:
    open_carrier(f"oci://{registry.host}/oras/linear:1", Network()).push(linear_bundle())
    _oras(f"{registry.host}/oras/linear:1", tmp_path / "out")
    assert open_bundle(tmp_path / "out").digest == linear_bundle().digest


def _oras(target: str, folder: Path) -> None:
    """Another client of artifacts, in a process of its own."""
    code = (
        "import oras.client, sys; client = oras.client.OrasClient(insecure=True); "
        "client.pull(target=sys.argv[1], outdir=sys.argv[2])"
    )
    done = subprocess.run([sys.executable, "-c", code, target, str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
