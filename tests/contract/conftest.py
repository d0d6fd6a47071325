"""Object stores that several doors are run on, each started once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests import clouds
from tests.clouds import Cloud


@pytest.fixture(scope="session")
def running() -> Iterator[dict[str, Cloud]]:
    """The object stores of this machine."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(start()) for name, start in clouds.CLOUDS.items()}


@pytest.fixture
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Cloud]:
    """Lets this process find one of them."""

    def enter(name: str) -> Cloud:
        found: Cloud = request.getfixturevalue("running")[name]
        found.enter(monkeypatch)
        return found

    return enter
