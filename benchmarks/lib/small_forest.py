"""A forest of four columns for benchmarks that measure the platform around a model, and a row to ask it with."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier

ROW = [[0.1, 0.2, 0.3, 0.4]]


def write_forest(path: Path) -> None:
    """Train it, and write it as a joblib file."""
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(500, 4))
    joblib.dump(RandomForestClassifier(n_estimators=50).fit(rows, rows.sum(axis=1) > 0), path)
