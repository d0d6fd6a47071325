"""Encryption at rest, seen from outside: nothing readable on a disk, nothing lost, nobody refused meanwhile."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from modelyard.control.actions import encrypt
from modelyard.control.actions.home import Home, bytes_at_rest, open_home
from modelyard.control.actions.publish import publish
from modelyard.core.manifest import Lineage
from modelyard.core.settings import Settings
from modelyard.guard.masterkeys import Ring
from modelyard.model.bundle import Bundle, seal
from modelyard.store import volatile
from tests.acceptance.load import Load, wait_until
from tests.acceptance.serving import Served
from tests.models import linear_bundle

SHM = Path("/dev/shm")
pytestmark = pytest.mark.skipif(not volatile.lies_in_memory(SHM), reason="needs a /dev/shm")
PROGRAM = Path(__file__).parent / "sealers.py"
ROW = {"feature": 3}


@pytest.fixture
def memory() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="modelyard-test-", dir=SHM))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def settings(tmp_path: Path, memory: Path) -> Settings:
    return Settings(tmp_path / "home", memory=(memory,))


def marked(mark: str, slope: float = 2.0) -> Bundle:
    """A bundle that says `mark` in its manifest and in its card."""
    bundle = linear_bundle(slope=slope)
    manifest = msgspec.structs.replace(bundle.manifest, lineage=Lineage(notes=(mark,)))
    return seal(manifest, {**bundle.files, "card.md": f"# {mark}\n".encode()})


def hits(needle: bytes, *folders: Path) -> list[str]:
    """Files with these bytes in them, or in their name."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    return [str(path) for path in paths if needle in os.fsencode(path) or (path.is_file() and needle in _raw(path))]


def _raw(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # it went away just now
        return b""


def modelyard(settings: Settings, *words: str, **environ: str) -> str:
    told = {"MODELYARD_HOME": str(settings.home), "MODELYARD_MEMORY": str(settings.memory[0]), **environ}
    command = [sys.executable, "-m", "modelyard", *words]
    done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.row("CRY-01")
def test_a_canary_is_on_no_disk_while_it_is_served(
    settings: Settings, tmp_path: Path, memory: Path, record_property: Callable[[str, object], None]
) -> None:
    canary = f"canary-{secrets.token_hex(16)}"
    needle, temp = canary.encode(), tmp_path / "temp"
    temp.mkdir()
    told = {"MODELYARD_MEMORY": str(memory), "TMPDIR": str(temp)}
    assert "on" in modelyard(settings, "encrypt", "on", "--json", TMPDIR=str(temp))
    exported = tmp_path / "exported"
    exported.mkdir()
    marked(canary).write(exported)
    modelyard(settings, "import", str(exported), TMPDIR=str(temp))
    with (
        Served(settings.home, "--workers", "2", **told) as server,
        closing(sqlite3.connect(settings.database)) as reader,
    ):
        reader.execute("BEGIN")  # as long as somebody reads, what is written stays in the database's log
        reader.execute("SELECT * FROM models").fetchall()
        assert server.post("/predict", ROW) == (200, {"prediction": [6.0]})
        publish(open_home(settings), marked(canary, slope=7.0))
        wait_until(lambda: server.post("/predict", ROW) == (200, {"prediction": [21.0]}))
        assert hits(needle, settings.home, temp) == []
        searched = [path for folder in (settings.home, temp) for path in folder.rglob("*") if path.is_file()]
        assert {".db", ".db-wal"} <= {"".join(path.suffixes) for path in searched}
        assert hits(needle, memory), "the canary can be seen where it may be"
    assert hits(needle, settings.home, temp, memory) == [], "and it is gone with the server"
    encrypt.turn_off(open_home(settings))
    assert hits(needle, settings.home), "it can be seen on a disk, when it is there"
    record_property("number", f"0 hits in {len(searched)} files: home, database and its log, temporary files")


def test_turned_on_under_a_server_that_goes_on_answering(settings: Settings, memory: Path) -> None:
    canary = f"canary-{secrets.token_hex(16)}"
    publish(open_home(settings), marked(canary, slope=1.0))
    with Served(settings.home, "--workers", "2", MODELYARD_MEMORY=str(memory)) as server, Load(server) as load:
        assert hits(canary.encode(), settings.home)
        home = open_home(settings)
        encrypt.turn_on(home)
        assert hits(canary.encode(), settings.home) == []
        encrypt.rotate(home)
        before = {worker.pid for worker in server.workers()}
        server.workers()[0].kill()
        wait_until(lambda: len({worker.pid for worker in server.workers()} - before) == 1)
        publish(home, marked(canary, slope=2.0))
        wait_until(lambda: 2.0 in load.answers)
        assert hits(canary.encode(), settings.home) == []
        encrypt.turn_off(home)
        publish(home, marked(canary, slope=3.0))
        wait_until(lambda: 3.0 in load.answers)
    assert load.refused == 0
    assert len(load.failed) <= 4, "at most what was asked of the worker that was killed"
    assert set(load.answers) == {1.0, 2.0, 3.0}  # `Load` checks that version n answers with slope n


def test_workers_are_not_told_the_master_key(settings: Settings, memory: Path) -> None:
    key = str(Ring({}).with_new()).strip()
    told = {"MODELYARD_MEMORY": str(memory), "MODELYARD_MASTER_KEY": key}
    modelyard(settings, "encrypt", "on", "--key", "environment", **told)
    publish(open_home(Settings(settings.home, memory=settings.memory, master_key=key)), linear_bundle())
    with Served(settings.home, **told) as server:
        assert server.post("/predict", ROW)[0] == 200
        for worker in server.workers():
            assert key not in str(worker.environ())
            assert "MODELYARD_HOME" in worker.environ(), "one can see what it was told"
            assert not any("cryptography" in one.path for one in worker.memory_maps())
    assert hits(key.encode(), settings.home) == []


@pytest.mark.row("CRY-01")
@pytest.mark.parametrize(
    ("kills", "seed"), [(12, 1), pytest.param(300, 2, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_kill_9_loses_nothing(
    settings: Settings, memory: Path, kills: int, seed: int, record_property: Callable[[str, object], None]
) -> None:
    home = open_home(settings)
    bundles = [marked(f"canary {at}", slope=2.0 + at) for at in range(4)]
    for bundle in bundles:
        publish(home, bundle)
    words = [str(settings.home), str(memory), str(kills), str(seed)]
    done = subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    *wrong, steps = done.stdout.splitlines()
    assert wrong == []
    assert int(steps.removeprefix("steps ")) > 0, "the kills fell before the work began"
    encrypt.turn_on(home)
    assert hits(b"canary", settings.home) == []
    assert_tidy(home)
    encrypt.turn_off(home)
    assert [home.artifacts.read(bundle.digest) for bundle in bundles] == bundles
    record_property("number", f"0 versions lost and 0 hits after {kills} kills -9 while keys change")


def assert_tidy(home: Home) -> None:
    """Everything that is encrypted can be opened, and nothing else is there once what died is swept away."""
    home.artifacts.collect(home.catalogue.digests, grace_s=-1)
    blobs = bytes_at_rest(home.settings)
    kept = {blob.digest for blob in blobs.places.sealed.list()}
    assert kept == {envelope.sealed for _, envelope, _ in blobs.places.envelopes.list()}
    assert list(blobs.places.plain.list()) == []
    for blob in blobs.list():
        assert len(blobs.get(blob.digest)) == blob.size_bytes


def test_rotation_under_publishers(settings: Settings) -> None:
    home = open_home(settings)
    encrypt.turn_on(home)
    published: list[str] = []
    errors: list[str] = []

    def work(mark: int) -> None:
        try:
            for turn in range(3):
                mine = open_home(settings)
                version = publish(mine, marked(f"canary {mark} {turn}"))
                assert mine.artifacts.read(version.digest).digest == version.digest
                published.append(version.digest)
        except Exception as exc:
            errors.append(repr(exc))

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(2)]
    for thread in threads:
        thread.start()
    rotations = 0
    while rotations < 3 or any(thread.is_alive() for thread in threads):
        encrypt.rotate(home, forget=rotations % 2 == 1)
        rotations += 1
    for thread in threads:
        thread.join()
    assert errors == []
    encrypt.rotate(home, forget=True)
    assert len(encrypt.look(home).masters) == 1
    assert len(published) == 6
    for digest in published:
        assert home.artifacts.read(digest).digest == digest
    assert hits(b"canary", settings.home) == []
