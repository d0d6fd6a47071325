"""`make demo`: two models from nothing to answers over HTTP, by the commands one would type.

Runs until Ctrl+C. ONCE=1 stops after the calls; exit code 0 only if both answers are right. PORT=8080 by default.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".demo"
MODELYARD = Path(sys.executable).parent / "modelyard"
STOP_LIMIT_S = 40.0
TOLERANCE = 1e-6


def main() -> int:
    """Train, import, serve, ask."""
    port, once = int(os.environ.get("PORT") or 8080), bool(os.environ.get("ONCE"))
    if not _is_free(port):
        print(f"Port {port} of this machine is taken, perhaps by another server.", file=sys.stderr)
        print(f"  fix: make demo PORT={port + 1}", file=sys.stderr)
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    environment = {**os.environ, "MODELYARD_HOME": str(FOLDER / "home")}

    _title("1", "A CSV becomes a model: y = 2x, learnt by gradient descent")
    _run("modelyard train examples/linear/data.csv --target target --model linear --solver gradient"
         " --name linear-regression", environment)  # fmt: skip

    _title("2", "A model file becomes a model: a scikit-learn pipeline with categories and missing values")
    _run("python examples/demo/penguins.py .demo", environment)
    _run("modelyard import .demo/penguins.joblib --sample .demo/rows.csv --name penguins", environment)

    _title("3", "Both become an API")
    server = _serve(f"modelyard serve linear-regression penguins --port {port}", environment)
    try:
        if not _ask(port):
            print("\nAn answer is wrong.", file=sys.stderr)
            return 1
        docs = f"http://127.0.0.1:{port}/docs"
        if once:
            print(f"\nBoth answers are right. The docs page was {docs}", flush=True)
        else:
            print(
                f"\nBoth answers are right. Try every call on the docs page: {docs}\nCtrl+C stops the server.",
                flush=True,
            )
            server.wait()
    except KeyboardInterrupt:
        server.wait(STOP_LIMIT_S)  # it had the same Ctrl+C, and finishes what it has begun; a second would kill it
    finally:
        _stop(server)
    return 0


def _ask(port: int) -> bool:
    """One call to each model, as one would type it; whether both answers are right."""
    _title("4", "Ask them")
    number = _call(port, "linear-regression", {"feature": 3})
    question = json.loads((FOLDER / "question.json").read_text(encoding="utf-8"))
    species = _call(port, "penguins", question["row"])
    print(_dim(f"(the original pipeline says: {question['species']})"), flush=True)
    close = bool(abs(number["prediction"][0] - 6.0) <= TOLERANCE)
    return close and bool(species["prediction"] == [question["species"]])


def _call(port: int, model: str, row: Mapping[str, Any]) -> dict[str, Any]:
    url, body = f"http://127.0.0.1:{port}/models/{model}/predict", json.dumps(row)
    print(f"$ curl {url} \\\n    -H 'Content-Type: application/json' -d {shlex.quote(body)}", flush=True)
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as refused:
        text = refused.read().decode()
    print(text, flush=True)
    document: dict[str, Any] = json.loads(text)
    return document if "prediction" in document else {"prediction": [float("nan")]}


def _run(command: str, environment: Mapping[str, str]) -> None:
    """Show the command and run it; the demo ends where it fails."""
    print(f"$ {command}", flush=True)
    begin = time.monotonic()
    done = subprocess.run(_argv(command), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)
    print(_dim(f"({time.monotonic() - begin:.1f} s)"), flush=True)


def _serve(command: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """The server, ready; what it says is shown as it says it."""
    print(f"$ {command}", flush=True)
    unbuffered = {**environment, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(_argv(command), cwd=ROOT, env=unbuffered, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        print(line, end="", flush=True)
        if "Press Ctrl+C" in line:
            return server
    sys.exit(server.wait() or 1)


def _argv(command: str) -> list[str]:
    """The command with this environment's own programs."""
    program, *rest = shlex.split(command)
    return [{"modelyard": str(MODELYARD), "python": sys.executable}[program], *rest]


def _stop(server: subprocess.Popen[str]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
    try:
        server.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        server.kill()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _title(number: str, text: str) -> None:
    print(_style("1", f"\n{number}  {text}"), flush=True)


def _dim(text: str) -> str:
    return _style("2", text)


def _style(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


if __name__ == "__main__":
    sys.exit(main())
