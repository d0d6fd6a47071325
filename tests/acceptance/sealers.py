"""Run as a program: turns encryption on and off and rotates keys in children, and kills them -9 in the middle.

    python sealers.py HOME MEMORY ROUNDS SEED

After each kill every version has to be readable as it is; what was wrong is printed, one line each.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from publishers import Say, fork, heard, iter_lines

from modelyard.control.actions import encrypt
from modelyard.control.actions.home import Home, open_home
from modelyard.core.settings import Settings


def work(home: Home, say: Say) -> None:
    """On, rotated, rotated and forgotten, off, for ever. Say so after each step."""
    for turn in range(10_000):
        encrypt.turn_on(home)
        say(turn, "on")
        encrypt.rotate(home)
        encrypt.rotate(home, forget=True)
        say(turn, "rotated")
        encrypt.turn_off(home)
        say(turn, "off")


def unreadable(home: Home) -> list[str]:
    """Versions that are lost, with the reason."""
    wrong = []
    for model in home.catalogue.models():
        for version in model.versions:
            try:
                assert home.artifacts.read(version.digest).digest == version.digest
            except Exception as exc:
                wrong.append(f"{version}: {exc!r}")
    return wrong


def main() -> None:
    """See the module's own text."""
    folder, memory, rounds, seed = sys.argv[1:]
    dice = random.Random(int(seed))
    settings = Settings(Path(folder), memory=(Path(memory),))
    encrypt.turn_on(open_home(settings))  # everything is imported once
    encrypt.turn_off(open_home(settings))
    steps = 0
    for _ in range(int(rounds)):
        pid, reader = fork(lambda say: work(open_home(settings), say))
        early = b"".join(iter_lines(reader, dice.randrange(3)))
        time.sleep(dice.uniform(0.0, 0.06))
        os.kill(pid, signal.SIGKILL)
        said = heard(pid, reader, early)
        steps += sum(line[0] != "failed" for line in said)
        problems = unreadable(open_home(settings)) + [str(line) for line in said if line[0] == "failed"]
        print(*problems, sep="\n", end="\n" if problems else "")
    print(f"steps {steps}")


if __name__ == "__main__":
    main()
