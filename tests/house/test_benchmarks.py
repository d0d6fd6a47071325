"""The benchmark's own arithmetic, and the page that it writes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import access, anatomy, document, report, results
from benchmarks.desk import Desk
from benchmarks.items import TITLES, Item, agrees
from benchmarks.pair import Setting, _turns
from benchmarks.results import Pair, Side, Slice
from benchmarks.schedule import PEERS, Choice, contests
from benchmarks.systems.modelyard import FIELDS, V2, against
from benchmarks.targets import TARGETS, measured, verdict
from modelyard.serve.replica import Replica
from modelyard.watch.counters import Page
from tests.models import linear_bundle

VERDICTS = {"reached", "between", "below", "not measured"}


def test_the_page_holds_every_target_and_a_verdict_that_its_figure_earns() -> None:
    tables = _tables(document.block(document.PAGE.read_text(encoding="utf-8")))
    if not tables:
        pytest.skip("no figures yet")
    head, *rows = tables[0]
    assert head == ["figure", "at least", "aim", "measured", "verdict"]
    assert [row[0] for row in rows] == [target.what for target in TARGETS]
    for row in rows:
        assert row[4] in VERDICTS
        least, aim, median = (_first_number(cell) for cell in row[1:4])
        best = median >= aim * 0.99 if row[1][0] != "≤" else median <= aim * 1.01
        worst = median < least * 1.01 if row[1][0] != "≤" else median > least * 0.99
        assert best or row[4] != "reached"
        assert worst or row[4] != "below"


def test_figures_go_to_json_and_come_back(tmp_path: Path) -> None:
    (tmp_path / "latest.txt").write_text("")
    results.keep(tmp_path, _pair("w1", "FastAPI", ours=100, peer=2))
    results.keep(tmp_path, _pair("w1", "FastAPI", ours=120, peer=2, number=1))
    results.keep(tmp_path, _pair("w1", "LitServe", ours=120, peer=2))
    results.keep(tmp_path, failed=("w1", "KServe", "500"))
    kept = results.load(tmp_path)
    assert [(one.peer.system, one.round) for one in kept.pairs] == [("FastAPI", 0), ("FastAPI", 1), ("LitServe", 0)]
    assert kept.pairs[0] == _pair("w1", "FastAPI", ours=100, peer=2)
    assert kept.failed == {"w1": {"KServe": "500"}}


def test_a_new_first_round_takes_the_place_of_the_old_figures_of_that_pair_only(tmp_path: Path) -> None:
    for number in range(2):
        results.keep(tmp_path, _pair("w1", "FastAPI", ours=100, peer=2, number=number))
    results.keep(tmp_path, _pair("w1", "LitServe", ours=100, peer=2))
    results.keep(tmp_path, failed=("w1", "FastAPI", "500"))
    results.keep(tmp_path, _pair("w1", "FastAPI", ours=50, peer=2))
    kept = results.load(tmp_path)
    assert sorted((one.peer.system, one.ours.slices[64][0].rate) for one in kept.pairs) == [
        ("FastAPI", 50),
        ("LitServe", 100),
    ]
    assert kept.failed == {"w1": {}}


def test_ratios_are_of_turns_that_touch() -> None:
    pair = Pair("w1", 0, _side("Modelyard", [100, 300]), _side("FastAPI", [10, 20]))
    assert pair.ratios(64) == [10, 15]
    assert pair.ratios(16) == []


def test_turns_are_abba_and_the_other_way_round_in_odd_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def ask(server: object, *_: object) -> Slice:
        asked.append(server)
        return _slice(len(asked))

    monkeypatch.setattr("benchmarks.pair._slice", ask)
    for number, order in ((0, "ABBA"), (1, "BAAB")):
        asked.clear()
        ours, theirs = _turns("A", "B", 64, Setting(None, Path(), 1, number))  # type: ignore[arg-type]
        assert "".join(map(str, asked)) == order
        assert ours == tuple(_slice(at + 1) for at in range(4) if order[at] == "A")
        assert theirs == tuple(_slice(at + 1) for at in range(4) if order[at] == "B")


@pytest.mark.parametrize(
    ("ours", "expected"), [(1199, "below"), (1200, "between"), (2599, "between"), (2600, "reached")]
)
def test_a_ratio_is_judged_by_its_median(ours: int, expected: str) -> None:
    target = next(target for target in TARGETS if target.what == "w1, c64, against BentoML")
    pairs = [_pair("w1", "BentoML", ours=ours, peer=20, number=number) for number in (0, 1)]
    found = measured(target, [*pairs, _pair("w1", "BentoML", ours=20, peer=20, number=2)])
    assert found is not None
    assert (found.least, verdict(target, found)) == (1, expected)


def test_against_several_peers_the_worst_counts() -> None:
    target = next(target for target in TARGETS if len(target.peers) == 2)
    pairs = [_pair("w6", "grpcio", ours=300, peer=100), _pair("w6", "grpcio aio", ours=300, peer=200)]
    found = measured(target, pairs)
    assert found is not None
    assert found.middle == 1.5


def test_amounts_are_ours_alone_and_small_is_good() -> None:
    target = next(target for target in TARGETS if target.figure == "start")
    found = measured(target, [_pair("w1", "FastAPI", ours=1, peer=1), _pair("w2", "FastAPI", ours=1, peer=1)])
    assert found is not None
    assert (found.middle, verdict(target, found)) == (0.5, "between")
    assert verdict(target, None) == "not measured"


def test_every_target_names_systems_that_take_its_item() -> None:
    takes = {(name, peer.name) for peer in PEERS.values() for name in peer.exchanges} | {("workers", "Modelyard")}
    for target in TARGETS:
        assert target.figure != "ratio" or {(target.part, peer) for peer in target.peers} <= takes, target.what


def test_the_first_round_is_everybody_and_later_ones_who_has_a_target_turned_round() -> None:
    items = {name: Item(name, Path(), None, (), (), ()) for name in TITLES}
    choice = Choice(tuple(TITLES), tuple(PEERS), None, 3)
    first, second, third = (list(contests(choice, items, number)) for number in range(3))
    assert {one.peer.name for one in first} == {peer.name for peer in PEERS.values()}
    assert [one.peer.name for one in first if one.part == "w6"] == [
        "MLServer in process",
        "MLServer as it is",
        "KServe",
        "grpcio",
        "grpcio aio",
    ]
    assert second == third[::-1]
    assert "Ray Serve" not in {one.peer.name for one in second}


def test_equal_contracts_meet() -> None:
    assert against(PEERS["fastapi"], "w1") is FIELDS
    assert against(PEERS["mlserver"], "w1") is V2
    assert against(PEERS["fastapi"], "w3") is V2


def test_the_report_has_every_item_and_marks_what_the_client_bounded() -> None:
    pairs = [_pair("w1", "FastAPI", ours=30000, peer=500), _pair("w2", "FastAPI", ours=9, peer=3, share=0.95)]
    text = report.whole(results.Kept("2 cores", tuple(pairs), {"w2": {"KServe": "500"}, "w3": {"Ray Serve": "x"}}))
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### Targets",
        *(f"### {name}: {TITLES[name]}" for name in ("w1", "w2", "w3")),
    ]
    w1, w2 = _tables(text)[1:3]
    assert [row[0] for row in w1] == ["system", "Modelyard", "FastAPI"]
    assert w1[1][1] == "30000"
    assert w1[2][-1] == "60.0x [60.0..60.0]"
    assert w2[2][-1] == "3.00x* [3.00..3.00]"
    assert "not timed: KServe." in text
    assert "not timed: Ray Serve." in text


def test_the_steps_of_w1_and_what_is_not_in_them_add_up_to_what_was_measured(tmp_path: Path) -> None:
    pairs = [_pair("w1", "its own constant answer", ours=60, peer=100)]  # 10 µs a request, both
    steps = [{"system": "Modelyard", "together": 64, "us": {"read": 1.5, "asked": 2.0}, "constant_us": 4.0}]
    results.keep(tmp_path, pairs[0])
    (tmp_path / results.STEPS).write_text(json.dumps(steps), "utf-8")
    text = report.whole(results.load(tmp_path))
    head, *rows = _tables(text[text.index("### Where") :])[0]
    assert head == ["µs a request", "Modelyard, c64"]
    assert [row[1] for row in rows] == ["1.50", "2.00", "3.50", "6.00", "0.50", "10.0"]


def test_a_request_is_taken_apart_step_by_step(tmp_path: Path) -> None:
    page = Page(tmp_path, 0)
    replica = Replica(linear_bundle(), "w1", 1, page.counter("w1@1"))
    body = b'{"feature": 3}'
    request = b"POST /models/w1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    found = anatomy.dissect(Desk(replica, page, tmp_path), request, together=2, turns=3)
    assert list(found.us) == [step.name for step in anatomy.STEPS]
    assert sum(found.us.values()) > found.constant_us > 0
    assert replica.waiting == 0


def test_every_caller_is_answered_and_timed(tmp_path: Path) -> None:
    page = Page(tmp_path, 0)
    desk = Desk(Replica(linear_bundle(), "w1", 1, page.counter("w1@1")), page, tmp_path)
    body = b'{"feature": 3}'
    request = b"POST /models/w1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    us = access.measure(desk, [request], together=2, turns=3)
    assert list(us) == ["nobody asked", "a key", "a token"]
    assert min(us.values()) > 0
    costs = [{"heads": "the same head", "together": 2, "us": {"nobody asked": 5.0, "a key": 5.25}}]
    results.keep(tmp_path, _pair("w1", "FastAPI", ours=60, peer=100))
    (tmp_path / results.COSTS).write_text(json.dumps(costs), "utf-8")
    text = report.whole(results.load(tmp_path))
    assert _tables(text[text.index("### What it costs") :])[0][1:] == [["nobody asked", "5.00"], ["a key", "+0.25"]]


def test_the_page_keeps_what_stands_around_the_block() -> None:
    page = f"before\n\n{document.BEGIN}\n\nold\n\n{document.END}\n\nafter\n"
    written = document.with_block(page, "| new |\n")
    assert written == page.replace("old", "| new |")
    assert document.with_block(written, "| new |") == written
    with pytest.raises(AssertionError):
        document.with_block("no markers", "x")


def test_answers_agree_exactly_but_for_scores() -> None:
    assert agrees([0, 1], [0, 1])
    assert not agrees([0], [1])
    assert not agrees([0], [0, 0])
    assert agrees([0.1000001], [0.1])
    assert not agrees([0.11], [0.1])
    assert not agrees(["a"], ["b"])


def _slice(rate: float, share: float = 0.0) -> Slice:
    return Slice(int(rate), 1.0, 1.0, 2.0, 0, client_share=share, server_us=10.0)


def _side(system: str, rates: Sequence[float], share: float = 0.0) -> Side:
    return Side(system, 0.5, 40.0, 60.0, 2, {64: tuple(_slice(rate, share) for rate in rates)})


def _pair(item: str, peer_name: str, *, ours: float, peer: float, number: int = 0, share: float = 0.0) -> Pair:
    return Pair(item, number, _side("Modelyard", [ours] * 2, share), _side(peer_name, [peer] * 2))


def _tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table as rows of cells, the head first, without its rule."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append([])
        inside = True
        if not re.fullmatch(r"[|\- ]+", line):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def _first_number(cell: str) -> float:
    found = re.search(r"\d+(?:\.\d+)?", cell)
    return float(found.group()) if found else float("nan")
