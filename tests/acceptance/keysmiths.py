"""Run as a program: forks makers of keys on one home and kills them -9; prints what they acknowledged.

python keysmiths.py HOME work ROUNDS SEED   each round: killed in the middle of making, rotating and revoking
python keysmiths.py HOME init ROUNDS SEED   each round: killed while it sets up a home HOME-<round>
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import alembic.command
import alembic.config  # noqa: F401 - imported once, so that the kill falls into the work

from modelyard.control.actions import keys
from modelyard.control.actions.home import open_home
from modelyard.control.actions.init import init
from modelyard.core.identity import Role, scopes
from modelyard.core.settings import Settings
from modelyard.guard import audit, rows  # noqa: F401 - as above
from modelyard.guard.grant import Grant
from tests.acceptance.publishers import Say, fork, heard, iter_lines


def work(settings: Settings, say: Say) -> None:
    """Make keys, rotate and revoke some of them, for ever; say so after each act, with the secret."""
    home = open_home(settings)
    for turn in range(10_000):
        name = f"k-{os.getpid()}-{turn}"
        say("created", name, keys.create(home, Grant(name=name, scopes=scopes(Role.PREDICTOR))).text)
        if turn % 2:
            say("rotating", name)
            say("rotated", name, keys.rotate(home, name, timedelta(0)).text)
        if turn % 3 == 2:
            say("revoking", name)
            keys.revoke(home, name)
            say("revoked", name)


def main() -> None:
    """See the module's own text."""
    folder, mode, count, seed = sys.argv[1:]
    dice = random.Random(int(seed))
    settings = Settings(home=Path(folder))
    said: list[object] = []
    if mode == "work":
        open_home(settings)
    for turn in range(int(count)):
        if mode == "work":
            pid, reader = fork(lambda say: work(settings, say))
            early = b"".join(iter_lines(reader, dice.randrange(5)))
            time.sleep(dice.uniform(0.0, 0.03))
        else:
            fresh = Settings(home=Path(f"{folder}-{turn}"))
            pid, reader = fork(lambda say, fresh=fresh: say("made", init(open_home(fresh))[0].text))
            early = b""
            time.sleep(dice.uniform(0.0, 0.12))
        os.kill(pid, signal.SIGKILL)
        lines = heard(pid, reader, early)
        said += lines if mode == "work" else [[turn, lines]]
    print(json.dumps(said))


if __name__ == "__main__":
    main()
