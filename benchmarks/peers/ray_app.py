"""Ray Serve: one replica on a cluster of its own on this machine, without a dashboard."""

import os
import signal
import sys
import threading
from typing import Any

import ray
from model import ITEM, Model, question
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 1})
class Predictor:
    """The model in its replica."""

    def __init__(self) -> None:
        self._model = Model()

    async def __call__(self, request: Request) -> dict[str, list[Any]]:
        """One question: the image is its bytes, everything else JSON."""
        asked = await request.body() if ITEM == "w4" else question(await request.json())
        return {"prediction": self._model.predict(asked)}


def main() -> None:
    """Serve until told to stop."""
    stop = threading.Event()
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=os.environ["RAY_FOLDER"],
        object_store_memory=80 * 1024 * 1024,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Predictor.bind(), route_prefix="/predict")
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    ray.shutdown()
    sys.exit(0)


if __name__ == "__main__":
    main()
