"""Publish: the version stands before anyone is told of it."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import InvalidName, StoreFull, Unavailable
from modelyard.core.plan import Plan
from modelyard.store import files
from tests.models import linear_bundle


def test_a_version_with_aliases_and_its_bytes(home: Home) -> None:
    bundle = linear_bundle()
    version = publish(home, bundle, ["production"])
    assert (str(version), version.digest, version.fresh) == ("linear@1", bundle.digest, True)
    assert home.artifacts.read(version.digest) == bundle
    assert home.catalogue.model("linear").aliases == {"production": 1}


def test_again_is_the_same_version(home: Home) -> None:
    publish(home, linear_bundle())
    again = publish(home, linear_bundle(), ["canary"])
    assert (again.version, again.fresh) == (1, False)
    assert home.catalogue.model("linear").aliases == {"canary": 1}


def test_a_bad_name_publishes_nothing(home: Home) -> None:
    with pytest.raises(InvalidName) as caught:
        publish(home, linear_bundle("linear_regression"))
    assert caught.value.hint == "use 'linear-regression'"
    assert home.catalogue.models() == []


def test_a_running_server_learns_of_it(home: Home) -> None:
    publish(home, linear_bundle())
    path = plans.save(home, "server", plans.render(home))
    publish(home, linear_bundle(slope=3.0))
    assert Plan.from_bytes(path.read_bytes()).models[0].default == 2


def test_the_last_of_many_publishers_leaves_a_plan_that_knows_them_all(home: Home) -> None:
    publish(home, linear_bundle())
    path = plans.save(home, "server", plans.render(home))
    bundles = [linear_bundle(slope=3.0 + at) for at in range(16)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda bundle: publish(home, bundle), bundles))
    assert Plan.from_bytes(path.read_bytes()).models[0].default == 17


def test_when_the_servers_cannot_be_told_the_error_says_that_the_version_stands(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, linear_bundle())
    path = plans.save(home, "server", plans.render(home))
    old = path.read_bytes()

    def full(*args: object) -> None:
        raise StoreFull(where="plans")

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", full)
        with pytest.raises(Unavailable, match="linear@2 is saved, but running servers could not be told") as caught:
            publish(home, linear_bundle(slope=3.0))
    assert caught.value.cause == "no space left on the disk that holds plans"
    assert path.read_bytes() == old
    assert publish(home, linear_bundle(slope=3.0)).version == 2, "the hint: run the same command again"
    assert Plan.from_bytes(path.read_bytes()).models[0].default == 2


def test_a_full_disk_publishes_nothing_and_breaks_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = publish(home, linear_bundle())

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFull):
            publish(home, linear_bundle(slope=3.0))
    assert [version.digest for version in home.catalogue.versions("linear")] == [first.digest]
    assert home.artifacts.read(first.digest)
