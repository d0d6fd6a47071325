from __future__ import annotations

from modelyard.client.load.step import Place, Step


def test_clients_share_a_step() -> None:
    step = Step(connections=7, duration_s=1.0, rate=30.0, requests=11)
    parts = list(step.parts(3))
    assert [part.connections for part in parts] == [3, 2, 2]
    assert [part.requests for part in parts] == [4, 4, 3]
    assert [part.rate for part in parts] == [10.0, 10.0, 10.0]
    assert len({part.seed for part in parts}) == 3
    assert [part.phase for part in parts] == [0.0, 1 / 3, 2 / 3]


def test_no_client_is_left_without_a_connection_or_a_request() -> None:
    assert len(list(Step(connections=1, duration_s=1.0).parts(4))) == 1
    assert [part.requests for part in Step(connections=8, duration_s=1.0, requests=2).parts(4)] == [1, 1]


def test_how_long_it_waits_after_its_end() -> None:
    assert Step(connections=1, duration_s=1.0, timeout_s=3.0).patience_s == 3.0
    assert Step(connections=1, duration_s=1.0, timeout_s=3.0, drain_s=0.5).patience_s == 0.5


def test_a_place_in_an_address() -> None:
    assert Place("127.0.0.1", 80).netloc == "127.0.0.1:80"
    assert Place("::1", 80).netloc == "[::1]:80"
