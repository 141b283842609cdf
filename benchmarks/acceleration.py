"""Which faster form each kind of model gets, how far off it is, how much faster: `python benchmarks/acceleration.py`.

Every figure is measured on this machine, in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # as a replica has it

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tidegate.runtimes.accelerated.trying import Record, Subject, accelerate
from tidegate.runtimes.base import output_spec
from tidegate.runtimes.sklearn_model import make_sklearn
from tidegate.wire.signature import Signature, TensorSpec


def models() -> Iterator[tuple[Any, Any, Any]]:
    """Estimators with the data to train them on; the last two are tried on request only."""
    cancer, iris = load_breast_cancer(return_X_y=True), load_iris(return_X_y=True)
    diabetes = load_diabetes(return_X_y=True)
    yield RandomForestClassifier(100, random_state=0), *cancer
    yield RandomForestClassifier(100, max_depth=5, random_state=0), *iris
    yield ExtraTreesClassifier(100, random_state=0), *cancer
    yield DecisionTreeClassifier(random_state=0), *cancer
    yield RandomForestRegressor(100, random_state=0), *diabetes
    yield GradientBoostingClassifier(random_state=0), *cancer
    yield GradientBoostingRegressor(random_state=0), *diabetes
    yield HistGradientBoostingClassifier(random_state=0), *cancer
    yield make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), *cancer
    yield make_pipeline(StandardScaler(), Ridge()), *diabetes
    yield make_pipeline(StandardScaler(), MLPClassifier((32,), max_iter=2000, random_state=0)), *cancer
    yield make_pipeline(StandardScaler(), SVC()), *cancer
    yield GaussianNB(), *cancer


def subject_of(estimator: Any, x: Any, y: Any) -> Subject:
    """The estimator trained on one half, with rows of the other."""
    estimator.fit(x[::2], y[::2])
    specs = (TensorSpec("input", "FP64", (-1, x.shape[1])),)
    model = make_sklearn(estimator, "matrix", specs, hasattr(estimator, "predict_proba"))
    rows = {"input": np.ascontiguousarray(x[1::2])}
    outputs = tuple(output_spec(name, array) for name, array in model.predict(rows, None).items())
    return Subject(estimator, model, Signature("matrix", specs, outputs, model.classes), rows)


def line(record: Record) -> str:
    """A row of the table."""
    kept = next((entry for entry in record.tried if entry["form"] == record.kept), None)
    if kept is None:
        return f"| {record.kind} | none: {record.reason} | | | | |"
    times = f"{kept['seconds_1'] * 1e6:.1f} / {kept['seconds_64'] * 1e6:.1f}"
    gains = f"{kept['speedup_1']:.1f} | {kept['speedup_64']:.1f}"
    return f"| {record.kind} | {record.kept} | {kept['largest_difference']:.1e} | {gains} | {times} |"


def main() -> None:
    """Print the table, and with --json the whole records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the records here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| kind | form kept | largest difference | speed-up, 1 row | 64 rows | µs, 1 row / 64 rows |")
    print("|---|---|---|---|---|---|")
    records = []
    for estimator, x, y in models():
        with tempfile.TemporaryDirectory(prefix="tidegate-accelerate-") as scratch:
            record = accelerate(subject_of(estimator, x, y), Path(scratch, "form"), True, lambda _done, _message: None)
        records.append(record.body())
        print(line(record), flush=True)
    if options.json:
        options.json.write_text(json.dumps(records, indent=2))


if __name__ == "__main__":
    main()
