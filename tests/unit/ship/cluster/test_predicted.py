"""Statuses of InferenceServices as KServe writes them, and what they mean."""

from __future__ import annotations

from typing import Any

from modelyard.ship.cluster.predicted import Predicted, canary_number, number


def service(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    meta = {"name": "churn", "generation": 3, "labels": {"modelyard/release": "8"}}
    return {"metadata": meta, "spec": {"predictor": {}, **spec}, "status": status}


def conditions(**states: str) -> list[dict[str, str]]:
    return [{"type": name, "status": state} for name, state in states.items()]


def test_ready_is_what_was_applied_last() -> None:
    ready = conditions(Ready="True", PredictorReady="True", IngressReady="True")
    assert Predicted.of(service({"observedGeneration": 3, "conditions": ready, "url": "http://x"})).done
    assert Predicted.of(service({"observedGeneration": 3, "conditions": ready, "url": "http://x"})).url == "http://x"
    assert not Predicted.of(service({"observedGeneration": 2, "conditions": ready})).done
    assert not Predicted.of(service({})).done
    assert not Predicted.of(service({"observedGeneration": 3, "conditions": conditions(Ready="Unknown")})).done


def test_a_revision_that_is_not_ready_yet_is_not_done_though_the_one_before_answers() -> None:
    component = {
        "latestCreatedRevision": "churn-2",
        "latestReadyRevision": "churn-1",
        "latestRolledoutRevision": "churn-1",
    }
    status = {"observedGeneration": 3, "conditions": conditions(Ready="True"), "components": {"predictor": component}}
    found = Predicted.of(service(status))
    assert not found.done
    assert found.live == "churn-1"
    component["latestReadyRevision"] = "churn-2"
    assert Predicted.of(service(status)).done


def test_a_canary_of_its_own_has_to_be_ready_too() -> None:
    canary = [{"trafficPercent": 20, "predictor": {"name": "canary", "labels": {"modelyard/release": "9"}}}]
    half = conditions(Ready="True", CanaryReady="False")
    item = service({"observedGeneration": 3, "conditions": half}, canary=canary)
    assert not Predicted.of(item).done
    assert (Predicted.of(item).percent, canary_number(item), number(item)) == (20, 9, 8)
    item["status"]["conditions"] = conditions(Ready="True", CanaryReady="True")
    assert Predicted.of(item).done
    assert (canary_number(service({})), number(None)) == (0, 0)


def test_shares_of_knatives_revisions() -> None:
    traffic = [
        {"latestRevision": True, "percent": 20, "revisionName": "churn-2"},
        {"latestRevision": False, "percent": 80, "revisionName": "churn-1"},
    ]
    status = {"observedGeneration": 3, "components": {"predictor": {"traffic": traffic}}}
    assert Predicted.of(service(status, predictor={"canaryTrafficPercent": 20})).percent == 20
    assert Predicted.of(service(status)).percent == 0
    traffic[0]["percent"] = 100
    assert Predicted.of(service(status, predictor={"canaryTrafficPercent": 20})).percent == 0


def test_reasons_are_kserves_own() -> None:
    failure = {"reason": "ModelLoadFailed", "message": "the container\nended", "exitCode": 1}
    status = {
        "observedGeneration": 3,
        "modelStatus": {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": failure},
        "conditions": [
            {"type": "PredictorReady", "status": "False", "message": "Revision failed"},
            {"type": "IngressReady", "status": "False", "message": "Predictor ingress not created"},
            {"type": "Ready", "status": "False", "message": "Revision failed"},
        ],
    }
    found = Predicted.of(service(status))
    assert found.stuck
    assert found.reasons == (
        "ModelLoadFailed: the container ended",
        "PredictorReady: Revision failed",
        "IngressReady: Predictor ingress not created",
    )
    status["observedGeneration"] = 2
    assert not Predicted.of(service(status)).stuck
