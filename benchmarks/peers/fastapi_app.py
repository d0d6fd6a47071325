"""Hand-written FastAPI: load the model at start, a pydantic body, a plain `def` endpoint, `model.predict`.

The image comes as raw bytes, in an `async def` endpoint without a thread: the quickest that FastAPI has for it.
"""

from typing import Any

from fastapi import FastAPI, Request
from model import ITEM, Model
from pydantic import BaseModel

app = FastAPI()
model = Model()


class Row(BaseModel):
    """One row."""

    features: list[float]


class Rows(BaseModel):
    """Many rows."""

    features: list[list[float]]


class Penguin(BaseModel):
    """One bird."""

    island: str
    sex: str
    bill_length_mm: float
    bill_depth_mm: float
    flipper_length_mm: float
    body_mass_g: float


if ITEM == "w3":

    @app.post("/predict")
    def predict_rows(rows: Rows) -> dict[str, list[int]]:
        """The labels of many rows."""
        return {"prediction": model.predict(rows.features)}

elif ITEM == "w4":

    @app.post("/predict")
    async def predict_image(request: Request) -> dict[str, list[list[float]]]:
        """The scores of one image."""
        return {"prediction": model.predict(await request.body())}

elif ITEM == "w5":

    @app.post("/predict")
    def predict_penguin(penguin: Penguin) -> dict[str, list[str]]:
        """The species of one penguin."""
        return {"prediction": model.predict(penguin.model_dump())}

else:

    @app.post("/predict")
    def predict(row: Row) -> dict[str, list[Any]]:
        """The label of one row."""
        return {"prediction": model.predict(row.features)}
