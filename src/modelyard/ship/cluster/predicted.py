"""What KServe says of an InferenceService: how far it is, who gets which share, why it gets no further. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.ship.cluster.pods import RELEASE, Object

#: States of a model's way up in which waiting does not help.
_STUCK = frozenset({"InvalidSpec", "BlockedByFailedLoad"})
_SHOWN = 400


@dataclass(frozen=True)
class Predicted:
    """How it is.

    Parameters
    ----------
    seen : bool
        Whether KServe has looked at what was applied last.
    ready : bool
        Whether it says that all of it answers.
    stuck : bool
        Whether it says that it gets no further.
    reasons : tuple of str
        Why it is not ready, in its words.
    url : str
        Where it answers.
    percent : int
        Share of the canary; 0 for none.
    newest, newest_ready, live : str
        With Knative: the newest revision, the newest that is ready, and the newest that got all requests.
    """

    seen: bool
    ready: bool
    stuck: bool
    reasons: tuple[str, ...]
    url: str
    percent: int
    newest: str
    newest_ready: str
    live: str

    @classmethod
    def of(cls, item: Object) -> Predicted:
        """As the object's status has it; what nobody has looked at yet says nothing."""
        status, meta = item.get("status") or {}, item["metadata"]
        model = status.get("modelStatus") or {}
        component = (status.get("components") or {}).get("predictor") or {}
        seen = int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
        conditions = {each["type"]: each for each in status.get("conditions") or []}
        wanted = ["Ready", *(["CanaryReady"] if (item["spec"].get("canary")) else [])]
        return cls(
            seen=seen,
            ready=seen and all(conditions.get(name, {}).get("status") == "True" for name in wanted),
            stuck=seen and model.get("transitionStatus") in _STUCK,
            reasons=tuple(dict.fromkeys(_reasons(model, conditions))),
            url=str(status.get("url") or ""),
            percent=_percent(item, component),
            newest=str(component.get("latestCreatedRevision") or ""),
            newest_ready=str(component.get("latestReadyRevision") or ""),
            live=str(component.get("latestRolledoutRevision") or ""),
        )

    @property
    def done(self) -> bool:
        """Whether what was applied last answers."""
        return self.ready and self.newest == self.newest_ready


def number(item: Object | None) -> int:
    """Of the release that an object is labelled with; 0 where it does not say."""
    text = str(((item or {}).get("metadata") or {}).get("labels", {}).get(RELEASE, ""))
    return int(text) if text.isdigit() else 0


def canary_number(item: Object) -> int:
    """Of the release of the canary that runs as a predictor of its own; 0 for none."""
    canaries = item["spec"].get("canary") or []
    text = str((canaries[0]["predictor"].get("labels") or {}).get(RELEASE, "")) if canaries else ""
    return int(text) if text.isdigit() else 0


def _percent(item: Object, component: Object) -> int:
    canaries = item["spec"].get("canary") or []
    if canaries:
        return int(canaries[0]["trafficPercent"])
    shares = [each for each in component.get("traffic") or [] if each.get("latestRevision")]
    share = int(shares[0].get("percent") or 0) if shares else 100
    return share if 0 < share < 100 and "canaryTrafficPercent" in item["spec"]["predictor"] else 0


def _reasons(model: Object, conditions: dict[str, Object]) -> Iterator[str]:
    failure = model.get("lastFailureInfo") or {}
    if failure:
        yield _line(": ".join(filter(None, (failure.get("reason"), failure.get("message")))))
    for name, each in conditions.items():
        if each.get("status") == "False" and each.get("message") and name != "Ready":
            yield _line(f"{name}: {each['message']}")


def _line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
