"""LitServe: one API process, one model process."""

import os
from typing import Any

import litserve
from model import Model, question


class Predictor(litserve.LitAPI):
    """The model in its process."""

    def setup(self, device: str) -> None:
        """Open the model."""
        self._model = Model()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """What the JSON body asks."""
        return question(request)

    def predict(self, x: Any) -> list[Any]:
        """The model's answer."""
        return self._model.predict(x)

    def encode_response(self, output: list[Any]) -> dict[str, list[Any]]:
        """The JSON of the answer."""
        return {"prediction": output}


if __name__ == "__main__":
    server = litserve.LitServer(Predictor(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
