"""Runs what a Markdown page shows: ``console`` blocks with the output shown, ``python`` blocks as they are.

A page's blocks run in order in one shell with a home of its own, beside a copy of `examples/`. In shown output ``…``
stands for anything within a line, and a line ``…`` alone for any number of lines. In Python, ``print(x)  # y`` shows
``y``. A command that ends in ``&`` goes on in the background; the next one starts when its port answers. A block after
the comment ``<!-- not run: why -->`` is left out. Ports are replaced by a free one, so that pages can run side by side.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.house.source import ROOT

TIMEOUT_S = 240.0
_FENCE = re.compile(r"(<!-- not run: .+? -->\n+)?^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_MARK = "--8<-- end of step"
_PORT = re.compile(r"\b(?:8080|5000|(8081|5001)|(8090))\b")  # HTTP's; gRPC's, which is the next; the control API's


@dataclass(frozen=True)
class Step:
    """One command and the output that the page shows for it; None when it shows none."""

    command: str
    shown: str | None

    @property
    def goes_on(self) -> bool:
        """Whether it runs in the background."""
        return self.command.rstrip().endswith("&")


def steps(page: Path) -> list[Step]:
    """Every step of the page, in order."""
    found: list[Step] = []
    for skipped, language, body in _FENCE.findall(page.read_text(encoding="utf-8")):
        if skipped:
            continue
        if language == "console":
            found += _console(body)
        elif language == "python":
            shown = "\n".join(re.findall(r"^ *print\(.*\)  # (.*)$", body, flags=re.MULTILINE))
            found.append(Step(f"python - <<'PYTHON'\n{body}PYTHON", shown or None))
    return found


def unknown_blocks(page: Path) -> list[str]:
    """Languages of the page's blocks that this module neither runs nor knows to be no program."""
    return sorted(
        {
            language
            for skipped, language, _ in _FENCE.findall(page.read_text(encoding="utf-8"))
            if not skipped and language not in {"console", "python", "text", "json", "toml", "http"}
        }
    )


def _console(body: str) -> list[Step]:
    found: list[Step] = []
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        ends = next(at for at, line in enumerate(lines) if not line.endswith("\\"))
        output = "\n".join(lines[ends + 1 :]).strip("\n")
        found.append(Step("\n".join(lines[: ends + 1]), output or None))
    return found


def run(page: Path, folder: Path) -> list[str]:
    """Run the page's steps in `folder`; what differs from the page, one text a difference."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    port = _free_port()
    plan = [Step(_moved(step.command, port), step.shown and _moved(step.shown, port)) for step in steps(page)]
    outputs, problem = _shell(_script(plan, port), folder)
    differences = [problem] if problem else []
    for at, (step, output) in enumerate(zip(plan, outputs, strict=False)):
        if step.goes_on:
            output = (folder / _log(at)).read_text(encoding="utf-8")
        if step.shown is not None and not matches(step.shown, output, begins=step.goes_on):
            differences.append(f"$ {step.command}\n--- shown\n{step.shown}\n--- printed\n{output}")
    return differences


def _moved(text: str, port: int) -> str:
    return _PORT.sub(lambda found: str(port + (found.lastindex or 0)), text)


def _script(plan: list[Step], port: int) -> str:
    lines = ["set -eu -o pipefail", "trap 'for job in $(jobs -p); do kill $job 2>/dev/null || true; done; wait' EXIT"]
    for at, step in enumerate(plan):
        if step.goes_on:
            scheme = "https" if "--tls" in step.command else "http"
            own = re.search(r"--port (\d+)", step.command)
            wait = _WAIT.format(scheme=scheme, port=own[1] if own else port)
            lines += [f"{step.command.rstrip().removesuffix('&')} > {_log(at)} 2>&1 &", wait]
        else:
            lines.append(step.command)
        lines.append(f"echo; echo '{_MARK}'")
    return "\n".join(lines) + "\n"


def _log(at: int) -> str:
    return f"background-{at}.log"


_WAIT = """python - <<'WAIT'
import ssl, sys, time, urllib.request
anybody = ssl._create_unverified_context()
for _ in range(300):
    try:
        sys.exit(urllib.request.urlopen("{scheme}://127.0.0.1:{port}/readyz", context=anybody).status != 200)
    except OSError:
        time.sleep(0.1)
sys.exit("the server did not start")
WAIT"""


def _shell(script: str, folder: Path) -> tuple[list[str], str]:
    """Outputs by step, and what went wrong (nothing: empty). The whole process group ends with the shell."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    environment = {"PATH": path, "HOME": str(folder), "MODELYARD_HOME": str(folder / "home"), "LC_ALL": "C.UTF-8"}
    child = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = child.communicate(timeout=TIMEOUT_S)
        problem = f"exit code {child.returncode}\n{printed}" if child.returncode else ""
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        printed, _ = child.communicate()
        problem = f"not finished after {TIMEOUT_S:.0f} s\n{printed}"
    return [part.strip("\n") for part in printed.split(_MARK)[:-1]], problem


def matches(shown: str, printed: str, *, begins: bool = False) -> bool:
    """Whether `printed` is (or `begins` with) what the page shows; ``…`` is anything in a line, alone any lines."""
    lines = [line.rstrip() for line in printed.strip("\n").split("\n")]
    reached = {0}  # how many printed lines the shown lines so far may stand for
    for wanted in shown.rstrip().split("\n"):
        if wanted.strip() == "…":
            reached = set(range(min(reached, default=len(lines) + 1), len(lines) + 1))
        else:
            pattern = re.compile(".*".join(map(re.escape, wanted.rstrip().split("…"))))
            reached = {at + 1 for at in reached if at < len(lines) and pattern.fullmatch(lines[at])}
    return bool(reached) if begins else len(lines) in reached


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
