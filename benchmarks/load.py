"""Closed-loop load from one core: wrk for HTTP, h2load for gRPC. The same question again and again.

No response cache is on in any system, and a question that varied would only make the client slower.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.grpc_client import body
from benchmarks.process import use
from benchmarks.results import Slice
from benchmarks.server import Server
from benchmarks.tools import Tools

SCRIPT = Path(__file__).with_name("wrk.lua")
#: gRPC clients put many calls on one connection, so calls in flight are spread over at most so many.
GRPC_CONNECTIONS = 4


@dataclass(frozen=True)
class Client:
    """The programs that load, and the core they are kept on."""

    tools: Tools
    cores: Sequence[int]
    folder: Path

    def load(self, server: Server, connections: int, seconds: float) -> Slice:
        """Ask over `connections` kept-alive connections (for gRPC: with so many calls in flight) for `seconds`."""
        server.processes.settle()
        before, wall, own = sum(server.processes.cpu_s().values()), time.monotonic(), _children_s()
        found = (self._h2load if server.exchange.grpc else self._wrk)(server, connections, max(1, round(seconds)))
        share = (_children_s() - own) / (time.monotonic() - wall)
        spent = sum(server.processes.cpu_s().values()) - before
        return Slice(*found, client_share=share, server_us=spent / max(found[0], 1) * 1e6)

    def _wrk(self, server: Server, connections: int, seconds: int) -> tuple[int, float, float, float, int]:
        raw, told = server.exchange.encode(server.item, server.item.questions[0])
        headers = told | server.credential
        question = self.folder / "question"
        question.write_bytes(raw)
        environment = {
            "BENCH_METHOD": server.exchange.method,
            "BENCH_HEADERS": "".join(f"{name}: {value}\n" for name, value in headers.items()),
            "BENCH_BODY": str(question),
        }
        options = ("-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(SCRIPT))
        url = f"http://127.0.0.1:{server.port}{server.path}"
        out = self._run((self.tools.wrk, *options, url), seconds, environment)
        found = re.search(r"^RESULT (.+)$", out, flags=re.MULTILINE)
        assert found, out
        one = json.loads(found.group(1))
        return one["requests"], one["seconds"], one["p50_ms"], one["p99_ms"], one["errors"]

    def _h2load(self, server: Server, calls: int, seconds: int) -> tuple[int, float, float, float, int]:
        assert self.tools.h2load is not None
        log = self.folder / "h2load.log"
        log.unlink(missing_ok=True)
        links = min(calls, GRPC_CONNECTIONS)
        options = (f"-c{links}", f"-m{calls // links}", "-t1", f"-D{seconds}", f"--log-file={log}")
        lines = {"content-type": "application/grpc", "te": "trailers", **server.credential}
        headers = [word for name, value in lines.items() for word in ("-H", f"{name.lower()}: {value}")]
        url = f"http://127.0.0.1:{server.port + 1}{server.path}"
        data = str(body(server.items, server.item))
        out = self._run((self.tools.h2load, *options, *headers, "-d", data, url), seconds, {})
        return (*_times(log, seconds), _refused(out, server.answer_bytes))

    def _run(self, command: tuple[str, ...], seconds: int, environment: dict[str, str]) -> str:
        return subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 90,
            preexec_fn=lambda: use(self.cores),
        ).stdout


def _times(log: Path, seconds: int) -> tuple[int, float, float, float]:
    """Requests, seconds, p50 and p99 from h2load's log: start, status and microseconds of each request.

    Its own rate counts the setting up of connections; here the clock runs from the first request.
    """
    lines = [line.split("\t") for line in log.read_text(encoding="ascii").splitlines()]
    times = sorted(int(took) for _, status, took in lines if status == "200")
    if not times:
        return 0, float(seconds), float("nan"), float("nan")
    begin = min(int(start) for start, _, _ in lines)
    end = max(int(start) + int(took) for start, _, took in lines)
    return len(times), (end - begin) / 1e6, times[len(times) // 2] / 1e3, times[int(len(times) * 0.99)] / 1e3


def _refused(out: str, answer_bytes: int) -> int:
    """Calls that failed, or, as gRPC's refusals are HTTP's 200, whose answers were not as long as the right one."""
    counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
    data = re.search(r"\((\d+)\) data", out)
    assert counts, out
    assert data, out
    done, failed = int(counts.group(1)), int(counts.group(3)) + int(counts.group(4))
    whole = int(data.group(1)) / (answer_bytes + 5)
    return failed + max(0, round(done * 0.99 - whole))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
