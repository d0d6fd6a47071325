"""Hand-written FastAPI: load the joblib at start, a pydantic body, a plain `def` endpoint, `model.predict`."""

import os

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL"])


class Row(BaseModel):
    """One row."""

    features: list[float]


@app.post("/predict")
def predict(row: Row) -> dict[str, list[int]]:
    """The label of one row."""
    return {"prediction": model.predict([row.features]).tolist()}
