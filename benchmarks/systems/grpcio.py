"""Bare grpcio, with a pool of threads and on an event loop: what gRPC in Python costs with nothing around it."""

from __future__ import annotations

from benchmarks import wire
from benchmarks.systems import System, app

SYNC = System("grpcio", "grpcio", {"w6": wire.v2_grpc()}, app("grpcio", "grpcio_app.py", MODE="sync"))
AIO = System("grpcio aio", "grpcio", {"w6": wire.v2_grpc()}, app("grpcio", "grpcio_app.py", MODE="aio"))
