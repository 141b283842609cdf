"""The models that the serving benchmarks ask, as joblib and as ONNX, with rows and the answers that are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROWS = 10_000
CHECKED = 200
MODELS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestClassifier(100, random_state=0),
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}


@dataclass(frozen=True)
class ModelFiles:
    """One model as joblib and as ONNX, with the rows asked and the first ones' right probabilities.

    `again` is the same model in a file of other bytes: a second version with the same answers.
    """

    name: str
    joblib: Path
    again: Path
    onnx: Path
    rows: Sequence[Sequence[float]]
    probabilities: Sequence[Sequence[float]]


def make_model(name: str, folder: Path) -> ModelFiles:
    """Train it on the breast cancer data and write its files; the rows asked are all different."""
    x, y = load_breast_cancer(return_X_y=True)
    model = MODELS[name]().fit(x, y)
    rng = np.random.default_rng(0)
    rows = (x[rng.integers(0, len(x), ROWS)] * rng.normal(1, 0.02, (ROWS, x.shape[1]))).round(4)
    file, again, onnx_file = folder / f"{name}.joblib", folder / f"{name}-again.joblib", folder / f"{name}.onnx"
    joblib.dump(model, file)
    joblib.dump(model, again, compress=1)
    onnx = to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False})
    onnx_file.write_bytes(onnx.SerializeToString())
    return ModelFiles(name, file, again, onnx_file, rows.tolist(), model.predict_proba(rows[:CHECKED]).tolist())
