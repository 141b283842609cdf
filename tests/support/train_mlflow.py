"""A training script as a data scientist has it: it logs models to MLflow and knows nothing of Tidegate. Run by tests.

    python train_mlflow.py FOLDER    writes what the models say themselves to FOLDER/says.json

`churn` 1 and 2 are good, 3 answers the opposite, 4 is another good one; `trees` is of XGBoost, and no pickle.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.sklearn
import mlflow.xgboost
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

ROWS = 5
NEEDED = [f"{name}=={version(name)}" for name in ("scikit-learn", "xgboost", "cloudpickle", "pandas")]
"""Named, as MLflow takes its time to find out."""


def main(folder: Path) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    wanted = [(1.0, y), (0.1, y), (1.0, 1 - y), (0.5, y)]
    made = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(x, t) for c, t in wanted]
    trees = XGBClassifier(n_estimators=5, max_depth=3).fit(x, y)
    for model in made:
        with mlflow.start_run():
            mlflow.log_metric("accuracy", float(model.score(x, y)))
            mlflow.sklearn.log_model(
                model,
                name="model",
                registered_model_name="churn",
                serialization_format="cloudpickle",
                pip_requirements=NEEDED,
            )
    with mlflow.start_run():
        mlflow.xgboost.log_model(trees, name="model", registered_model_name="trees", pip_requirements=NEEDED)
    mlflow.MlflowClient().set_registered_model_alias("churn", "champion", "1")
    says: dict[str, Any] = {"rows": x[:ROWS].tolist()}
    says["churn"] = [model.predict_proba(x[:ROWS]).max(axis=1).tolist() for model in made]
    says["trees"] = trees.predict(x[:ROWS]).tolist()
    (folder / "says.json").write_text(json.dumps(says))
    np.savetxt(
        folder / "holdout.csv",
        np.column_stack([x, y]),
        delimiter=",",
        header=",".join([*(f"x{i}" for i in range(x.shape[1])), "y"]),
        comments="",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
