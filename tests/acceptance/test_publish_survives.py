"""What was acknowledged survives kill -9, a full disk and fifty publishers at once, and is never half there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import ModelyardError, StoreFull, Unavailable
from modelyard.core.manifest import MODEL
from modelyard.core.plan import Plan
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.model.bundle import open_bundle
from tests.models import linear_bundle

PROGRAM = Path(__file__).parent / "publishers.py"


def publishers(settings: Settings, tmp_path: Path, *words: object) -> list[list[Any]]:
    source = tmp_path / "source"
    source.mkdir()
    linear_bundle().write(source)
    done = subprocess.run(
        [sys.executable, PROGRAM, settings.home, source, *map(str, words)], capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stderr
    said: list[list[Any]] = json.loads(done.stdout)
    return said


def assert_whole(home: Home) -> None:
    """No version without its bytes, no alias without its version, no plan that points at nothing, no garbage."""
    for model in home.catalogue.models():
        for version in model.versions:
            assert home.artifacts.read(version.digest).digest == version.digest
        for alias in model.aliases:
            assert model.resolve(parse_reference(f"{model.name}@{alias}"))
    for path in home.settings.plans.glob("*.json"):
        for planned in Plan.from_bytes(path.read_bytes()).models:
            for one in planned.versions:
                open_bundle(Path(one.path), digest=one.digest)
    home.artifacts.collect(home.catalogue.digests, grace_s=0)
    kept = {path.name for path in (home.settings.blobs / "sha256").iterdir()}
    needed = {
        name
        for digest in home.catalogue.digests()
        for name in (digest, *(entry.sha256 for entry in home.artifacts.read(digest).manifest.files.values()))
    }
    assert kept == needed
    assert list((home.settings.blobs / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("kills", "seed"), [(40, 1), pytest.param(500, 2, marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_kill_9_loses_and_tears_nothing(settings: Settings, tmp_path: Path, kills: int, seed: int) -> None:
    said = publishers(settings, tmp_path, "kill", kills, seed)
    home = open_home(settings)
    present = {version.version: version.digest for version in home.catalogue.versions("linear")}
    published = {words[1]: words[2] for words in said if words[0] == "published"}
    touched = {words[1] for words in said if words[0] == "removing"}
    removed = {words[1] for words in said if words[0] == "removed"}
    assert [words for words in said if words[0] == "failed"] == []
    assert len(published) >= kills, "the kills fell before the work began"
    assert len(published) == sum(words[0] == "published" for words in said), "a number was given twice"
    lost = {number for number in published.keys() - touched if present.get(number) != published[number]}
    assert lost == set()
    assert removed & present.keys() == set(), "a removed version came back"
    plans.refresh(home)
    assert_whole(home)


@pytest.mark.parametrize("rounds", [15, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_kill_9_while_the_home_is_made(settings: Settings, tmp_path: Path, rounds: int) -> None:
    said = publishers(settings, tmp_path, "create", rounds, 3)
    for turn, words in said:
        home = open_home(Settings(home=Path(f"{settings.home}-{turn}")))
        names = [model.name for model in home.catalogue.models()]
        assert names == ["linear"] if words else names in ([], ["linear"])
        assert_whole(home)
        assert publish(home, linear_bundle()).version == 1


def test_fifty_processes_publish_one_name_into_a_home_that_none_of_them_finds(
    settings: Settings, tmp_path: Path
) -> None:
    said = publishers(settings, tmp_path, "race", 50, 0)
    assert [words for words in said if words[0] != "published"] == []
    assert sorted(words[1] for words in said) == list(range(1, 51))
    home = open_home(settings)
    assert {words[1]: words[2] for words in said} == {
        one.version: one.digest for one in home.catalogue.versions("linear")
    }
    assert_whole(home)


class Broken:
    """The Nth call of any of these system calls fails, and all after it: the disk stays as it is until mended."""

    NAMES = ("open", "fsync", "replace", "rename")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, number: int) -> None:
        self.left, self.number = at, number
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name), name))

    @property
    def broke(self) -> bool:
        return self.left <= 0

    def _wrap(self, call: Any, name: str) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            reads = name == "open" and not args[1] & os.O_CREAT
            self.left -= not reads
            if self.left <= 0 and not reads:
                raise OSError(self.number, os.strerror(self.number))
            return call(*args, **kwargs)

        return wrapped


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, StoreFull), (errno.EIO, Unavailable)])
def test_publish_fails_cleanly_wherever_the_disk_fails(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[ModelyardError]
) -> None:
    publish(home, linear_bundle())
    path = plans.save(home, "server", plans.render(home))
    for at in range(1, 100):
        bundle = linear_bundle(slope=3.0 + at)
        with monkeypatch.context() as patch:
            disk = Broken(patch, at, number)
            try:
                version = publish(home, bundle)
            except ModelyardError as exc:
                version = None
                error = exc
        newest = home.catalogue.model("linear").latest
        if newest.digest == bundle.digest and version is None:  # the version stands, only the servers were not told
            assert isinstance(error, Unavailable)
            assert error.detail == f"{newest} is saved, but running servers could not be told"
        elif version is None:
            assert isinstance(error, expected)
        plans.refresh(home)
        assert_whole(home)
        assert Plan.from_bytes(path.read_bytes()).models[0].default == newest.version
        if version is not None and not disk.broke:
            break
    assert at > 15, "the disk never failed where it hurts"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or sys.platform != "linux":
        pytest.skip("needs Linux's mount")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk_refuses_and_heals(small_disk: Path) -> None:
    home = open_home(Settings(home=small_disk / "home"))
    first = publish(home, linear_bundle())
    plans.save(home, "server", plans.render(home))
    filler = small_disk / "filler"
    outcomes: set[str] = set()
    for room in range(0, 96, 4):
        free = shutil.disk_usage(small_disk).free
        filler.write_bytes(bytes(max(0, free - room * 1024)))
        bundle = linear_bundle(slope=3.0 + room)
        try:
            outcomes.add(f"published {publish(home, bundle).fresh}")
            known = True
        except StoreFull:
            outcomes.add("full")
            known = False
        except Unavailable as exc:
            outcomes.add(exc.detail)
            known = "is saved" in exc.detail
        assert home.artifacts.read(first.digest).files[MODEL], "the old version must go on working"
        assert home.catalogue.resolve(parse_reference("linear@1")).digest == first.digest
        assert [model.name for model in open_home(home.settings).catalogue.models()] == ["linear"]
        filler.unlink()
        assert (home.catalogue.model("linear").latest.digest == bundle.digest) is known
        plans.refresh(home)
        assert_whole(home)
    assert {"full", "published True"} <= outcomes
    assert all("is saved" in outcome for outcome in outcomes - {"full", "published True"})


def test_a_home_is_not_half_made_on_a_full_disk(small_disk: Path) -> None:
    settings = Settings(home=small_disk / "home")
    filler = small_disk / "filler"
    refused = 0
    for room in range(0, 200, 12):
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - room * 1024)))
        try:
            open_home(settings)
        except StoreFull:
            refused += 1
            assert not settings.database.exists()
        filler.unlink()
    assert refused > 1
    assert open_home(settings).catalogue.models() == []
