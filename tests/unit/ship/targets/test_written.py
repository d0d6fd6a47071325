"""What targets of clusters write, whole, beside what was written before: a change of it is seen by who reviews it.

``MODELYARD_WRITE_EXPECTED=1`` writes the files again.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.core.release import Release
from modelyard.ship.deployment import Wanted
from modelyard.ship.targets import open_target
from tests.placed import IMAGE, release

EXPECTED = Path(__file__).with_name("expected")
_REPOSITORY = IMAGE.partition("/churn@")[0]
_PLACE = {"namespace": "ml", "repository": _REPOSITORY, "pull_secret": "pull"}
_WAY_IN = {"host": "api.example.com", "route": "gateway", "gateway": "infra/web", "grpc_host": "grpc.example.com"}
_SCALED = release(3, replicas=2, max_replicas=6, workers=2, memory_mib=768)
CASES: dict[str, tuple[str, dict[str, str], Release, Release | None]] = {
    "kubernetes": ("kubernetes", {**_PLACE, **_WAY_IN, "monitoring": "true"}, _SCALED, None),
    "kubernetes-canary": ("kubernetes", {**_PLACE, **_WAY_IN}, release(3), release(4, canary=10)),
    "helm": ("helm", {**_PLACE, **_WAY_IN, "monitoring": "true"}, _SCALED, None),
    "kserve": ("kserve", _PLACE, release(3), release(4, canary=10)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_written_so(name: str, tmp_path: Path) -> None:
    kind, settings, live, canary = CASES[name]
    files = open_target(kind, settings, tmp_path).files(Wanted(release=live, canary=canary))
    text = "".join(f"##### {path}\n{content.rstrip()}\n" for path, content in files.items())
    expected = EXPECTED / f"{name}.txt"
    if os.environ.get("MODELYARD_WRITE_EXPECTED"):
        expected.write_text(text)
    assert text == expected.read_text()
