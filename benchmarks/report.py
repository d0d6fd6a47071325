"""The tables, in Markdown: medians of rates, and ratios of turns that touch, where both met the same machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from benchmarks.environments import PINS, versions
from benchmarks.items import TITLES
from benchmarks.results import CLIENT_BOUND, WORKERS, Costs, Kept, Pair, Side, Slice, Spread, Steps, spread
from benchmarks.targets import TARGETS, Target, measured, verdict

Row = Sequence[str]
BOUND = "*"
CONSTANT = "its own constant answer"
_LEGEND = (
    "Rates are medians, in requests a second. A ratio is ours over theirs within one turn: the median, and in brackets"
    " the least and the greatest of all turns. cN: N connections (gRPC: N calls in flight). CPU is of all server"
    " processes. PSS is of the busiest process and of all. `*`: the client was busy for more than 90 % of the time, so"
    " the server could do more and the ratio is too small for the faster side."
)
_STEPS_LEGEND = (
    "One worker's own objects without sockets, a request on each of N connections, answered together; the path is cut"
    " behind one step, behind the next, and so on, and a step is the difference of two cuts, each the least of 300"
    " turns. The sockets' part is what a constant answer takes over the wire less what it takes in process; the line"
    " after it is what is left: the same code, run after the kernel and other requests have used the caches, on a"
    " machine that is not always at its fastest. Alone (c1), the model's call, the turn of the loop and the wake-up are"
    " one request's; together they are shared."
)

_COSTS_LEGEND = (
    "w1's question in process, as above: on a server where nobody is asked, and what a key and a token cost more on a"
    " locked one with a thousand keys and an issuer, the permission included. With the same head on every request, and"
    " with a request id that was never seen before on each, so that the whole head is read again. What a credential"
    " proved holds for five seconds; to prove it takes about 15 µs for a key and 200 µs for a token, outside of these"
    " figures: `python -m benchmarks.access`."
)


def line(pair: Pair) -> str:
    """One pair as it is measured."""
    rates = "   ".join(
        f"c{links} {_rate(pair.ours, links)} / {_rate(pair.peer, links)} = {_ratio([pair], links)}"
        for links in pair.ours.slices
    )
    errors = f"   errors {pair.ours.errors} / {pair.peer.errors}" if pair.ours.errors + pair.peer.errors else ""
    return f"{pair.item} {pair.ours.system} / {pair.peer.system}:  {rates}{errors}"


def whole(kept: Kept) -> str:
    """Everything that was measured, as it stands in the document."""
    parts = [f"{kept.machine}. {versions(PINS)}.", _LEGEND, "### Targets", targets(kept.pairs)]
    for item, title in TITLES.items():
        pairs, failed = kept.of(item), kept.failed.get(item, {})
        if pairs or failed:
            parts += [f"### {item}: {title}", *([_item(pairs)] if pairs else []), *_notes(failed, pairs)]
    if kept.steps:
        parts += ["### Where w1's time goes", _steps(kept.steps, kept.of("w1")), _STEPS_LEGEND]
    if kept.costs:
        parts += ["### What it costs to say who asks", _costs(kept.costs), _COSTS_LEGEND]
    if pairs := kept.of(WORKERS):
        parts += ["### Two workers", _workers(pairs)]
    return "\n\n".join(parts) + "\n"


def targets(pairs: Sequence[Pair]) -> str:
    """What was to be reached, beside what was."""
    head = ("figure", "at least", "aim", "measured", "verdict")
    return table(head, [_target(target, measured(target, pairs)) for target in TARGETS])


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table that can be read as it is, too."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(one[at]) for one in lines) for at in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(one, widths, strict=True)] for one in lines]
    rule = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (padded[0], rule, *padded[1:]))


def _item(pairs: Sequence[Pair]) -> str:
    links = [one for one in (1, 16, 64) if any(one in pair.ours.slices for pair in pairs)]
    most = links[-1]
    head = ("system", *(f"c{one}" for one in links), "p50/p99 ms c1", f"p50/p99 ms c{most}")
    head = (*head, f"CPU µs c{most}", "start s", "PSS MiB", "errors", *(f"ours/theirs c{one}" for one in links))
    rows = []
    for name in dict.fromkeys(pair.ours.system for pair in pairs):
        sides = [pair.ours for pair in pairs if pair.ours.system == name]
        rows.append((*_side(name, sides, links), *("" for _ in links)))
    for name in dict.fromkeys(pair.peer.system for pair in pairs):
        mine = [pair for pair in pairs if pair.peer.system == name]
        against = f"{name} ¹" if len({one.ours.system for one in pairs}) > 1 and _is_v2(mine) else name
        rows.append((*_side(against, [pair.peer for pair in mine], links), *(_ratio(mine, one) for one in links)))
    return table(head, rows)


def _is_v2(pairs: Sequence[Pair]) -> bool:
    return any(pair.ours.system.endswith("v2") for pair in pairs)


def _notes(failed: dict[str, str], pairs: Sequence[Pair]) -> list[str]:
    notes = []
    if len({pair.ours.system for pair in pairs}) > 1:
        notes.append("¹ compared with Modelyard's v2 contract, the others with named fields.")
    if failed:
        notes.append("Did not answer right, so not timed: " + ", ".join(sorted(failed)) + ".")
    return [" ".join(notes)] if notes else []


def _side(name: str, sides: Sequence[Side], links: Sequence[int]) -> Row:
    most = links[-1]
    cpu = _middle(sides, most, lambda one: one.server_us)
    worker, every = median(one.worker_mib for one in sides), median(one.all_mib for one in sides)
    rates = (_rates(sides, one) for one in links)
    times = (_times(sides, 1), _times(sides, most))
    start = f"{median(one.cold_s for one in sides):.2f}"
    return (name, *rates, *times, _number(cpu), start, f"{worker:.0f} / {every:.0f}", f"{sum(s.errors for s in sides)}")


def _workers(pairs: Sequence[Pair]) -> str:
    (links,) = pairs[0].ours.slices
    rows = [
        (side.system, _rates(sides, links), _share(sides, links))
        for sides in ([pair.ours for pair in pairs], [pair.peer for pair in pairs])
        for side in sides[:1]
    ]
    ratio = _ratio(pairs, links)
    return table(("system", f"w1, c{links}", "client's share of its core"), rows) + (
        f"\n\nTwo workers over one: {ratio}. Where there are two cores, the client runs on one of the two that both"
        " workers have, and takes what it needs from them."
    )


def _steps(found: Sequence[Steps], pairs: Sequence[Pair]) -> str:
    """The way of a request, step by step, and what of its CPU time over the wire is not in it."""
    head = ("µs a request", *(f"{one.system}, c{one.together}" for one in found))
    rows = [(name, *(_number(one.us[name]) for one in found)) for name in found[0].us]
    wire = [_cpu_us(pairs, one.system, one.together) for one in found]
    constant = [_cpu_us(pairs, CONSTANT, one.together) - one.constant_us for one in found]
    inside = [sum(one.us.values()) for one in found]
    rest = [all_us - steps - sockets for all_us, steps, sockets in zip(wire, inside, constant, strict=True)]
    below = {
        "all of this, in process": inside,
        "sockets: event loop and kernel": constant,
        "caches gone cold meanwhile": rest,
        "CPU over the wire, as in w1's table": wire,
    }
    return table(head, [*rows, *((name, *map(_number, values)) for name, values in below.items())])


def _costs(found: Sequence[Costs]) -> str:
    """What a request costs each caller, and how much more than nobody's that is."""
    nobody, *others = found[0].us
    head = ("µs a request", *(f"{one.heads}, c{one.together}" for one in found))
    rows = [(nobody, *(_number(one.us[nobody]) for one in found))]
    rows += [(name, *(f"+{one.us[name] - one.us[nobody]:.2f}" for one in found)) for name in others]
    return table(head, rows)


def _cpu_us(pairs: Sequence[Pair], system: str, links: int) -> float:
    """CPU of this system's processes, of a request over the wire."""
    sides = [side for pair in pairs for side in (pair.ours, pair.peer) if side.system == system]
    return _middle(sides, links, lambda one: one.server_us)


def _share(sides: Sequence[Side], links: int) -> str:
    return f"{_middle(sides, links, lambda one: one.client_share):.0%}"


def _target(target: Target, found: Spread | None) -> Row:
    sign = "" if target.figure == "ratio" else "≤ "
    unit = target.unit
    figure = "" if found is None else f"{_number(found.middle)}{unit} [{_number(found.least)}..{_number(found.most)}]"
    return target.what, f"{sign}{target.least:g}{unit}", f"{sign}{target.aim:g}{unit}", figure, verdict(target, found)


def _rate(side: Side, links: int) -> str:
    return _rates([side], links)


def _rates(sides: Sequence[Side], links: int) -> str:
    slices = [one for side in sides for one in side.slices.get(links, ())]
    if not slices:
        return ""
    bound = BOUND if median(one.client_share for one in slices) > CLIENT_BOUND else ""
    return _number(median(one.rate for one in slices)) + bound


def _times(sides: Sequence[Side], links: int) -> str:
    p50 = _middle(sides, links, lambda one: one.p50_ms)
    return f"{_number(p50)} / {_number(_middle(sides, links, lambda one: one.p99_ms))}"


def _middle(sides: Sequence[Side], links: int, pick: Callable[[Slice], float]) -> float:
    values = [pick(one) for side in sides for one in side.slices.get(links, ())]
    return median(values) if values else float("nan")


def _ratio(pairs: Sequence[Pair], links: int) -> str:
    found = spread(ratio for pair in pairs for ratio in pair.ratios(links))
    if found is None:
        return ""
    bound = BOUND if any(pair.client_bound(links) for pair in pairs) else ""
    return f"{_number(found.middle)}x{bound} [{_number(found.least)}..{_number(found.most)}]"


def _number(value: float) -> str:
    """Three digits that count, and no more."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
