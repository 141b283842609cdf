"""Which faster form each kind of model gets, how far off it is, how much faster: `python benchmarks/acceleration.py`.

Every figure is measured on this machine, in this process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # as a replica has it

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tidegate.packaging.mlmodel import PackageLayout
from tidegate.runtimes.accelerated.build.trying import Original, Record, accelerate
from tidegate.runtimes.base.inputs import column_inputs
from tidegate.runtimes.base.runtime import Arrays, LoadedModel, output_spec
from tidegate.runtimes.models.booster_model import BoosterModel
from tidegate.runtimes.models.sklearn_model import last_step, make_sklearn
from tidegate.runtimes.signatures.inference import infer_signature
from tidegate.wire.signature import Signature, TensorSpec


class Native:
    """A library's own `train` with `fit`, so that its booster is trained like any estimator."""

    def __init__(self, train: Any) -> None:
        self.train, self.booster = train, None

    def fit(self, x: Any, y: Any) -> None:
        """Train."""
        self.booster = self.train(x, y)


def boosters() -> Iterator[tuple[Any, Any, Any]]:
    """XGBoost and LightGBM, 100 rounds each."""
    cancer, iris = load_breast_cancer(return_X_y=True), load_iris(return_X_y=True)
    diabetes = load_diabetes(return_X_y=True)
    yield xgb.XGBClassifier(n_jobs=1), *cancer
    yield xgb.XGBClassifier(n_jobs=1), *iris
    yield xgb.XGBRegressor(n_jobs=1), *diabetes
    native = {"objective": "binary:logistic", "nthread": 1}
    yield Native(lambda x, y: xgb.train(native, xgb.DMatrix(x, label=y), 100)), *cancer
    yield xgb.XGBClassifier(n_jobs=1, booster="dart"), *iris
    quiet: dict[str, Any] = {"n_jobs": 1, "verbose": -1}
    yield lgb.LGBMClassifier(**quiet), *cancer
    yield lgb.LGBMClassifier(**quiet), *iris
    yield lgb.LGBMRegressor(**quiet), *diabetes
    own = {"objective": "binary", "num_threads": 1, "verbose": -1}
    yield Native(lambda x, y: lgb.train(own, lgb.Dataset(x, label=y), 100)), *cancer


def models() -> Iterator[tuple[Any, Any, Any]]:
    """Estimators with the data to train them on; the last two of scikit-learn are tried on request only."""
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
    yield from boosters()


def tables() -> Iterator[tuple[Any, Any, Any]]:
    """A data frame of two columns of text, an integer and three floats, with gaps, before three kinds of models."""
    rng, rows = np.random.default_rng(0), 2000
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["income", "balance", "tenure"])
    frame = frame.mask(rng.random(frame.shape) < 0.05).assign(age=rng.integers(18, 90, rows))
    frame["city"] = rng.choice([f"city {index}" for index in range(20)], rows)
    frame["job"] = rng.choice(["cook", "nurse", "driver", "clerk"], rows)
    label = ((frame["age"] > 50) ^ (frame["job"] == "cook")).astype(int).to_numpy()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = [("texts", OneHotEncoder(handle_unknown="ignore"), ["city", "job"])]
    columns += [("numbers", numbers, ["income", "balance", "tenure", "age"])]
    yield make_pipeline(ColumnTransformer(columns), LogisticRegression(max_iter=1000)), frame, label
    yield make_pipeline(ColumnTransformer(columns), RandomForestClassifier(100, random_state=0)), frame, label
    yield make_pipeline(ColumnTransformer(columns), GradientBoostingClassifier(random_state=0)), frame, label


def subject_of(estimator: Any, x: Any, y: Any) -> Original:
    """The estimator trained on one half, with rows of the other."""
    estimator.fit(x[::2], y[::2])
    if isinstance(x, pd.DataFrame):
        inferred = infer_signature(estimator, PackageLayout(Path(), "joblib", None, None, {}), None, [])
        signature = inferred.signature()
        inputs: Arrays = {}
        for spec in signature.inputs:
            inputs |= column_inputs(x[spec.name][1::2].tolist(), spec)
        return Original(estimator, inferred.model, signature, inputs)
    specs = (TensorSpec("input", "FP64", (-1, x.shape[1])),)
    if isinstance(estimator, Native):
        estimator = estimator.booster
        model: LoadedModel = BoosterModel(estimator)
    else:
        model = make_sklearn(estimator, "matrix", specs, hasattr(estimator, "predict_proba"))
    rows = {"input": np.ascontiguousarray(x[1::2])}
    outputs = tuple(output_spec(name, array) for name, array in model.predict(rows, None).items())
    return Original(estimator, model, Signature("matrix", specs, outputs, model.classes), rows)


def line(framework: str, record: Record) -> str:
    """A row of the table."""
    kept = next((entry for entry in record.tried if entry["form"] == record.kept), None)
    if kept is None:
        return f"| {framework} | {record.kind} | none: {record.reason} | | | | |"
    times = f"{kept['seconds_1'] * 1e6:.1f} / {kept['seconds_64'] * 1e6:.1f}"
    gains = f"{kept['speedup_1']:.1f} | {kept['speedup_64']:.1f}"
    return f"| {framework} | {record.kind} | {record.kept} | {kept['largest_difference']:.1e} | {gains} | {times} |"


def main() -> None:
    """Print the table, and with --json the whole records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the records here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| framework | kind | form kept | largest difference | speed-up, 1 row | 64 rows | µs, 1 row / 64 rows |")
    print("|---|---|---|---|---|---|---|")
    records = []
    for estimator, x, y in itertools.chain(models(), tables()):
        with tempfile.TemporaryDirectory(prefix="tidegate-accelerate-") as scratch:
            subject = subject_of(estimator, x, y)
            record = accelerate(subject, Path(scratch, "form"), True, lambda _done, _message: None)
        records.append(record.body())
        framework = type(last_step(subject.estimator)).__module__.partition(".")[0]
        print(line(framework, record), flush=True)
    if options.json:
        options.json.write_text(json.dumps(records, indent=2))


if __name__ == "__main__":
    main()
