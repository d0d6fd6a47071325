from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from modelyard.client.load.clients import Clients
from modelyard.client.load.step import Step
from modelyard.core.errors import Internal
from tests.unit.client.load.stand import Stand, http, question


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "modelyard.client.load.worker" in child.cmdline()}


def test_two_processes_share_the_load_step_after_step() -> None:
    with Stand(lambda _: [http()]) as stand, Clients(stand.place, [question(stand.place)], 2) as clients:
        assert len(_children()) == 2
        told: list[tuple[float, float]] = []
        tally = clients.run(Step(connections=3, duration_s=0.5), lambda done, total: told.append((done, total)))
        assert stand.connections == 3
        assert tally.failed == 0
        assert tally.answered > 50
        assert told[-1] == (0.5, 0.5)
        assert 0 < tally.busy <= 1.1
        bounded = clients.run(Step(connections=4, duration_s=5.0, requests=11))
        assert (bounded.asked, bounded.answered, bounded.failed) == (11, 11, 0)
        opened = clients.run(Step(connections=4, duration_s=0.3, rate=200.0))
        assert opened.asked == pytest.approx(60, rel=0.5)
    assert _children() == set()


def test_one_connection_is_one_clients() -> None:
    with Stand(lambda _: [http()]) as stand, Clients(stand.place, [question(stand.place)], 3) as clients:
        assert clients.run(Step(connections=1, duration_s=5.0, requests=5)).answered == 5
        assert stand.connections == 1


def test_wrong_answers_come_home() -> None:
    with Stand(lambda _: [http(b"no")]) as stand, Clients(stand.place, [question(stand.place)]) as clients:
        tally = clients.run(Step(connections=1, duration_s=5.0, requests=3))
        assert tally.wrong == 3
        assert tally.samples[0].body == "no"


def test_a_client_that_dies_is_an_error() -> None:
    with Stand(lambda _: [5.0]) as stand, Clients(stand.place, [question(stand.place)]) as clients:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(Internal, match="our side") as told:
            clients.run(Step(connections=1, duration_s=1.0))
        assert "client process ended" in told.value.cause


def test_clients_end_with_their_parent() -> None:
    """As when it was killed: nobody closes anything, the pipes just end."""
    with Stand(lambda _: [0.01, http()]) as stand:
        clients = Clients(stand.place, [question(stand.place)], 1)
        (pid,) = _children()
        process = clients._processes[0]
        assert process.stdin is not None
        process.stdin.close()
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() == 0
        assert pid not in _children()
        clients.close()
