from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.ship.cluster.namespace import Namespace
from modelyard.ship.cluster.reasons import hopeless, reasons, refused


class Silent:
    """A cluster whose events and logs nobody may read."""

    target = "prod"
    address = "https://nowhere"

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        return 403, json.dumps({"message": "forbidden"})


SPACE = Namespace(Silent(), "ml")


def pod(state: dict[str, Any], restarts: int = 0, last: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    container = {"name": "modelyard", "ready": False, "restartCount": restarts, "state": state, "lastState": last or {}}
    return {"metadata": {"name": "churn-1"}, "status": {"containerStatuses": [container], **status}}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return pod({"waiting": {"reason": reason, "message": message}}, **more)


ENDED = {"terminated": {"exitCode": 3, "reason": "Error"}}
FETCH = {
    "name": "fetch-models",
    "restartCount": 2,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": ENDED,
}


@pytest.mark.parametrize(
    ("item", "words", "lost"),
    [
        (waiting("ErrImagePull", "unauthorized"), "cannot be pulled: unauthorized", False),
        (waiting("ImagePullBackOff", "not found"), "cannot be pulled: not found", True),
        (waiting("InvalidImageName", "bad"), "cannot be pulled: bad", True),
        (waiting("CrashLoopBackOff", restarts=1, last=ENDED), "ended (code 3), 1 times: it wrote nothing", False),
        (waiting("CrashLoopBackOff", restarts=2, last=ENDED), "ended (code 3), 2 times", True),
        (waiting("CreateContainerConfigError", 'secret "s3" not found'), 'secret "s3" not found', True),
        (waiting("PodInitializing", initContainerStatuses=[FETCH]), "fetch-models of pod churn-1 ended (code 3)", True),
        (pod(ENDED), "modelyard of pod churn-1 ended (code 3)", False),
        (pod({"running": {}}), "runs and is not ready: it wrote nothing", False),
        (pod({}, reason="Evicted", message="low on memory"), "was moved away: low on memory", False),
    ],
)
def test_what_is_the_matter_is_told_without_events_and_logs_too(item: dict[str, Any], words: str, lost: bool) -> None:
    found = reasons(SPACE, {"metadata": {"name": "churn"}}, [item])
    assert any(words in line for line in found), found
    assert hopeless(item) is lost


def test_what_only_takes_its_time_is_nothing_to_tell() -> None:
    done = {"name": "fetch-models", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}
    for item in (waiting("ContainerCreating"), waiting("PodInitializing", initContainerStatuses=[done])):
        assert reasons(SPACE, {}, [item]) == ()
        assert not hopeless(item)


def test_the_same_reason_of_many_pods_is_told_once() -> None:
    text = 'pods "churn-1" is forbidden: exceeded quota: compute'
    conditions = [
        {"type": "ReplicaFailure", "status": "True", "message": text},
        {"type": "Progressing", "status": "False", "message": "timed out"},
    ]
    item = {"status": {"conditions": conditions}}
    assert refused(item) == text
    found = reasons(SPACE, item, [waiting("ErrImagePull", "no")] * 3)
    assert len(found) == 3
    assert found[1].startswith("the namespace's quota is used up")
