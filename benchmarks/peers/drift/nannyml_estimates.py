"""NannyML's estimates without labels on the data in its wheel, beside what labels show: JSON in, JSON out.

For an environment with `nannyml` (and `statsmodels`, which its release on some indexes does not name). A job is
{"folder": where rows go as .npz files, "every": of the rows of the regression, one in so many}. Each set of data has a
reference, and chunks after it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.simplefilter("ignore")

import nannyml  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

pd.set_option("future.infer_string", False)

CHUNKS = 10
CLASSIFIERS = {
    "car_loan": ("load_synthetic_car_loan_dataset", "y_pred_proba", "repaid", 0.645),
    "work_home": ("load_synthetic_binary_classification_dataset", "y_pred_proba", "work_home_actual", 0.475),
    "employment": ("load_us_census_ma_employment_data", "predicted_probability", "employed", 0.5),
}
"""Loader, score, label, and from which score on these data call a row positive."""
METRICS = {"accuracy": "accuracy", "f1": "f1", "auc": "roc_auc"}
FEATURES = ["car_age", "km_driven", "price_new", "accident_count", "door_count", "fuel", "transmission"]


def loaded(loader: str, every: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The reference, and later rows with their labels, as many as make chunks of equal length."""
    before, now, labels = getattr(nannyml, loader)()
    now = now.merge(labels, on="id").iloc[::every].reset_index(drop=True)
    return before.iloc[::every].reset_index(drop=True), now[: len(now) // CHUNKS * CHUNKS]


def listed(result: object, metric: str) -> list[float]:
    """A figure of each chunk after the reference."""
    return [float(each) for each in result.filter(period="analysis").to_df()[(metric, "value")]]


def classifier(name: str, folder: Path) -> dict:
    """CBPE, and the realised metrics. Scores have three decimals at most, for NannyML as for others."""
    loader, score, label, threshold = CLASSIFIERS[name]
    before, now = loaded(loader)
    for rows in (before, now):
        rows[score] = rows[score].round(3)
        rows["predicted"] = (rows[score] >= threshold).astype(int)
    given = {"y_pred_proba": score, "y_pred": "predicted", "y_true": label, "problem_type": "classification_binary"}
    given |= {"metrics": list(METRICS.values()), "chunk_size": len(now) // CHUNKS}
    started = time.process_time()
    estimated = nannyml.CBPE(**given).fit(before).estimate(now.drop(columns=label))
    cpu_s = time.process_time() - started
    real = nannyml.PerformanceCalculator(**given).fit(before).calculate(now)
    rows = {"scores": now[score], "labels": now[label], "reference_scores": before[score]}
    np.savez(folder / f"{name}.npz", reference_labels=before[label], **rows)
    figures = {
        ours: {"estimated": listed(estimated, theirs), "realised": listed(real, theirs)}
        for ours, theirs in METRICS.items()
    }
    return {"cpu_s": cpu_s, "threshold": threshold, "metrics": figures}


def coded(values: pd.Series) -> np.ndarray:
    """Numbers as they are, categories by their place in the alphabet."""
    return values.to_numpy() if values.dtype.kind in "if" else pd.factorize(values, sort=True)[0]


def regressor(every: int, folder: Path) -> dict:
    """DLE of the price of cars, and the realised mean absolute error."""
    before, now = loaded("load_synthetic_car_price_dataset", every)
    given = {"metrics": ["mae"], "y_pred": "y_pred", "y_true": "y_true", "chunk_size": len(now) // CHUNKS}
    started = time.process_time()
    estimated = nannyml.DLE(feature_column_names=FEATURES, **given).fit(before).estimate(now.drop(columns="y_true"))
    cpu_s = time.process_time() - started
    real = nannyml.PerformanceCalculator(problem_type="regression", **given).fit(before).calculate(now)
    found = {}
    for prefix, rows in (("reference_", before), ("", now)):
        found[f"{prefix}inputs"] = np.column_stack([coded(rows[each]) for each in FEATURES]).astype(np.float64)
        found[f"{prefix}predictions"], found[f"{prefix}labels"] = rows["y_pred"], rows["y_true"]
    np.savez(folder / "car_price.npz", **found)
    figures = {"absolute_error": {"estimated": listed(estimated, "mae"), "realised": listed(real, "mae")}}
    return {"cpu_s": cpu_s, "metrics": figures}


job = json.load(sys.stdin)
place = Path(job["folder"])
sets = {name: classifier(name, place) for name in CLASSIFIERS} | {"car_price": regressor(job["every"], place)}
made_with = {name: importlib.metadata.version(name) for name in ("nannyml", "lightgbm", "numpy", "pandas")}
print(json.dumps({"made_with": made_with, "chunks": CHUNKS, "sets": sets}))
