"""Programs of the system that the benchmark needs: wrk and h2load as clients, nginx as the ceiling."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tools:
    """Where they are; without h2load gRPC is not measured, without nginx there is no ceiling, and the table says so."""

    wrk: str
    h2load: str | None
    nginx: str | None


def find(folder: Path) -> Tools:
    """Find them; on a bare Debian as root the clients are installed first, and said so."""
    wrk = shutil.which("wrk") or _install("wrk", "wrk")
    if wrk is None:
        sys.exit("make bench needs wrk\n  fix: apt-get install wrk   (or brew install wrk)")
    return Tools(wrk, shutil.which("h2load") or _install("nghttp2-client", "h2load"), _nginx(folder))


def _install(package: str, command: str) -> str | None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {package} with apt-get", file=sys.stderr)
        subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-qq", package], check=False, stdout=subprocess.DEVNULL)
    return shutil.which(command)


def _nginx(folder: Path) -> str | None:
    """The command; Debian's package is only unpacked here, as installing it would start a web server."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    unpacked = folder / "nginx" / "usr" / "sbin" / "nginx"
    if found or unpacked.exists() or not shutil.which("apt-get"):
        return found or (str(unpacked) if unpacked.exists() else None)
    print("Unpacking nginx", file=sys.stderr)
    (folder / "nginx").mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-qq", "nginx"], check=False, cwd=folder / "nginx")
    for package in (folder / "nginx").glob("nginx_*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "nginx"], check=False)
    return str(unpacked) if unpacked.exists() else None
