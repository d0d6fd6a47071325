"""Encryption turned on and off under models that are there, and keys rotated: recorded, finished when interrupted."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.control.actions import encrypt as act
from modelyard.control.actions import plans
from modelyard.control.actions.home import Home, bytes_at_rest, open_home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import Busy, Conflict, CorruptBundle, StoreDamaged, Unavailable
from modelyard.core.plan import Plan
from modelyard.core.settings import Settings
from modelyard.guard.encrypt import Kept, read, save
from modelyard.guard.masterkeys import Ring
from modelyard.model.bundle import open_bundle
from modelyard.store import files, volatile
from modelyard.store.sealed import SealedBlobs
from tests.models import linear_bundle

SHM = Path("/dev/shm")
pytestmark = pytest.mark.skipif(not volatile.lies_in_memory(SHM), reason="needs a /dev/shm")
BUNDLE = linear_bundle()
NEEDLE = BUNDLE.files["model.onnx"][:64]


@pytest.fixture
def memory() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="modelyard-test-", dir=SHM))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def home(tmp_path: Path, memory: Path) -> Home:
    """A home with a model in it."""
    home = open_home(Settings(tmp_path / "home", memory=(memory,)))
    publish(home, BUNDLE)
    return home


def holding(folder: Path, needle: bytes = NEEDLE) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


def done(home: Home) -> list[str]:
    with home.database.read() as connection:
        rows = connection.execute("SELECT action FROM audit WHERE action LIKE 'encryption.%' ORDER BY sequence")
        return [str(action) for (action,) in rows]


def master(home: Home) -> Path:
    return home.settings.secrets / "master.key"


def test_on_and_off_again(home: Home, memory: Path) -> None:
    path = plans.save(home, "server", plans.render(home))
    assert holding(home.settings.blobs)
    assert holding(home.settings.bundles)
    steps: list[tuple[float, float]] = []
    assert act.turn_on(home, on_step=lambda *step: steps.append(step)) == len(BUNDLE.files) + 1
    assert steps[-1] == (4, 4)
    assert holding(home.settings.home) == []
    assert home.artifacts.read(BUNDLE.digest) == BUNDLE
    (planned,) = Plan.from_bytes(path.read_bytes()).models
    assert Path(planned.versions[0].path).is_relative_to(memory)
    assert open_bundle(Path(planned.versions[0].path), digest=BUNDLE.digest) == BUNDLE
    state = act.look(home)
    assert (state.encryption.on, state.encrypted, state.plain) == (True, 4, 0)
    assert list(state.masters.values()) == [4]

    assert act.turn_off(home) == 4
    assert holding(home.settings.blobs)
    assert list(memory.iterdir()) == []
    (planned,) = Plan.from_bytes(path.read_bytes()).models
    assert open_bundle(Path(planned.versions[0].path), digest=BUNDLE.digest) == BUNDLE
    assert master(home).exists(), "older backups need it"
    assert done(home) == ["encryption.on", "encryption.off"]


def test_what_comes_later_never_lies_there_in_the_clear(home: Home) -> None:
    act.turn_on(home)
    bundle = linear_bundle("later", slope=5.0)
    publish(open_home(home.settings), bundle)
    assert holding(home.settings.home, bundle.files["model.onnx"][:200]) == []
    assert home.artifacts.read(bundle.digest) == bundle, "a home that was open before reads it too"


def test_bundles_leave_memory_with_the_last_plan_that_names_them(home: Home, memory: Path) -> None:
    act.turn_on(home)
    one, two = (plans.save(home, name, plans.render(home)) for name in ("one", "two"))
    one.unlink()
    plans.tidy(home)
    assert holding(memory)
    two.unlink()
    plans.tidy(home)
    assert holding(memory) == []


def test_what_writers_that_died_left_goes_too(home: Home) -> None:
    (home.settings.blobs / "tmp" / "half").write_bytes(NEEDLE)
    (home.settings.bundles / ".building" / "half").mkdir()
    (home.settings.bundles / ".building" / "half" / "model.onnx").write_bytes(NEEDLE)
    act.turn_on(home)
    assert holding(home.settings.home) == []


def test_again_is_nothing(home: Home) -> None:
    act.turn_on(home)
    assert act.turn_on(home) == 0
    act.turn_off(home)
    assert act.turn_off(home) == 0
    assert done(home) == ["encryption.on", "encryption.off"]


def test_what_was_interrupted_goes_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: float, total: float) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        act.turn_on(home, on_step=stop)
    state = act.look(home)
    assert (state.encryption.on, state.encrypted, state.plain) == (True, 2, 2)
    assert home.artifacts.read(BUNDLE.digest) == BUNDLE
    assert act.turn_on(home) == 2
    assert done(home) == ["encryption.on"]
    with pytest.raises(KeyboardInterrupt):
        act.turn_off(home, on_step=stop)
    assert home.artifacts.read(BUNDLE.digest) == BUNDLE
    assert act.turn_off(home) == 2
    assert home.artifacts.read(BUNDLE.digest) == BUNDLE


def test_no_memory_is_said_before_anything_is_changed(home: Home) -> None:
    elsewhere = open_home(dataclasses.replace(home.settings, memory=(Path("/proc"),)))
    with pytest.raises(Unavailable, match="no folder in memory"):
        act.turn_on(elsewhere)
    assert not act.look(home).encryption.on
    assert done(home) == []


def test_rotation_writes_no_blob_again(home: Home) -> None:
    act.turn_on(home)
    before = {path: path.stat().st_mtime_ns for path in (home.settings.sealed / "sha256").iterdir()}
    old = act.look(home)
    rotated = act.rotate(home)
    assert (rotated.blobs, rotated.forgotten) == (4, ())
    assert {path: path.stat().st_mtime_ns for path in (home.settings.sealed / "sha256").iterdir()} == before
    (was,) = old.masters
    assert act.look(home).masters == {rotated.current: 4, was: 0}
    again = act.rotate(home, forget=True)
    assert set(again.forgotten) == {rotated.current, was}
    assert act.look(home).masters == {again.current: 4}
    assert home.artifacts.read(BUNDLE.digest) == BUNDLE
    assert done(home) == ["encryption.on", "encryption.rotate", "encryption.rotate", "encryption.forget"]


def test_a_rotation_that_stopped_is_finished_with_the_same_key(home: Home) -> None:
    act.turn_on(home)

    def stop(done: float, total: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        act.rotate(home, on_step=stop)
    new = next(iter(act.look(home).masters))
    assert sorted(act.look(home).masters.values()) == [1, 3]
    assert home.artifacts.read(BUNDLE.digest) == BUNDLE
    assert act.rotate(home).current == new


def test_keys_of_the_environment(home: Home) -> None:
    with pytest.raises(Unavailable, match="MODELYARD_MASTER_KEY is not set"):
        act.turn_on(home, Kept.ENVIRONMENT)
    ring = Ring({}).with_new()
    told = open_home(dataclasses.replace(home.settings, master_key=str(ring)))
    act.turn_on(told, Kept.ENVIRONMENT)
    assert not master(home).exists()
    with pytest.raises(Unavailable, match="MODELYARD_MASTER_KEY is not set"):
        home.artifacts.read(BUNDLE.digest)
    with pytest.raises(Conflict, match="kept outside"):
        act.rotate(told)
    both = ring.with_new()
    rotated = act.rotate(open_home(dataclasses.replace(home.settings, master_key=str(both))))
    assert (rotated.current, rotated.blobs) == (both.current, 4)
    newest = open_home(dataclasses.replace(home.settings, master_key=str(both.newest())))
    assert newest.artifacts.read(BUNDLE.digest) == BUNDLE


def test_a_lost_key_is_said_and_not_made_again(home: Home) -> None:
    act.turn_on(home)
    kept = master(home).read_bytes()
    master(home).unlink()
    state = act.look(home)
    assert "cannot be read" in state.trouble
    assert len(state.missing) == 1
    assert act.turn_on(home) == 0, "it is on, and nothing was to be done"
    for attempt in (act.turn_off, act.rotate):
        with pytest.raises(Unavailable, match="cannot be read"):
            attempt(home)
    assert not master(home).exists()
    with pytest.raises(Unavailable):
        open_home(home.settings).artifacts.read(BUNDLE.digest)
    master(home).write_bytes(kept)
    master(home).chmod(0o600)
    assert home.artifacts.read(BUNDLE.digest) == BUNDLE


def test_keys_do_not_move_while_they_are_needed(home: Home) -> None:
    act.turn_on(home)
    told = open_home(dataclasses.replace(home.settings, master_key=str(Ring({}).with_new())))
    with pytest.raises(Conflict, match="kept elsewhere: file"):
        act.turn_on(told, Kept.ENVIRONMENT)
    act.turn_off(home)
    assert act.turn_on(told, Kept.ENVIRONMENT) == 4


def test_a_damaged_blob_is_named_and_the_rest_is_encrypted(home: Home) -> None:
    victim = home.settings.blobs / "sha256" / BUNDLE.manifest.files["card.md"].sha256
    victim.write_bytes(b"damaged")
    with pytest.raises(StoreDamaged, match=victim.name[:12]):
        act.turn_on(home)
    assert (act.look(home).encrypted, act.look(home).plain) == (3, 1)
    with pytest.raises(CorruptBundle):
        home.artifacts.read(BUNDLE.digest)


def test_of_a_damaged_bundle_nothing_is_laid_out(home: Home, memory: Path) -> None:
    act.turn_on(home)
    for path in list((home.settings.sealed / "sha256").iterdir()):
        raw = path.read_bytes()
        path.write_bytes(raw[:-1])
        with pytest.raises(CorruptBundle):
            plans.render(home)
        path.write_bytes(raw)
        assert holding(home.settings.home) == []
        assert [left for left in memory.rglob("*") if left.is_file()] == []
    assert plans.render(home).models


def test_nothing_to_rotate(home: Home) -> None:
    with pytest.raises(Conflict, match="nothing is encrypted"):
        act.rotate(home)


def test_garbage_is_collected_and_damaged_envelopes_stop_nobody(home: Home) -> None:
    from modelyard.control.actions.remove import remove
    from modelyard.core.reference import Reference

    act.turn_on(home)
    publish(home, linear_bundle("other", slope=9.0))
    blobs = bytes_at_rest(home.settings)
    assert len(list(blobs.list())) == 8
    remove(home, Reference("other"))
    home.artifacts.collect(home.catalogue.digests, grace_s=-1)
    assert len(list(blobs.list())) == 4
    next(home.settings.envelopes.iterdir()).write_bytes(b"damaged")
    publish(home, linear_bundle("third", slope=11.0))
    remove(home, Reference("third"))


def test_memory_stays_when_it_is_turned_on_again_before_it_is_off(home: Home, memory: Path) -> None:
    """Servers look there already."""
    act.turn_on(home)
    (laid_out,) = memory.iterdir()
    (laid_out / "needed").touch()
    wanted = read(home.settings.encryption)
    act.turn_off(home, on_step=lambda done, total: save(home.settings.encryption, wanted))
    assert (laid_out / "needed").exists()
    act.turn_off(home)
    assert not laid_out.exists()


def test_nobody_says_otherwise_while_a_blob_is_converted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    convert, refused = SealedBlobs.convert, []

    def watched(blobs: SealedBlobs, digest: str) -> None:
        with pytest.raises(Busy), files.locked(home.settings.bundles, wait_s=0):
            pass
        refused.append(digest)
        convert(blobs, digest)

    monkeypatch.setattr(SealedBlobs, "convert", watched)
    assert act.turn_on(home) == len(refused) == len(BUNDLE.files) + 1
    assert holding(home.settings.home) == []
