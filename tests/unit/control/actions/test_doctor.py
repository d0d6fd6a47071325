from __future__ import annotations

import socket
from pathlib import Path

import pytest

from modelyard.control.actions import doctor
from modelyard.control.actions.doctor import examine
from modelyard.control.actions.findings import Finding, State
from modelyard.control.actions.home import open_home
from modelyard.control.actions.publish import publish
from modelyard.core.plan import Plan
from modelyard.core.settings import Settings
from modelyard.guard import authority
from tests.models import linear_bundle
from tests.provider import Provider


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _in(group: str, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.group == group]


def _worst(findings: list[Finding]) -> set[State]:
    return {finding.state for finding in findings}


def test_a_new_installation_is_well_and_nothing_is_made(settings: Settings, free_port: int) -> None:
    findings = list(examine(settings, port=free_port))
    assert State.FAIL not in _worst(findings)
    assert [f.text for f in _in("Models", findings)] == ["none to check"]
    assert not settings.home.exists()


def test_every_version_is_opened_and_asked(settings: Settings, free_port: int) -> None:
    home = open_home(settings)
    for slope in (2.0, 3.0):
        publish(home, linear_bundle("house-price", slope=slope))
    found = _in("Models", list(examine(settings, port=free_port)))
    assert [f.state for f in found] == [State.OK, State.OK]
    assert found[1].text.startswith("house-price@2 is whole and answers its 5 golden rows")


def test_a_damaged_bundle_fails_and_names_the_version(settings: Settings, free_port: int) -> None:
    version = publish(open_home(settings), linear_bundle())
    (blob,) = [path for path in settings.blobs.rglob(f"*{version.digest}*") if path.is_file()]
    raw = bytearray(blob.read_bytes())
    raw[20] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(raw)
    (found,) = _in("Models", list(examine(settings, port=free_port)))
    assert found.state is State.FAIL
    assert version.digest[:12] in found.text
    assert found.fix


def test_a_damaged_database_fails_and_models_are_skipped(settings: Settings, free_port: int) -> None:
    publish(open_home(settings), linear_bundle())
    before = b"no database at all" * 100
    settings.database.write_bytes(before)
    findings = list(examine(settings, port=free_port))
    assert State.FAIL in _worst(_in("Installation", findings))
    assert _worst(_in("Models", findings)) == {State.SKIP}
    assert settings.database.read_bytes() == before


def test_a_home_open_to_others_is_a_warning(settings: Settings, free_port: int) -> None:
    open_home(settings)
    settings.home.chmod(0o755)
    findings = [f for f in examine(settings, port=free_port) if f.state is State.WARN and f.group == "Installation"]
    assert [f.fix for f in findings] == [f"chmod 700 {settings.home}"]


def test_a_home_that_is_a_file_fails(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "home").write_text("")
    findings = list(examine(Settings(home=tmp_path / "home"), port=free_port))
    assert State.FAIL in _worst(_in("Installation", findings))


@pytest.mark.parametrize(("free", "state"), [(10, State.FAIL), (500 << 20, State.WARN), (50 << 30, State.OK)])
def test_room_on_the_disk(
    free: int, state: State, settings: Settings, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    usage = doctor.shutil.disk_usage(Path("/"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=free))
    findings = [f for f in examine(settings, port=free_port) if "free" in f.text and f.group == "Installation"]
    assert [f.state for f in findings] == [state]


def test_a_port_that_somebody_else_has_is_a_warning(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(5)
        found = _in("Serving", list(examine(settings, port=other.getsockname()[1])))
    assert [f.state for f in found] == [State.WARN]
    assert "another program" in found[0].text


def test_plans_of_killed_servers_and_damaged_plans_are_named(settings: Settings, free_port: int) -> None:
    open_home(settings)
    (settings.plans / f"serve-{free_port}.json").write_bytes(Plan(models=()).to_bytes())
    (settings.plans / "serve-x.json").write_bytes(b"{")
    found = _in("Serving", list(examine(settings, port=free_port)))[1:]
    assert [f.state for f in found] == [State.WARN, State.FAIL]
    assert all(f.fix.startswith("rm ") for f in found)


def test_a_server_with_tls_is_known_by_what_it_tells_strangers(settings: Settings, tmp_path: Path) -> None:
    """Its plan is not to be removed, whatever authority its certificate is of."""
    pair = authority.certificate(authority.authority(), ["localhost"])
    (tmp_path / "cert.pem").write_bytes(pair.cert)
    (tmp_path / "key.pem").write_bytes(pair.key)
    open_home(settings)
    with Provider(tls=(tmp_path / "cert.pem", tmp_path / "key.pem")) as server:
        port = int(server.url.rpartition(":")[2])
        (settings.plans / f"serve-{port}.json").write_bytes(Plan(models=()).to_bytes())
        server.pages["/v2"] = (200, {}, b'{"name":"modelyard"}')
        ours = _in("Serving", list(examine(settings, port=port)))
        server.pages["/v2"] = (200, {}, b"{}")  # one that wants a certificate of us does not say more than this one
        unknown = _in("Serving", list(examine(settings, port=port)))
    assert [finding.state for finding in ours] == [State.OK, State.OK]
    assert f"https://127.0.0.1:{port}/docs" in ours[0].text
    assert [finding.state for finding in unknown] == [State.WARN, State.SKIP]
    assert "rm " not in unknown[1].fix


def test_a_missing_library_names_the_extra(settings: Settings, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda name: name != "skl2onnx")
    found = _in("Extras", list(examine(settings, port=free_port)))
    missing = [finding for finding in found if finding.state is not State.OK]
    assert {finding.state for finding in missing} == {State.SKIP}
    assert all("skl2onnx" in finding.text and "modelyard[" in finding.fix for finding in missing)
    assert [finding.text for finding in found if finding.state is State.OK]  # what needs other libraries is there


def test_a_machine_without_the_sandbox_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setattr(doctor.sandbox, "missing", lambda: ("Landlock",))
    (found,) = _in("Sandbox", list(examine(settings, port=free_port)))
    assert found.state is State.WARN
    assert "Landlock" in found.text
