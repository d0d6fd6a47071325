"""Steady callers, for what a change may not do to them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection

import pytest

from tests.acceptance.serving import Served


class Load:
    """Clients that ask all the time, each on a kept connection, and count what they get."""

    def __init__(self, served: Served, clients: int = 4) -> None:
        self._served = served
        self._stop = threading.Event()
        self.answers: dict[float, int] = {}
        self.failed: list[str] = []
        self.refused = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._served.port, timeout=20)
        while not self._stop.is_set():
            try:
                connection.request("POST", "/models/linear/predict", b'{"feature": 1}')
                response = connection.getresponse()
                body = response.read()
                if response.status != 200:
                    self._note(failed=f"{response.status} {body!r}")
                    continue
                model = response.headers["modelyard-model"]
                value = json.loads(body)["prediction"][0]
                if value != float(model.partition("@")[2]):
                    self._note(failed=f"{model} answered {value}")
                self._note(value=value)
            except ConnectionRefusedError:
                self._note(refused=True)
                connection.close()
            except OSError as exc:
                self._note(failed=type(exc).__name__)
                connection.close()
        connection.close()

    def _note(self, value: float | None = None, failed: str = "", *, refused: bool = False) -> None:
        with self._lock:
            if value is not None:
                self.answers[value] = self.answers.get(value, 0) + 1
            if failed:
                self.failed.append(failed)
            self.refused += refused


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen in time")
