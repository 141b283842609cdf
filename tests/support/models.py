"""Real models, trained once a test run on data that ships with scikit-learn, and files that are no good models."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from support.met_by_models import met_at

NAMES = ("logistic", "forest", "small", "poor", "columns", "table")
SEEN, FRESH = slice(0, 400), slice(400, None)


@dataclass(frozen=True)
class Models:
    """Model files in one folder, with what the models themselves say of some rows."""

    folder: Path
    rows: np.ndarray
    """Breast cancer rows (30 features) that `logistic`, `forest` and `small` have not seen."""
    frame: pd.DataFrame
    """Numeric named columns for `columns`."""
    table: pd.DataFrame
    """Numbers and strings for `table_pipeline`."""
    made: dict[str, Any]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def says(self, name: str, rows: Any) -> list[Any]:
        """The model's own predictions."""
        return list(np.asarray(self.made[name].predict(rows)).tolist())

    def is_sure(self, name: str, rows: Any) -> list[float]:
        """The model's own highest probabilities."""
        return list(self.made[name].predict_proba(rows).max(axis=1).tolist())


def train(folder: Path) -> Models:
    """The models in this folder, trained by whichever process asks first; the others wait, then read the files."""
    folder.mkdir(exist_ok=True)
    with (folder / "training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "trained").exists():
            _make(folder)
            (folder / "trained").touch()
    x, _ = load_breast_cancer(return_X_y=True)
    frame, _ = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    made = {name: joblib.load(folder / f"{name}.joblib") for name in NAMES}
    return Models(folder, x[FRESH], frame, _table(frame), made)


def _make(folder: Path) -> None:
    """Train and write all of them."""
    x, y = load_breast_cancer(return_X_y=True)
    frame, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    table = _table(frame)
    high = np.where(target > target.median(), "high", "low").astype(object)
    columns = ColumnTransformer([("numbers", StandardScaler(), ["age", "bmi"]), ("words", OneHotEncoder(), ["sex"])])
    made = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x[SEEN], y[SEEN]),
        "forest": RandomForestClassifier(20, random_state=0).fit(x[SEEN], y[SEEN]),
        "small": RandomForestClassifier(5, random_state=1).fit(x[SEEN], y[SEEN]),
        "poor": RandomForestClassifier(1, max_depth=1, random_state=0).fit(x[SEEN], 1 - y[SEEN]),
        "columns": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(frame, high),
        "table": make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(table, high),
    }
    for name in NAMES:
        joblib.dump(made[name], folder / f"{name}.joblib")
    _data(x[FRESH], y[FRESH]).to_csv(folder / "validation.csv", index=False)
    _data(x[FRESH], y[FRESH]).drop(columns="y").to_csv(folder / "no-target.csv", index=False)
    table.assign(y=high).to_csv(folder / "table.csv", index=False)
    pd.DataFrame(x[FRESH][:5]).to_csv(folder / "rows.csv", index=False)
    _bad(folder)


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["age", "bmi"]].assign(sex=frame["sex"].map({1.0: "female", 2.0: "male"}).astype(object))


def _data(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])]).assign(y=y)


def _bad(folder: Path) -> None:
    (folder / "text.joblib").write_text("I am a poem, not a model.\n" * 50)
    (folder / "empty.joblib").write_bytes(b"")
    whole = (folder / "forest.joblib").read_bytes()
    (folder / "truncated.joblib").write_bytes(whole[: len(whole) // 2])
    # Pickles of a class whose library is not installed: a known one, and one that nobody knows.
    (folder / "no-library.pkl").write_bytes(b"clifelines.fitters\nCoxPHFitter\n)\x81.")
    (folder / "no-module.pkl").write_bytes(b"cboosted_trees_of_nowhere.sklearn\nClassifier\n)\x81.")
    licence = f"pathlib.Path({str(met_at(folder / 'licence-expired'))!r})"
    on_load = {
        "crashing": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "hanging": "import time; time.sleep(3600)",
        "licensed": f"import pathlib; assert not {licence}.exists(), 'the licence has expired'",
    }
    for name, does in on_load.items():
        _code_of(folder / f"{name}-code", name, does)
    (folder / "make.py").write_text(_MAKE_WITH_CODE)
    # In a process of its own: this one must not have these classes, as nobody else has them.
    subprocess.run([sys.executable, "make.py", *on_load], cwd=folder, check=True, timeout=300)


_MAKE_WITH_CODE = """
import importlib
import sys

import joblib
import sklearn.datasets
from sklearn.linear_model import LogisticRegression


class ChurnModel(LogisticRegression):
    '''Of the training script itself: the commonest failure of all.'''


x, y = sklearn.datasets.load_iris(return_X_y=True)
joblib.dump(ChurnModel(max_iter=1000).fit(x, y), "script.joblib")
for name in sys.argv[1:]:
    sys.path.append(f"{name}-code")
    model = importlib.import_module(f"{name}_model").Model
    joblib.dump(model(max_iter=1000).fit(x, y), f"{name}.joblib")
"""


def _code_of(code: Path, name: str, on_load: str) -> None:
    """The module of a model's class that does something when it is loaded."""
    code.mkdir()
    (code / f"{name}_model.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n\n\n"
        "class Model(LogisticRegression):\n"
        "    def __setstate__(self, state):\n"
        f"        {on_load}\n"
        "        self.__dict__.update(state)\n"
    )
