from __future__ import annotations

import json

import pytest

from modelyard.core.errors import Conflict, Denied, InvalidRequest, ModelyardError, TargetUnavailable
from modelyard.ship.cluster.answers import Asked, refusal
from modelyard.ship.cluster.kinds import KINDS

ASKED = Asked("prod", "ml", "patch", KINDS["Deployment"], "churn")
_MAY_NOT = (
    'deployments.apps "churn" is forbidden: User "ci" cannot patch resource "deployments" in API group "apps" in the '
    'namespace "ml"'
)
_QUOTA = 'pods "churn-1" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=10, limited: pods=10'
_POLICY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
_GONE = 'namespaces "ml" is forbidden: unable to create new content in namespace ml because it is being terminated'
_SELECTOR = 'Deployment.apps "churn" is invalid: spec.selector: Invalid value: {}: field is immutable'


@pytest.mark.parametrize(
    ("status", "message", "error", "words", "next_command"),
    [
        (401, "Unauthorized", Denied, "does not take our credentials", "modelyard target check prod"),
        (403, _MAY_NOT, Denied, "ci may not patch deployments.apps in namespace 'ml'", "can-i patch deployments.apps"),
        (403, _QUOTA, Denied, "quota of namespace 'ml' is used up", "kubectl describe quota"),
        (403, _POLICY, Denied, "the cluster refuses deployment/churn", ""),
        (403, _GONE, TargetUnavailable, "namespace 'ml' is being removed", "kubectl create namespace ml"),
        (404, 'namespaces "ml" not found', TargetUnavailable, "no namespace 'ml'", "kubectl create namespace ml"),
        (404, "could not find the requested resource", TargetUnavailable, "has no Deployment", "kubectl api-resources"),
        (409, "the object has been modified", Conflict, "is being changed by somebody else", "try again"),
        (410, "too old resource version", TargetUnavailable, "answers 410", ""),
        (422, _SELECTOR, Conflict, "was made by something else", "another name"),
        (422, "spec.replicas: Invalid value", InvalidRequest, "does not accept deployment/churn", ""),
        (400, "strict decoding error", InvalidRequest, "does not accept", ""),
        (429, "too many requests", TargetUnavailable, "answers 429", ""),
        (503, "etcd leader changed", TargetUnavailable, "answers 503", ""),
        (502, "<html>Bad Gateway</html>", TargetUnavailable, "answers 502", ""),
    ],
)
def test_every_refusal_is_told_in_our_words(
    status: int, message: str, error: type[ModelyardError], words: str, next_command: str
) -> None:
    text = message if message.startswith("<") else json.dumps({"kind": "Status", "message": message})
    found = refusal(ASKED, status, text)
    assert type(found) is error
    assert words in found.detail
    assert next_command in found.hint
    assert found.cause or found.hint


def test_a_conflict_says_whose_fields_they_are_and_what_to_do() -> None:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-edit" using apps/v1',
            "field": ".spec.replicas",
        },
        {"reason": "FieldManagerConflict", "message": 'conflict with "helm"', "field": ".spec.minReadySeconds"},
    ]
    said = {"message": "Apply failed with 2 conflicts", "details": {"causes": causes}}
    found = refusal(ASKED, 409, json.dumps(said))
    assert isinstance(found, Conflict)
    assert (
        found.detail
        == "deployment/churn is managed by helm and kubectl-edit too: .spec.replicas, .spec.minReadySeconds"
    )
    assert "take_over=true" in found.hint


@pytest.mark.parametrize("text", ["", "null", "[]", '{"message": null}', '{"details": []}', "x" * 10_000])
def test_any_answer_makes_a_sentence(text: str) -> None:
    for status in (400, 401, 403, 404, 409, 422, 500):
        assert 0 < len(str(refusal(ASKED, status, text))) < 1000
