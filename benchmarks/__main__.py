"""`make bench`. Question: one worker on one core, closed loop: how far is Modelyard from what people use, and from what
one core can do at all?

Every system serves the same model files, and must answer what the model answers before it is timed and afterwards.
Modelyard and one peer are up at a time, on one core, with the client on another, and take turns of a second or a few;
only ratios of turns that touch are compared, as the speed of a shared machine swings by a factor of two.
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks import document, environments, report, results, tools
from benchmarks.items import TITLES, Item, read
from benchmarks.load import Client
from benchmarks.pair import Contest, Setting, measure
from benchmarks.process import CLIENT_CORE, use
from benchmarks.schedule import PEERS, Choice, contests
from benchmarks.schedule import environments as needed
from benchmarks.server import WrongAnswer
from benchmarks.systems.modelyard import import_models

PARTS = (*TITLES, results.WORKERS)
RESULTS = environments.ROOT / "benchmarks" / "results"


def main() -> None:
    """Make what is missing, measure round by round, keep every figure, print the tables."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever was started is ended
    options.results.mkdir(parents=True, exist_ok=True)
    if not options.report:
        _measure(options)
    text = report.whole(results.load(options.results))
    print(text)
    if options.document:
        _write(text, options.results)
    if kept_failures := {part: failed for part, failed in results.load(options.results).failed.items() if failed}:
        sys.exit(f"left out: {kept_failures}")


def _write(text: str, folder: Path) -> None:
    """Into the page, if it would be whole."""
    kept = results.load(folder)
    if lacking := [part for part in PARTS if not kept.of(part)]:
        print(f"docs/performance.md stays as it is: no figures of {', '.join(lacking)}", file=sys.stderr)
        return
    document.write(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1, help="length of one turn; slow peers get up to three")
    parser.add_argument("--items", type=_names(PARTS), default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument("--systems", type=_names(tuple(PEERS)), default=tuple(PEERS), help=f"of {','.join(PEERS)}")
    parser.add_argument("--connections", type=lambda text: tuple(map(int, text.split(","))), default=None)
    parser.add_argument(
        "--results",
        type=lambda text: Path(text).resolve(),
        default=RESULTS,
        help="folder of figures; they add up over runs",
    )
    parser.add_argument("--report", action="store_true", help="measure nothing, show what is kept")
    parser.add_argument("--document", action="store_true", help="write the tables into docs/performance.md")
    return parser.parse_args()


def _names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        if strange := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"{strange[0]} is none of {', '.join(known)}")
        return found

    return parse


def _measure(options: argparse.Namespace) -> None:
    choice = Choice(options.items, options.systems, options.connections, options.rounds)
    environments.install(needed(choice))
    found = tools.find(RESULTS / "tools")
    work = options.results / "work"
    items = _items(work)
    use([CLIENT_CORE])
    for number in range(options.rounds):
        client = Client(found, [CLIENT_CORE], work)
        setting = Setting(client, work, options.seconds, number)
        for contest in contests(choice, items, number):
            _one(contest, setting, options.results)
    if "w1" in options.items:
        for module, file in (("anatomy", results.STEPS), ("access", results.COSTS)):
            command = (sys.executable, "-m", f"benchmarks.{module}", work, options.results / file)
            subprocess.run(command, check=True, cwd=environments.ROOT)


def _items(work: Path) -> dict[str, Item]:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    subprocess.run([sys.executable, "-m", "benchmarks.models", str(work)], check=True, cwd=environments.ROOT)
    items = read(work)
    import_models(items, work / "home")
    return items


def _one(contest: Contest, setting: Setting, folder: Path) -> None:
    """One contest, kept at once; a peer that does not answer right is named and left out."""
    if missing := _missing(contest, setting):
        print(f"{contest.part} {contest.peer.name}: skipped, {missing} is not installed", file=sys.stderr)
        return
    try:
        pair = measure(contest, setting)
    except (WrongAnswer, psutil.Error, subprocess.SubprocessError, http.client.HTTPException, OSError) as error:
        who = error.system if isinstance(error, WrongAnswer) else contest.peer
        print(f"{contest.part} {who.name} is left out: {error!r}", file=sys.stderr)
        results.keep(folder, failed=(contest.part, who.name, str(error)))
        return
    results.keep(folder, pair)
    print(f"round {setting.round + 1}  {report.line(pair)}", file=sys.stderr)


def _missing(contest: Contest, setting: Setting) -> str | None:
    found = setting.client.tools
    if contest.item.name == "w6" and found.h2load is None:
        return "h2load"
    return "nginx" if contest.peer is PEERS["nginx"] and found.nginx is None else None


if __name__ == "__main__":
    main()
