"""One OpenMP thread: histogram boosting's own threads spin against everything else that runs on the machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def _single_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield
