"""What targets write for a cluster, judged by policies of others; see tests/policies.py for what is not asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.policies import SKIPPED, findings, rendered


@pytest.mark.long
def test_there_is_nothing_to_find_beside_what_is_meant_to_be(tmp_path: Path) -> None:
    files = list(rendered(tmp_path))
    kinds = {path.relative_to(tmp_path).parts[0].partition("-")[0] for path in files}
    assert kinds == {"kubernetes", "helm", "kserve"}
    passed, failed = findings(tmp_path)
    assert failed == []
    assert passed > 500
    bad = tmp_path / "bad"
    bad.mkdir()
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: x, image: x}]}\n"
    (bad / "pod.yaml").write_text(pod)
    assert len(findings(bad)[1]) > 10  # it does look
    assert all(len(reason) > 40 for reason in SKIPPED.values())
