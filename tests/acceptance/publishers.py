"""Run as a program: forks publishers on one home, and kills them or waits for them; prints what they acknowledged.

    python publishers.py HOME BUNDLE kill ROUNDS SEED     each round: a publisher is killed -9 in the middle of its work
    python publishers.py HOME BUNDLE create ROUNDS SEED   each round: killed while it makes a home HOME-<round>
    python publishers.py HOME BUNDLE race COUNT SEED      COUNT publishers start at once and each publishes once

One process imports everything once and forks, so that a round costs milliseconds and the kill falls into the work.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import alembic.command
import alembic.config  # noqa: F401 - as above
import msgspec

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.remove import remove
from modelyard.core.errors import ModelyardError
from modelyard.core.manifest import Lineage
from modelyard.core.reference import Reference
from modelyard.core.settings import Settings
from modelyard.model.bundle import Bundle, open_bundle, seal

Say = Callable[..., None]


def variant(bundle: Bundle, mark: str) -> Bundle:
    """The same model with another digest."""
    return seal(msgspec.structs.replace(bundle.manifest, lineage=Lineage(notes=(mark,))), bundle.files)


def work(home: Home, bundle: Bundle, say: Say) -> None:
    """Publish for ever, pointing an alias; now and then remove the oldest version. Say so before and after."""
    for turn in range(10_000):
        version = publish(home, variant(bundle, f"{os.getpid()}-{turn}"), ["production"])
        say("published", version.version, version.digest)
        versions = home.catalogue.versions(version.name)
        if turn % 3 == 2 and len(versions) > 2:
            say("removing", versions[0].version)
            remove(home, Reference(version.name, version=versions[0].version))
            say("removed", versions[0].version)


def fork(act: Callable[[Say], None]) -> tuple[int, int]:
    """A child that does `act` and says JSON lines into a pipe; its pid and the pipe."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 1
    try:
        act(lambda *words: os.write(writer, json.dumps(words).encode() + b"\n") and None)
        code = 0
    except ModelyardError as exc:
        os.write(writer, json.dumps(["failed", exc.code, exc.detail, exc.cause]).encode() + b"\n")
    finally:
        os._exit(code)


def iter_lines(reader: int, count: int) -> Iterator[bytes]:
    """The child's first lines, so that the kill falls into its work however slow the machine is."""
    for _ in range(count):
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(reader, 1)):
            line += byte
        yield line


def heard(pid: int, reader: int, early: bytes = b"") -> list[list[object]]:
    """Everything that the child said before it ended."""
    with os.fdopen(reader, "rb") as pipe:
        lines = (early + pipe.read()).splitlines()
    os.waitpid(pid, 0)
    return [json.loads(line) for line in lines]


def main() -> None:
    """See the module's own text."""
    folder, source, mode, count, seed = sys.argv[1:]
    dice = random.Random(int(seed))
    bundle = open_bundle(Path(source))
    settings = Settings(home=Path(folder))
    said: list[list[object]] = []
    if mode == "kill":
        home = open_home(settings)
        publish(home, variant(bundle, "first"))
        plans.save(home, "server", plans.render(home))
        for _ in range(int(count)):
            pid, reader = fork(lambda say: work(open_home(settings), bundle, say))
            early = b"".join(iter_lines(reader, dice.randrange(5)))
            time.sleep(dice.uniform(0.0, 0.03))
            os.kill(pid, signal.SIGKILL)
            said += heard(pid, reader, early)
    elif mode == "create":
        for turn in range(int(count)):
            fresh = Settings(home=Path(f"{folder}-{turn}"))
            pid, reader = fork(lambda say, fresh=fresh: say("published", publish(open_home(fresh), bundle).version))
            time.sleep(dice.uniform(0.0, 0.06))
            os.kill(pid, signal.SIGKILL)
            said.append([turn, heard(pid, reader)])
    else:
        children = [
            fork(
                lambda say, mark=str(at): say(
                    "published", *msgspec.structs.astuple(publish(open_home(settings), variant(bundle, mark)))[1:3]
                )
            )
            for at in range(int(count))
        ]
        for pid, reader in children:
            said += heard(pid, reader)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
