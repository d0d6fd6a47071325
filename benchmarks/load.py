"""Closed-loop load from one core: wrk where it is installed, else a client of our own (slower, so it says so)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import CLIENT_CORE, Server, pin

_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT {{"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "errors": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Cell:
    """What one load of a few seconds gave."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def find_wrk() -> str | None:
    """The wrk command; on a bare Debian as root it is installed first, and said so."""
    if shutil.which("wrk") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing wrk with apt-get", file=sys.stderr)
        subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=False, stdout=subprocess.DEVNULL)
    return shutil.which("wrk")


def load(wrk: str | None, server: Server, folder: Path, *, connections: int, seconds: int) -> Cell:
    """Ask the same question over `connections` kept-alive connections for `seconds`."""
    body = server.body(server.item.rows[0].tolist())
    if wrk is None:
        return asyncio.run(_own(server, body, connections, seconds))
    script = folder / "load.lua"
    script.write_text(_SCRIPT.format(body=body.decode()), encoding="utf-8")
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    done = subprocess.run(
        [wrk, *options, f"http://127.0.0.1:{server.port}{server.path}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
        preexec_fn=lambda: pin(CLIENT_CORE),
    )
    found = re.search(r"^RESULT (.+)$", done.stdout, flags=re.MULTILINE)
    assert found, done.stdout
    return Cell(**json.loads(found.group(1)))


async def _own(server: Server, body: bytes, connections: int, seconds: float) -> Cell:
    head = f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    begin = time.perf_counter()
    results = await asyncio.gather(*(_client(server.port, request, begin + seconds) for _ in range(connections)))
    took = time.perf_counter() - begin
    times = sorted(value for values, _ in results for value in values)
    errors = sum(count for _, count in results)
    if not times:
        return Cell(0, took, float("nan"), float("nan"), errors)
    return Cell(len(times), took, times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3, errors)


async def _client(port: int, request: bytes, until: float) -> tuple[list[float], int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    errors = 0
    try:
        while (begin := time.perf_counter()) < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            await reader.readexactly(int(length.group(1)) if length else 0)
            errors += not head.startswith(b"HTTP/1.1 200")
            times.append(time.perf_counter() - begin)
    except (OSError, asyncio.IncompleteReadError):
        errors += 1
    finally:
        writer.close()
    return times, errors
