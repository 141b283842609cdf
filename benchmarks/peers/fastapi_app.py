"""The plain way: FastAPI and the model in one process, predict and predict_proba for each request.

Run by serving.py under uvicorn; MODEL names the joblib file.
"""

import os
from typing import Any

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL"])


class Question(BaseModel):
    """One row."""

    features: list[float]
    model_version: str = "latest"


@app.get("/health")
async def health() -> dict[str, str]:
    """Whether it runs."""
    return {"status": "healthy"}


@app.post("/predict")
async def predict(question: Question) -> dict[str, Any]:
    """The label and how sure the model is."""
    row = [question.features]
    return {
        "prediction": model.predict(row).tolist(),
        "confidence": float(model.predict_proba(row).max()),
        "model_version": question.model_version,
    }
