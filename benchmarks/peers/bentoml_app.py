"""BentoML: a service with one worker and one method."""

from typing import Any

import bentoml
from model import ITEM, Model

if ITEM == "w5":

    @bentoml.service(workers=1)
    class Predictor:
        """The penguins: named fields."""

        def __init__(self) -> None:
            self._model = Model()

        @bentoml.api(route="/predict")
        def predict(
            self,
            island: str,
            sex: str,
            bill_length_mm: float,
            bill_depth_mm: float,
            flipper_length_mm: float,
            body_mass_g: float,
        ) -> dict[str, list[Any]]:
            """The species of one penguin."""
            row = {
                "island": island,
                "sex": sex,
                "bill_length_mm": bill_length_mm,
                "bill_depth_mm": bill_depth_mm,
                "flipper_length_mm": flipper_length_mm,
                "body_mass_g": body_mass_g,
            }
            return {"prediction": self._model.predict(row)}

else:

    @bentoml.service(workers=1)
    class Predictor:  # type: ignore[no-redef]
        """Numbers, as a list or lists of lists."""

        def __init__(self) -> None:
            self._model = Model()

        @bentoml.api(route="/predict")
        def predict(self, features: list[Any]) -> dict[str, list[Any]]:
            """The model's answer."""
            return {"prediction": self._model.predict(features)}
