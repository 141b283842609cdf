"""Reads the trees of XGBoost's and LightGBM's models, native or in scikit-learn's wrapper. Called by `from_trees`.

XGBoost rounds features to float32, goes left where they are less than a float32 threshold, and adds up in float32, tree
by tree: so does the form, to the last bit of the sum. LightGBM compares and adds in float64, and takes what is nearer
to 0 than 1e-35 for 0.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from tidegate.runtimes.accelerated.build.preparation import CannotConvert
from tidegate.runtimes.accelerated.serve.ensemble import Ensemble, Tree, aimed
from tidegate.runtimes.accelerated.serve.form import Head

Array = np.ndarray[Any, Any]

KINDS = frozenset({"XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"}) | frozenset(
    {"LGBMClassifier", "LGBMRegressor", "Booster"}
)
LIBRARIES = ("xgboost", "lightgbm")
NEARLY_ZERO = float(np.float32(1e-35))
"""LightGBM takes numbers up to this for 0."""

_XGBOOST_EXP = ("count:poisson", "reg:gamma", "reg:tweedie")
_XGBOOST_SAME = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")
_LIGHTGBM_EXP = ("poisson", "gamma", "tweedie")
_LIGHTGBM_SAME = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_CATEGORICAL, _DEFAULT_LEFT = 1, 2


def is_booster(estimator: Any) -> bool:
    """Whether it is one of theirs that is known here."""
    return type(estimator).__name__ in KINDS and type(estimator).__module__.partition(".")[0] in LIBRARIES


def booster_ensemble(estimator: Any, classes: Any = None) -> Ensemble:
    """`classes`: those of a native booster that answers with labels. Raises `CannotConvert`."""
    is_xgboost = type(estimator).__module__.startswith("xgboost")
    known = None if classes is None else np.asarray(classes)
    return _of_xgboost(estimator, known) if is_xgboost else _of_lightgbm(estimator, known)


# -- XGBoost -----------------------------------------------------------------------------------------------------------


def _of_xgboost(estimator: Any, classes: Array | None) -> Ensemble:
    is_wrapper = hasattr(estimator, "get_booster")
    booster = estimator.get_booster() if is_wrapper else estimator
    if is_wrapper and not np.isnan(estimator.missing):
        raise CannotConvert(f"it takes {estimator.missing} for a missing value")
    kept = json.loads(bytes(booster.save_raw("json")))["learner"]
    if kept["gradient_booster"].get("name") != "gbtree":
        raise CannotConvert(f"it is boosted by {kept['gradient_booster'].get('name')}, not by plain trees")
    columns = max(int(kept["learner_model_param"]["num_class"]), 1)
    if int(kept["learner_model_param"].get("num_target", 1)) > 1:
        raise CannotConvert("it predicts several values a row")
    classes = np.asarray(estimator.classes_) if is_wrapper and hasattr(estimator, "n_classes_") else classes
    objective = kept["objective"]["name"]
    head = _xgboost_head(objective, classes is not None)
    model = kept["gradient_booster"]["model"]
    used = _used_trees(model, estimator._get_iteration_range(None)[1] if is_wrapper else 0)
    trees = [_xgboost_tree(model["trees"][index], model["tree_info"][index], columns) for index in range(used)]
    base = _base_margins(kept["learner_model_param"]["base_score"], objective, columns)
    return Ensemble(
        _with_base(trees, base, columns),
        np.zeros((1, columns)),
        head,
        int(booster.num_features()),
        classes=classes,
        sums_float32=True,
    )


def _xgboost_head(objective: str, is_classifier: bool) -> Head:
    if objective in ("binary:logistic", "reg:logistic") and is_classifier == (objective == "binary:logistic"):
        return "second_if_likelier" if is_classifier else "sigmoid"
    if objective == "binary:logistic":
        return "sigmoid"
    if objective == "multi:softprob" and is_classifier:
        return "likeliest"
    if objective in _XGBOOST_EXP and not is_classifier:
        return "exp"
    if objective in _XGBOOST_SAME and not is_classifier:
        return "value"
    raise CannotConvert(f"its objective is {objective}")


def _used_trees(model: dict[str, Any], rounds: int) -> int:
    """How many trees are asked: all, or those up to the best round where training stopped early."""
    ends = model["iteration_indptr"]
    return int(ends[rounds] if 0 < rounds < len(ends) else ends[-1])


def _xgboost_tree(tree: dict[str, Any], column: int, columns: int) -> Tree:
    if any(tree["split_type"]):
        raise CannotConvert("it splits on categories")
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise CannotConvert("its leaves hold several values")
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    numbers = np.array(tree["split_conditions"], dtype=np.float32)
    # x < t is x <= the float32 before t, for every float32 x.
    before = np.nextafter(numbers, np.float32(-np.inf)).astype(np.float64)
    feature = np.where(left < 0, 0, np.array(tree["split_indices"]))
    values, rows = numbers[:, None].astype(np.float64), _counts([tree.get("sum_hessian")])
    plain = Tree(feature, before, left, right, np.array(tree["default_left"]), values, rows=rows)
    return aimed(plain, plain.value[:, 0], column, columns)


def _base_margins(text: str, objective: str, columns: int) -> Array:
    """What the sums start from, in float32, from the base score that was kept as a prediction."""
    scores = np.atleast_1d(np.array(json.loads(text), dtype=np.float32))
    if objective.endswith("logistic"):
        scores = -np.log(np.float32(1) / scores - np.float32(1))
    elif objective in _XGBOOST_EXP:
        scores = np.log(scores)
    margins: Array = np.broadcast_to(scores.astype(np.float32), (columns,))
    if not np.isfinite(margins).all():
        raise CannotConvert(f"its base score is {text}")
    return margins


def _with_base(trees: list[Tree], base: Array, columns: int) -> list[Tree]:
    """The base added to the leaves of each output's first tree: in float32 that is the sum's own first step."""
    for column in range(columns):
        first = next((tree for tree in trees if tree.target == column), None)
        if first is None:
            raise CannotConvert("it has outputs without trees")
        first.value[:, column] = (first.value[:, column].astype(np.float32) + base[column]).astype(np.float64)
    return trees


# -- LightGBM ----------------------------------------------------------------------------------------------------------


def _of_lightgbm(estimator: Any, classes: Array | None) -> Ensemble:
    booster = getattr(estimator, "booster_", estimator)
    header, *blocks = re.split(r"^Tree=\d+$", booster.model_to_string().partition("\nend of trees")[0], flags=re.M)
    about = _fields(header)
    columns = int(about["num_tree_per_iteration"])
    classes = np.asarray(estimator.classes_) if hasattr(estimator, "classes_") else classes
    head = _lightgbm_head(about.get("objective", "none"), classes is not None, columns)
    trees = [_lightgbm_tree(_fields(block), index % columns, columns) for index, block in enumerate(blocks)]
    if not trees:
        raise CannotConvert("it has no trees")
    is_mean = "average_output" in header.split()
    splits = np.concatenate([tree.threshold[tree.left >= 0] for tree in trees])
    return Ensemble(
        trees,
        np.zeros((1, columns)),
        head,
        int(about["max_feature_idx"]) + 1,
        divisor=float(len(trees) // columns) if is_mean else 1.0,
        float32=False,
        classes=classes,
        zero_to=NEARLY_ZERO if bool((np.abs(splits) <= NEARLY_ZERO).any()) else 0.0,
    )


def _fields(block: str) -> dict[str, str]:
    lines = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in lines if equals}


def _lightgbm_head(objective: str, is_classifier: bool, columns: int) -> Head:
    name, *options = objective.split()
    if name == "binary" and "sigmoid:1" in options:
        return "second_if_likelier" if is_classifier else "sigmoid"
    if name == "multiclass" and is_classifier:
        return "likeliest"
    if name in _LIGHTGBM_EXP and columns == 1 and not is_classifier:
        return "exp"
    if name in _LIGHTGBM_SAME and not options and columns == 1 and not is_classifier:
        return "value"
    raise CannotConvert(f"its objective is {objective}")


def _lightgbm_tree(fields: dict[str, str], column: int, columns: int) -> Tree:
    if int(fields.get("num_cat", 0)):
        raise CannotConvert("it splits on categories")
    if int(fields.get("is_linear", 0)):
        raise CannotConvert("its leaves are linear models")
    leaves = _numbers(fields["leaf_value"], np.float64)
    splits = int(fields["num_leaves"]) - 1
    # Inner nodes come first here, leaves after them; LightGBM writes leaf n as -n - 1.
    ends = np.full(len(leaves), -1)
    pad: Array = np.zeros(len(leaves))
    if not splits:
        zeros = np.zeros(1, dtype=np.int64)
        return aimed(Tree(zeros, pad, ends, ends, zeros, leaves[:, None], rows=pad), leaves, column, columns)
    threshold = _numbers(fields["threshold"], np.float64)
    children = [_numbers(fields[side], np.int64) for side in ("left_child", "right_child")]
    left, right = (np.concatenate((np.where(c < 0, splits - 1 - c, c), ends)) for c in children)
    track = _missing_left(_numbers(fields["decision_type"], np.int64), threshold)
    feature = np.concatenate((_numbers(fields["split_feature"], np.int64), pad.astype(np.int64)))
    values = np.concatenate((np.zeros(splits), leaves))
    rows = _counts([fields.get(count) and fields[count].split() for count in ("internal_count", "leaf_count")])
    track, threshold = np.concatenate((track, pad)), np.concatenate((threshold, pad))
    return aimed(Tree(feature, threshold, left, right, track, values[:, None], rows=rows), values, column, columns)


def _missing_left(decisions: Array, threshold: Array) -> Array:
    """Where missing values go: the default, or, if training saw none, where 0 goes."""
    if (decisions & _CATEGORICAL).any():
        raise CannotConvert("it splits on categories")
    kind = (decisions >> 2) & 3
    if (kind == 1).any():
        raise CannotConvert("it takes 0 for a missing value")
    return np.where(kind == 2, (decisions & _DEFAULT_LEFT) > 0, threshold >= 0)


def _counts(parts: list[Any]) -> Array | None:
    """How many rows came by each node; None where a file does not say so."""
    if any(part is None for part in parts):
        return None
    return np.concatenate([np.array(part, dtype=np.float64) for part in parts])


def _numbers(text: str, dtype: Any) -> Array:
    return np.array(text.split(), dtype=dtype)
