"""What a context says to whoever builds it."""

from __future__ import annotations

import re

import pytest

from modelyard.ship import layout
from modelyard.ship.image.contextguide import IGNORE, Guide, readme


def guide(*models: str) -> Guide:
    label = ", ".join(f"{name}@1" for name in models) or "no model"
    return Guide(
        tag="shop:7",
        label=label,
        models=models,
        base="python:3.11-slim",
        python="3.11",
        platform="linux/amd64",
        packages=19,
    )


@pytest.mark.parametrize("models", [(), ("churn",), ("churn", "price")])
def test_it_says_how_to_build_run_push_and_verify(models: tuple[str, ...]) -> None:
    text = readme(guide(*models))
    for words in (
        "docker build --network none --platform linux/amd64 -t shop:7 .",
        "docker push REGISTRY/shop:7",
        "--read-only --tmpfs /tmp",
        "--cap-drop ALL --security-opt no-new-privileges",
        f"look:{layout.SBOM}",
        "--mount=type=secret,id=pip_conf,target=/etc/pip.conf",
        "19 packages",
    ):
        assert words in text
    assert (f":{layout.MOUNTED}:ro" in text) == (not models)
    assert text.count("```") % 2 == 0
    assert max(map(len, text.splitlines())) <= 122  # a line of a table cannot be broken
    assert not re.search(r"\{|\}", text)


def test_docker_is_given_nothing_but_what_is_copied() -> None:
    lines = IGNORE.splitlines()
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines[1:]} == {
        *("requirements.txt", "wheelhouse", "slim.py", "models", "plan.json", "sbom.json")
    }
