"""Finding an engine and calling it: a program that stands for Docker's client says what the real one said."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from modelyard.core.errors import BuildFailed, InvalidRequest, ModelyardError, NoEngine, NotFound, Timeout
from modelyard.ship.engine import engines
from modelyard.ship.engine.containers import Container, Options
from modelyard.ship.engine.engines import Engine, find_engine

ID = "sha256:" + "ab" * 32
SILENT = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH: nothing is installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def client(folder: Path, name: str, script: str) -> Path:
    """A program of that name; it writes down its words, a line a call."""
    path = folder / name
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {folder}/calls\n{script}\n')
    path.chmod(0o755)
    return path


def answering(folder: Path, script: str = "", name: str = "docker") -> Engine:
    """An engine whose client answers, and then does what the script says."""
    client(folder, name, f'[ "$1" = version ] || [ "$1" = info ] && echo 20.10.24 linux/amd64 && exit 0\n{script}')
    return find_engine(name)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize("name", ["", "docker", "podman"])
def test_nothing_is_installed(programs: Path, name: str) -> None:
    with pytest.raises(NoEngine, match="--format image needs Docker or Podman") as caught:
        find_engine(name, doing="--format image")
    assert (name or "neither docker nor podman") in caught.value.cause
    assert "--format oci" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "cause", "hint"),
    [
        (SILENT, "docker is installed and does not answer: Cannot connect", "start it: "),
        ("dial unix /var/run/docker.sock: connect: permission denied", "may not use the socket", "usermod"),
        (
            "client version 1.50 is too new. Maximum supported API version is 1.41",
            "1.50 is too new",
            "DOCKER_API_VERSION",
        ),
        ("segmentation fault", "does not answer: segmentation fault", "--format oci"),
    ],
)
def test_it_is_installed_and_does_not_answer(programs: Path, said: str, cause: str, hint: str) -> None:
    client(programs, "docker", f"echo '{said}' >&2; exit 1")
    with pytest.raises(NoEngine) as caught:
        find_engine()
    assert cause in caught.value.cause
    assert hint in caught.value.hint


def test_podman_is_taken_where_docker_does_not_answer(programs: Path) -> None:
    client(programs, "docker", f"echo '{SILENT}' >&2; exit 1")
    engine = answering(programs, name="podman")
    assert find_engine() == engine
    assert (engine.name, engine.version, engine.platform) == ("podman", "20.10.24", "linux/amd64")
    with pytest.raises(NoEngine, match="Docker"):
        find_engine("docker")


def test_docker_is_taken_where_both_answer(programs: Path) -> None:
    answering(programs, name="podman")
    answering(programs)
    assert find_engine().name == "docker"
    assert find_engine("podman").name == "podman"


def test_an_engine_of_another_name_is_none(programs: Path) -> None:
    with pytest.raises(NotFound, match="no container engine 'lxc'"):
        find_engine("lxc")


def test_a_client_that_cannot_be_run(programs: Path) -> None:
    (programs / "docker").write_text("#!/nowhere/sh\n")
    (programs / "docker").chmod(0o755)
    with pytest.raises(NoEngine, match="needs Docker or Podman") as caught:
        find_engine()
    assert "cannot be run" in caught.value.cause


def test_a_client_that_never_answers(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = answering(programs, "while :; do :; done")
    with pytest.raises(Timeout, match=r"docker: look at it took longer than 0\.2 s"):
        engine.call("inspect", doing="look at it", limit_s=0.2)


def test_containers_are_locked_in(programs: Path) -> None:
    engine = answering(programs, "echo c0ffee")
    options = Options(mounts={PurePosixPath("/run/keys"): programs}, environ={"A": "b"}, labels={"l": "m"}, cpus=0.5)
    container = engine.run("churn:7", ["--trusted-network"], options)
    assert container.id == "c0ffee"
    words = calls(programs)[-1]
    assert words.startswith("run --detach --pull never --read-only --tmpfs /tmp:rw,noexec,nosuid,nodev,size=64m ")
    for flag in (
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--pids-limit 256",
        "--memory 512m",
        "--cpus 0.5",
        "-p 127.0.0.1::8080",
        f"--mount type=bind,source={programs},target=/run/keys,readonly",
        "--env A=b",
        "--label l=m",
    ):
        assert flag in words
    assert words.endswith("churn:7 --trusted-network")


def test_a_container_that_could_not_be_started_is_removed(programs: Path) -> None:
    engine = answering(programs, '[ "$1" = run ] && echo "bind: address already in use" >&2 && exit 125')
    with pytest.raises(ModelyardError, match="the port is taken"):
        engine.run("churn:7", options=Options(name="mine", ports={8080: 80}))
    assert calls(programs)[-1] == "rm -f -v mine"


@pytest.mark.parametrize("name", ["", "-v", "--privileged", "a b", "A/../b", "x:y:z", "x\ny", "x;y", "$(x)", "é"])
def test_what_is_no_name_of_an_image_reaches_no_client(programs: Path, name: str) -> None:
    engine = answering(programs)
    before = calls(programs)
    for call in (engine.inspect, engine.run, engine.remove_image, lambda each: engine.tag(ID, each), engine.push):
        with pytest.raises(InvalidRequest, match="no name of an image"):
            call(name)
    assert calls(programs) == before


def test_a_build_tells_its_steps_and_gives_the_id(programs: Path) -> None:
    engine = answering(programs, f'printf "Step 1/2 : FROM base\\n#5 [2/2] RUN true\\nchatter\\n"; echo {ID} > "$3"')
    told: list[str] = []
    assert engine.build(programs, "churn:7", told.append) == ID
    assert told == ["Step 1/2 : FROM base", "[2/2] RUN true"]
    assert calls(programs)[-1].endswith(f"--tag churn:7 {programs}")
    engine.build(programs, "", told.append)
    assert "--tag" not in calls(programs)[-1]


def test_a_build_that_fails_shows_its_last_lines(programs: Path) -> None:
    engine = answering(
        programs, 'printf "\\033[91moh no\\033[0m\\nexecutor failed running [x]: exit code: 1" >&2; exit 1'
    )
    with pytest.raises(BuildFailed, match="a step of the Dockerfile failed") as caught:
        engine.build(programs, "churn:7", print)
    assert caught.value.cause == "oh no\nexecutor failed running [x]: exit code: 1"


def test_a_build_that_never_ends_is_ended(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_BUILD_S", 0.3)
    engine = answering(programs, "while :; do :; done")
    with pytest.raises(Timeout):
        engine.build(programs, "churn:7", print)


def image(**more: object) -> str:
    return json.dumps([{"Id": ID, "Size": 7, "Os": "linux", "Architecture": "arm64", **more}])


def test_an_image_is_read_as_docker_and_podman_tell_it(programs: Path) -> None:
    told = image(RepoTags=["churn:7"], Config={"User": "10001", "Labels": {"a": "b"}})
    found = answering(programs, f"echo '{told}'").inspect("churn:7")
    assert (found.id, found.platform, found.size_bytes, found.user) == (ID, "linux/arm64", 7, "10001")
    assert (found.tags, found.labels) == (("churn:7",), {"a": "b"})
    bare = json.dumps([{"Id": ID.removeprefix("sha256:"), "RepoTags": None, "Config": {"Labels": None}}])
    assert answering(programs, f"echo '{bare}'").inspect("churn:7").id == ID


def test_an_archive_is_loaded(programs: Path) -> None:
    script = f'[ "$1" = load ] && echo "Loaded image: churn:7" && exit 0; echo \'{image()}\''
    assert answering(programs, script).load(programs / "churn.tar") == ID
    assert calls(programs)[-1] == "image inspect churn:7"


def test_an_image_that_is_not_there_is_removed_without_a_word(programs: Path) -> None:
    answering(programs, 'echo "Error: No such image: churn:7" >&2; exit 1').remove_image("churn:7")
    assert not find_engine().has("churn:7")


def test_a_container_tells_its_state_and_port(programs: Path) -> None:
    state = {"Status": "exited", "ExitCode": 137, "OOMKilled": True, "Pid": 0, "Health": {"Status": "healthy"}}
    script = f"case $1 in container) echo '{json.dumps(state)}';; port) echo '[::]:80'; echo 127.0.0.1:4711;; esac"
    container = Container("c0ffee", answering(programs, script).call)
    assert container.port() == 4711
    found = container.state()
    assert (found.ended, found.exit_code, found.oom_killed, found.health) == (True, 137, True, "healthy")
    assert container.stop(3) == 137
    assert "stop -t 3 c0ffee" in calls(programs)
