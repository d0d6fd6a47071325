"""What engines said when something did not work, recorded, and what a user is told of it."""

from __future__ import annotations

import pytest

from modelyard.core.errors import BuildFailed, Conflict, ModelyardError, NoEngine, NotFound, RegistryRefused, StoreFull
from modelyard.ship.engine.refusals import Failure, clean, last_lines, refusal

LLB = "ERROR: failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to"
STEP = """\
#4 [1/2] FROM docker.io/library/python:3.11-slim
#4 CACHED

#5 [2/2] RUN pip install nothing-like-it
#5 0.227 ERROR: Could not find a version: dial tcp: no such host
#5 ERROR: executor failed running [/bin/sh -c pip install nothing-like-it]: exit code: 1
------
 > [2/2] RUN pip install nothing-like-it:
------
ERROR: failed to solve: executor failed running [/bin/sh -c pip install nothing-like-it]: exit code: 1
"""
RECORDED: list[tuple[str, str, str, type[ModelyardError], str]] = [
    (
        "docker",
        "look at docker",
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        NoEngine,
        "does not answer",
    ),
    (
        "docker",
        "look at docker",
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock:"
        ' Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/version":'
        " dial unix /var/run/docker.sock: connect: permission denied",
        NoEngine,
        "this user may not use the socket",
    ),
    (
        "docker",
        "look at docker",
        "Error response from daemon: client version 1.99 is too new. Maximum supported API version is 1.41",
        NoEngine,
        "client version 1.99 is too new",
    ),
    (
        "docker",
        "start churn:7",
        "docker: Error response from daemon: driver failed programming external connectivity on endpoint x (ebbc):"
        " Error starting userland proxy: listen tcp4 127.0.0.1:5000: bind: address already in use",
        Conflict,
        "the port is taken",
    ),
    (
        "docker",
        "start churn:7",
        "docker: Error response from daemon: driver failed programming external connectivity on endpoint x (ebbc):"
        " Bind for 127.0.0.1:8080 failed: port is already allocated.",
        Conflict,
        "the port is taken",
    ),
    (
        "docker",
        "build an image",
        '#3 ERROR: failed to do request: Head "https://nosuch.invalid/v2/foo/manifests/1": dial tcp: lookup'
        f" nosuch.invalid on 10.0.0.1:53: no such host\n > [internal] load metadata for nosuch.invalid/foo:1:\n{LLB}"
        ' create LLB definition: failed to do request: Head "https://nosuch.invalid/v2/foo/manifests/1": dial tcp:'
        " lookup nosuch.invalid on 10.0.0.1:53: no such host",
        RegistryRefused,
        "nosuch.invalid: nosuch.invalid/foo:1 cannot be pulled: the registry cannot be reached",
    ),
    (
        "docker",
        "build an image",
        f" > [internal] load metadata for 127.0.0.1:5000/foo:1:\n{LLB} create LLB definition:"
        " 127.0.0.1:5000/foo:1: not found",
        RegistryRefused,
        "127.0.0.1:5000: 127.0.0.1:5000/foo:1 cannot be pulled: there is no such image",
    ),
    (
        "docker",
        "build an image",
        "Error response from daemon: pull access denied for secret/base, repository does not exist or may require"
        " 'docker login': denied: requested access to the resource is denied",
        RegistryRefused,
        "secret/base cannot be pulled: who asks may not, or there is no such image",
    ),
    (
        "docker",
        "push registry.example/ml/churn:7",
        "The push refers to repository [registry.example/ml/churn]\nunauthorized: authentication required",
        RegistryRefused,
        "registry.example: registry.example/ml/churn:7 cannot be pushed: who asks may not",
    ),
    (
        "podman",
        "build an image",
        "Error: creating build container: initializing source docker://registry.example/base:1: pinging container"
        ' registry registry.example: Get "https://registry.example/v2/": dial tcp 192.0.2.1:443: i/o timeout',
        RegistryRefused,
        "registry.example: registry.example/base:1 cannot be pulled: the registry cannot be reached",
    ),
    (
        "docker",
        "build an image",
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        BuildFailed,
        "for another architecture than linux/amd64",
    ),
    (
        "docker",
        "build an image",
        '#6 [3/3] RUN ["/bad"]\n#6 0.187 exec /bad: exec format error\n#6 ERROR: executor failed running [/bad]',
        BuildFailed,
        "for another architecture than linux/amd64",
    ),
    (
        "docker",
        "load churn.tar",
        "Error processing tar file(exit status 1): write /usr/lib/x: no space left on device",
        StoreFull,
        "no space left on the disk that holds the images of docker",
    ),
    (
        "docker",
        "look at nosuch:1",
        "Error response from daemon: no such image: nosuch:1",
        NotFound,
        "no image 'nosuch:1'",
    ),
    ("podman", "look at nosuch:1", "Error: nosuch:1: image not known", NotFound, "no image 'nosuch:1'"),
    ("docker", "build an image", STEP, BuildFailed, "a step of the Dockerfile failed"),
    (
        "docker",
        "build an image",
        "Step 2/2 : RUN false\n ---> Running in d50f\nThe command '/bin/sh -c false' returned a non-zero code: 1",
        BuildFailed,
        "a step of the Dockerfile failed",
    ),
    ("docker", "build an image", "ERROR: something nobody foresaw", BuildFailed, "docker could not build an image"),
]


@pytest.mark.parametrize(("engine", "doing", "output", "error", "words"), RECORDED)
def test_each_failure_has_its_error(
    engine: str, doing: str, output: str, error: type[ModelyardError], words: str
) -> None:
    found = refusal(Failure(engine, doing, output, "linux/amd64"))
    assert type(found) is error
    assert words in f"{found.detail} {found.cause}"
    if not words.startswith("docker could not"):
        assert found.hint or found.cause


def test_what_an_engine_does_not_have_says_how_to_see_what_it_has() -> None:
    found = refusal(Failure("docker", "look at nosuch:1", "Error response from daemon: no such image: nosuch:1"))
    assert found.hint.endswith("docker image ls")


def test_a_step_that_failed_is_shown_without_the_chatter_before_it() -> None:
    cause = refusal(Failure("docker", "build an image", STEP)).cause
    assert "Could not find a version" in cause
    assert "CACHED" not in cause


def test_what_is_shown_moves_no_cursor() -> None:
    assert clean("\x1b[91mred\x1b[0m \x1b]0;title\x07done\x00\x08") == "red done"
    assert clean("10 %\r50 %\r100 %\nnext\r\n") == "100 %\nnext\n"
    assert clean("a\u202eb\u2028c") == "abc"


def test_last_lines_are_few_and_short() -> None:
    text = last_lines("\n".join(f"{at} " + "x" * 1000 for at in range(50)), 3)
    assert [line.split()[0] for line in text.splitlines()] == ["47", "48", "49"]
    assert max(map(len, text.splitlines())) == 300


def test_what_buildkit_says_before_it_comes_to_the_point_is_left_out() -> None:
    said = f"{LLB} create LLB definition: 127.0.0.1:5000/foo:1: not found"
    assert refusal(Failure("docker", "build an image", said)).cause == "127.0.0.1:5000/foo:1: not found"
