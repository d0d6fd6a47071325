"""Run as a program: forks actors on one home, each killed -9 in the middle of its acts; prints what they acknowledged.

    python actors.py HOME ROUNDS SEED

One process imports everything once and forks, so that a round costs milliseconds and the kill falls into the acts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from modelyard.control.actions.home import Home, open_home
from modelyard.core.settings import Settings
from modelyard.guard import audit, rows  # noqa: F401 - what is imported late is imported before the forks
from tests.acceptance.publishers import fork, heard, iter_lines
from tests.acts import act, log


def work(home: Home, seed: int, say: Callable[..., None]) -> None:
    """Act for ever; after each act, say how many records there are."""
    dice = random.Random(seed)
    size = len(log(home))
    while True:
        act(home, dice)
        size += len(log(home, size))
        say(size)


def main() -> None:
    """See the module's own text."""
    folder, rounds, seed = sys.argv[1:]
    dice = random.Random(int(seed))
    settings = Settings(home=Path(folder))
    act(open_home(settings), dice)  # and the home is there
    said: list[list[object]] = []
    for turn in range(int(rounds)):
        pid, reader = fork(lambda say, turn=turn: work(open_home(settings), int(seed) * 100_000 + turn, say))
        early = b"".join(iter_lines(reader, 1 + dice.randrange(5)))
        time.sleep(dice.uniform(0.0, 0.02))
        os.kill(pid, signal.SIGKILL)
        said += heard(pid, reader, early)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
