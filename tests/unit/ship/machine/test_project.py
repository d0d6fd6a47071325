"""A deployment's folder: whose its files are, what is there whole or not at all, what is remembered."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from modelyard.core.errors import Busy, InvalidRequest, NotFound, Unavailable
from modelyard.ship.machine.options import Options
from modelyard.ship.machine.project import Kept, Project, places, secret_files

USER = f"{os.geteuid() or 10001}:{os.getegid() or 10001}"
ACCESS = {"keys.json": b"{}", "peppers/pepper-2": b"22", "peppers/pepper-1": b"11", "metrics.key": b"my_live_x"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "target" / "shop", USER)
    with made.held():
        pass
    return made


def test_files_belong_to_whom_containers_run_as_and_nobody_else_reads_them(project: Project) -> None:
    assert project.write({"access/peppers/pepper-1": b"11", "access/keys.json": b"{}"}) == [
        "access/peppers/pepper-1",
        "access/keys.json",
    ]
    for name in ("access", "access/peppers", "access/keys.json", "access/peppers/pepper-1"):
        stat = (project.folder / name).stat()
        assert stat.st_mode & 0o077 == 0
        assert f"{stat.st_uid}:{stat.st_gid}" == USER
    assert project.folder.stat().st_uid == os.geteuid()


def test_what_is_there_already_is_not_written_again(project: Project) -> None:
    project.write({"a": b"1", "b": b"1"})
    before = (project.folder / "a").stat().st_ino
    assert project.write({"a": b"1", "b": b"2"}) == ["b"]
    assert (project.folder / "a").stat().st_ino == before


def test_files_of_ours_that_are_not_wanted_are_removed_and_others_stay(project: Project) -> None:
    project.write({"access/keys.json": b"", "access/peppers/pepper-1": b"", "prometheus/data/x": b"", "notes": b""})
    wanted = {"access/keys.json": b""}
    assert project.strangers(wanted) == ["access/peppers/pepper-1"]
    project.tidy(wanted)
    assert project.strangers(wanted) == []
    assert (project.read("prometheus/data/x"), project.read("notes")) == (b"", b"")


def test_it_remembers_and_says_when_it_cannot(project: Project, tmp_path: Path) -> None:
    assert project.kept is None
    project.keep(Kept(place=2, applying=7))
    assert Project(project.folder, USER).kept == Kept(place=2, applying=7)
    assert places(tmp_path / "target") == {"shop": 2}
    (project.folder / "state.json").write_text("{")
    with pytest.raises(Unavailable, match=r"state.json of shop") as caught:
        assert project.kept
    assert "deploy again" in caught.value.hint
    assert places(tmp_path / "target") == {}


def test_a_password_is_made_once(project: Project) -> None:
    assert project.password()
    first = project.read("grafana/secrets/admin-password")
    assert first
    assert len(first) >= 24
    assert not project.password()
    assert project.read("grafana/secrets/admin-password") == first


def test_two_do_not_change_it_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.ship.machine.project._WAIT_S", 0.05)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with project.held():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert inside.wait(10)
        with pytest.raises(Busy, match="shop"), project.held():
            pass
    finally:
        leave.set()
        thread.join()


def test_projects_of_two_homes_have_two_names(tmp_path: Path) -> None:
    names = {Project(tmp_path / each / "shop", USER).name for each in ("one", "two")}
    assert len(names) == 2
    assert all(name.startswith("shop-") for name in names)


def test_it_is_removed_whole_and_once(project: Project) -> None:
    project.write({"access/keys.json": b""})
    assert project.remove()
    assert not project.folder.exists()
    assert not project.remove()


def test_the_key_table_comes_last_and_the_scrapers_key_is_not_for_the_server() -> None:
    assert list(secret_files(Options(), ACCESS)) == [
        "access/peppers/pepper-1",
        "access/peppers/pepper-2",
        "access/keys.json",
    ]
    found = secret_files(Options(monitoring=True), ACCESS)
    assert found["prometheus/secrets/metrics.key"] == b"my_live_x"
    assert secret_files(Options(auth="none", monitoring=True), ACCESS) == {}


def test_without_a_key_nothing_is_scraped() -> None:
    with pytest.raises(InvalidRequest, match="no key to read metrics"):
        secret_files(Options(monitoring=True), {"keys.json": b"{}"})


@pytest.mark.parametrize("name", ["../keys.json", "/etc/passwd", "peppers/../../x"])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(InvalidRequest, match="no name of a file"):
        secret_files(Options(), {name: b""})


def test_certificates_are_copied_and_missing_ones_are_named(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"cert")
    options = Options(tls_cert=str(cert), tls_key=str(key), host="api.example.com", monitoring=True)
    with pytest.raises(NotFound, match=r"key\.pem"):
        secret_files(options, ACCESS)
    key.write_bytes(b"key")
    found = secret_files(options, ACCESS)
    assert (found["tls/cert.pem"], found["tls/key.pem"], found["prometheus/secrets/ca.pem"]) == (
        b"cert",
        b"key",
        b"cert",
    )


@pytest.mark.parametrize("name", ["access", "grafana"])
def test_a_link_in_a_folders_place_leads_nobody_elsewhere(project: Project, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = elsewhere.stat()
    (project.folder / name).symlink_to(elsewhere)
    with pytest.raises(Unavailable, match="is a link"):
        project.write({f"{name}/secrets/keys.json": b"{}"})
    with pytest.raises(Unavailable, match="is a link"):
        project.room(name)
    assert list(elsewhere.iterdir()) == []
    assert (elsewhere.stat().st_uid, elsewhere.stat().st_mode) == (before.st_uid, before.st_mode)
