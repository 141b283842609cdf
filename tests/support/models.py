"""Real models, trained once a test session on data that ships with scikit-learn, and files that are no good models."""

from __future__ import annotations

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
    """Train and write all of them."""
    x, y = load_breast_cancer(return_X_y=True)
    seen, fresh = slice(0, 400), slice(400, None)
    frame, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    table = frame[["age", "bmi"]].assign(sex=frame["sex"].map({1.0: "female", 2.0: "male"}).astype(object))
    high = np.where(target > target.median(), "high", "low").astype(object)
    columns = ColumnTransformer([("numbers", StandardScaler(), ["age", "bmi"]), ("words", OneHotEncoder(), ["sex"])])
    made = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x[seen], y[seen]),
        "forest": RandomForestClassifier(20, random_state=0).fit(x[seen], y[seen]),
        "small": RandomForestClassifier(5, random_state=1).fit(x[seen], y[seen]),
        "poor": RandomForestClassifier(1, max_depth=1, random_state=0).fit(x[seen], 1 - y[seen]),
        "columns": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(frame, high),
        "table": make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(table, high),
    }
    for name, model in made.items():
        joblib.dump(model, folder / f"{name}.joblib")
    _data(x[fresh], y[fresh]).to_csv(folder / "validation.csv", index=False)
    _data(x[fresh], y[fresh]).drop(columns="y").to_csv(folder / "no-target.csv", index=False)
    table.assign(y=high).to_csv(folder / "table.csv", index=False)
    pd.DataFrame(x[fresh][:5]).to_csv(folder / "rows.csv", index=False)
    _bad(folder)
    return Models(folder, x[fresh], frame, table, made)


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
    _with_code(folder, "crashing", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    _with_code(folder, "hanging", "import time; time.sleep(3600)")
    licence = f"pathlib.Path({str(folder / 'licence-expired')!r})"
    _with_code(folder, "licensed", f"import pathlib; assert not {licence}.exists(), 'the licence has expired'")
    _script_model(folder)


def _with_code(folder: Path, name: str, on_load: str) -> None:
    """A real model whose class, in a module of its own, does something when it is loaded."""
    code = folder / f"{name}-code"
    code.mkdir()
    (code / f"{name}_model.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n\n\n"
        "class Model(LogisticRegression):\n"
        "    def __setstate__(self, state):\n"
        f"        {on_load}\n"
        "        self.__dict__.update(state)\n"
    )
    _run_in(
        code,
        "import joblib, sklearn.datasets\n"
        f"from {name}_model import Model\n"
        "x, y = sklearn.datasets.load_iris(return_X_y=True)\n"
        f"joblib.dump(Model(max_iter=1000).fit(x, y), {str(folder / f'{name}.joblib')!r})\n",
    )


def _script_model(folder: Path) -> None:
    """A model of a class of the training script itself: the commonest failure of all."""
    _run_in(
        folder,
        "import joblib, sklearn.datasets\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "class ChurnModel(LogisticRegression):\n    pass\n"
        "x, y = sklearn.datasets.load_iris(return_X_y=True)\n"
        f"joblib.dump(ChurnModel(max_iter=1000).fit(x, y), {str(folder / 'script.joblib')!r})\n",
    )


def _run_in(folder: Path, script: str) -> None:
    (folder / "make.py").write_text(script)
    subprocess.run([sys.executable, "make.py"], cwd=folder, check=True, timeout=60)
