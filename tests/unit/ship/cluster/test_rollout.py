from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from modelyard.core.errors import RolloutFailed
from modelyard.ship.cluster import rollout
from modelyard.ship.cluster.kinds import Kind
from modelyard.ship.cluster.namespace import Namespace
from modelyard.ship.cluster.rollout import Progress, state
from modelyard.ship.targets import State


def deployment(*, replicas: int = 2, generation: int = 1, **status: Any) -> dict[str, Any]:
    counts = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2, "observedGeneration": 1}
    return {
        "metadata": {"name": "churn", "labels": {}, "generation": generation},
        "spec": {"replicas": replicas},
        "status": counts | status,
    }


COUNTED = ("replicas", "updatedReplicas", "availableReplicas", "readyReplicas")
STUCK = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]


@pytest.mark.parametrize(
    ("item", "done", "word"),
    [
        (deployment(), True, State.RUNNING),
        (deployment(generation=2), False, State.DEGRADED),  # nobody has seen what was applied
        (deployment(updatedReplicas=1), False, State.STARTING),
        (deployment(replicas=3), False, State.STARTING),  # the third is not there yet
        (deployment(availableReplicas=1, readyReplicas=1), False, State.STARTING),
        (deployment(availableReplicas=1), False, State.DEGRADED),  # ready, not for long enough
        (deployment(updatedReplicas=0, availableReplicas=0, readyReplicas=0), False, State.STARTING),
        (deployment(updatedReplicas=1, conditions=STUCK), False, State.DEGRADED),
        (deployment(availableReplicas=0, readyReplicas=0, conditions=STUCK), False, State.FAILED),
        (deployment(generation=2, conditions=STUCK), False, State.DEGRADED),  # stuck was what was before
    ],
)
def test_how_far_it_is(item: dict[str, Any], done: bool, word: State) -> None:
    progress = Progress.of(item)
    assert progress.done is done
    assert state(progress, [], item) is word


class Shown:
    """A namespace in which a Deployment is one thing after the other."""

    name, target = "ml", "prod"

    def __init__(self, *states: dict[str, Any]) -> None:
        self._states = list(states)

    def get(self, kind: Kind, name: str) -> dict[str, Any]:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]

    def all(self, kind: Kind, selector: Mapping[str, str], fields: str = "") -> list[dict[str, Any]]:
        return []


def test_what_a_cluster_says_of_the_release_before_is_no_failure_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going back from a roll-out that was stuck, its condition stays until a replica has changed."""
    monkeypatch.setattr(rollout, "_LOOK_S", 0.01)
    stuck = deployment(replicas=1, updatedReplicas=1, availableReplicas=1, conditions=STUCK)
    done = deployment(replicas=1) | {"status": {**dict.fromkeys(COUNTED, 1), "observedGeneration": 1}}
    rollout.wait(cast(Namespace, Shown(stuck, stuck, done)), "churn", 30.0, lambda line: None)
    monkeypatch.setattr(rollout, "_SETTLED_S", 0.05)
    with pytest.raises(RolloutFailed, match="made no progress"):
        rollout.wait(cast(Namespace, Shown(stuck)), "churn", 30.0, lambda line: None)


def test_pods_of_before_do_not_make_a_roll_out_complete() -> None:
    assert not Progress.of(
        deployment(replicas=1, updatedReplicas=1, availableReplicas=1)
    ).done  # an old one is still there


def test_a_new_deployment_says_nothing_yet() -> None:
    item = {"metadata": {"name": "churn", "labels": {}, "generation": 1}, "spec": {}}
    assert Progress.of(item) == Progress(ready=0, updated=0, wanted=1, done=False, stuck=False)
