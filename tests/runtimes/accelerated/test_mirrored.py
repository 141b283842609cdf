"""Mirrored trees must answer what the plain ones answer, to the last bit, also where a feature equals a threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from xgboost import XGBClassifier

from tidegate.runtimes.accelerated.build.from_boosters import booster_ensemble
from tidegate.runtimes.accelerated.build.from_trees import _boosted, _forest, _graph, _histogram, _in_float32
from tidegate.runtimes.accelerated.serve.ensemble import Ensemble
from tidegate.runtimes.accelerated.serve.mirrored import NODES_MIN, mirrored, pays, with_negatives

FEATURES = 5
Array = np.ndarray[Any, Any]


def trained(estimator: Any) -> tuple[Any, Array]:
    """The estimator, trained on skewed features with missing values and a target that needs many nodes."""
    random = np.random.default_rng(0)
    x = random.exponential(1.0, (600, FEATURES)) - 0.5
    y = (x[:, 0] * x[:, 1] + random.normal(0, 0.5, 600) > 0.2).astype(int)
    x[random.random(x.shape) < 0.05] = np.nan
    return estimator.fit(x, y), x


def ensembles() -> dict[str, tuple[Ensemble, Array]]:
    forest, x = trained(RandomForestClassifier(30, random_state=0))
    regressor, _ = trained(RandomForestRegressor(20, random_state=0))
    histogram, _ = trained(HistGradientBoostingRegressor(max_iter=40, min_samples_leaf=2, random_state=0))
    boosted = GradientBoostingClassifier(n_estimators=150, max_depth=4, random_state=0).fit(
        np.nan_to_num(x), forest.predict(x)
    )
    return {
        "forest": (_forest(forest, "RandomForestClassifier"), x),
        "regressor": (_forest(regressor, "RandomForestRegressor"), x),
        "histogram": (_histogram(histogram, "HistGradientBoostingRegressor"), x),
        "boosted": (_boosted(boosted, "GradientBoostingClassifier"), np.nan_to_num(x)),
        "xgboost": (booster_ensemble(trained(XGBClassifier(n_estimators=60, max_depth=6, n_jobs=1))[0]), x),
        "lightgbm": (booster_ensemble(trained(LGBMClassifier(n_estimators=60, n_jobs=1, verbose=-1))[0]), x),
    }


@pytest.fixture(scope="module")
def known() -> dict[str, tuple[Ensemble, Array]]:
    return ensembles()


def at_the_edges(ensemble: Ensemble, x: Array, dtype: Any) -> Array:
    """Rows of the data, and rows whose features are thresholds, their neighbours, zeros, infinities and NaN."""
    random = np.random.default_rng(1)
    thresholds = np.concatenate([tree.threshold[tree.left >= 0] for tree in ensemble.trees]).astype(dtype)
    infinity = dtype(np.inf)
    values = np.concatenate(
        (
            thresholds,
            np.nextafter(thresholds, infinity),
            np.nextafter(thresholds, -infinity),
            np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38], dtype=dtype),
        )
    )
    return np.concatenate((x.astype(dtype), random.choice(values, (3000, FEATURES))))


def scores(ensemble: Ensemble, x: Array, *, float32: bool) -> Array:
    session = ort.InferenceSession(_graph(ensemble, float32), providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"input": x})[0]
    return found


@pytest.mark.parametrize(
    ("name", "float32"),
    [
        ("forest", True),
        ("forest", False),
        ("regressor", False),
        ("histogram", False),
        ("boosted", False),
        ("xgboost", True),
        ("lightgbm", False),
    ],
)
def test_answers_are_the_same_to_the_last_bit(
    known: dict[str, tuple[Ensemble, Array]], name: str, float32: bool
) -> None:
    ensemble, data = known[name]
    assert pays(ensemble)
    dtype = np.float32 if float32 or ensemble.float32 else np.float64
    x = at_the_edges(ensemble, data, dtype).astype(np.float32 if float32 else np.float64)
    plain = _in_float32(ensemble) if float32 else ensemble
    turned = mirrored(plain)
    changed = sum(int((a.left != b.left).sum()) for a, b in zip(plain.trees, turned.trees, strict=True))
    assert changed > NODES_MIN / 10
    expected = scores(plain, x, float32=float32)
    found = scores(turned, with_negatives(x, x.dtype), float32=float32)
    assert found.tobytes() == expected.tobytes()


def test_most_rows_take_the_second_branch(known: dict[str, tuple[Ensemble, Array]]) -> None:
    for tree in mirrored(known["forest"][0]).trees:
        inner = (tree.left >= 0) & np.isfinite(tree.threshold)  # at infinity missing values go the other way
        assert tree.rows is not None
        assert (tree.rows[tree.left[inner]] <= tree.rows[tree.right[inner]]).all()


def test_a_threshold_at_infinity_stays_as_it_is(known: dict[str, tuple[Ensemble, Array]]) -> None:
    ensemble, _ = known["forest"]
    for tree in ensemble.trees:
        never = replace(tree, threshold=np.full(len(tree.threshold), np.inf))
        turned = mirrored(replace(ensemble, trees=[never])).trees[0]
        assert (turned.left == tree.left).all()


def test_few_nodes_and_trees_of_unknown_rows_stay_as_they_are(known: dict[str, tuple[Ensemble, Array]]) -> None:
    ensemble, _ = known["forest"]
    assert not pays(replace(ensemble, trees=ensemble.trees[:1]))
    assert not pays(replace(ensemble, trees=[replace(tree, rows=None) for tree in ensemble.trees]))
