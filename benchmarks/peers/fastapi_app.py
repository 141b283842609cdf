"""The plain way: FastAPI and the model in one process, predict and predict_proba for each request.

Run by serving.py under uvicorn; MODEL names the joblib or ONNX file.
"""

import os
from typing import Any

from fastapi import FastAPI
from predictor import load
from pydantic import BaseModel

app = FastAPI()
model = load(os.environ["MODEL"])


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
    labels, probabilities = model.both([question.features])
    return {
        "prediction": labels.tolist(),
        "confidence": float(probabilities.max()),
        "model_version": question.model_version,
    }
