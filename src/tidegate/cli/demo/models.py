"""The demo's two models and their data, written to files as a user's own training script would. Uses scikit-learn."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOLDOUT_ROWS = 200
EARLY_ROWS = 60
SEED = 7
LATER_TIMES = 3
MISCALIBRATED = 1.3
"""What a wrongly set microscope makes of lengths."""


@dataclass(frozen=True)
class DemoFiles:
    """What training left behind: file names in `folder`, a row nobody trained on, and what it is."""

    folder: Path
    first_model: str
    second_model: str
    holdout: str
    rows: str
    later: str
    one_row: list[float]
    later_truth: list[int]


def train(folder: Path) -> DemoFiles:
    """Train on scikit-learn's breast cancer data: an early model on few rows, then a forest on all of them."""
    import joblib
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer()
    seen, held_out, seen_truth, truth = train_test_split(
        data.data, data.target, test_size=HOLDOUT_ROWS, random_state=SEED, stratify=data.target
    )
    early = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    early.fit(seen[:EARLY_ROWS], seen_truth[:EARLY_ROWS])
    forest = RandomForestClassifier(n_estimators=100, random_state=0).fit(seen, seen_truth)

    later_truth = truth.tolist() * LATER_TIMES
    names_of_files = ("early.joblib", "forest.joblib", "holdout.csv", "rows.csv", "later.csv")
    files = DemoFiles(folder, *names_of_files, held_out[0].tolist(), later_truth)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    joblib.dump(early, folder / files.first_model)
    joblib.dump(forest, folder / files.second_model)
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    _write_csv(folder / files.rows, names, held_out.tolist())
    _write_csv(folder / files.later, names, _measured_later(held_out.tolist(), names))
    labelled = ([*row, int(label)] for row, label in zip(held_out.tolist(), truth.tolist(), strict=True))
    _write_csv(folder / files.holdout, [*names, "benign"], labelled)
    return files


def _measured_later(rows: list[list[float]], names: Sequence[str]) -> list[list[float]]:
    """The same tumours some times over, as a microscope shows them whose scale is wrong: larger than they are."""
    scales = [MISCALIBRATED if name.endswith(("radius", "perimeter")) else 1.0 for name in names]
    scales = [MISCALIBRATED**2 if name.endswith("area") else scale for name, scale in zip(names, scales, strict=True)]
    shown = [[value * scale for value, scale in zip(row, scales, strict=True)] for row in rows]
    return shown * LATER_TIMES


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
