"""Tree ensembles as ONNX graphs that split exactly where the original splits. Called by `trying`.

scikit-learn's trees compare a feature rounded to float32 with a float64 threshold. A float32 graph takes the largest
float32 that is not above the threshold, which decides every float32 alike; a float64 graph takes the threshold itself
and gets the feature rounded first. Histogram gradient boosting compares float64 with float64, so it has that form only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tidegate.runtimes.accelerated.build.from_boosters import booster_ensemble, is_booster
from tidegate.runtimes.accelerated.build.preparation import CannotConvert, Prepared
from tidegate.runtimes.accelerated.serve.ensemble import Ensemble, Tree, aimed
from tidegate.runtimes.accelerated.serve.form import AcceleratedForm, FormDraft, Head
from tidegate.runtimes.accelerated.serve.mirrored import mirrored, pays
from tidegate.runtimes.base.runtime import scalars

Array = np.ndarray[Any, Any]

FOREST_CLASSIFIERS = frozenset(
    {"RandomForestClassifier", "ExtraTreesClassifier", "DecisionTreeClassifier", "ExtraTreeClassifier"}
)
FOREST_REGRESSORS = frozenset(
    {"RandomForestRegressor", "ExtraTreesRegressor", "DecisionTreeRegressor", "ExtraTreeRegressor"}
)
BOOSTED = frozenset({"GradientBoostingClassifier", "GradientBoostingRegressor"})
HISTOGRAM = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})
KINDS = FOREST_CLASSIFIERS | FOREST_REGRESSORS | BOOSTED | HISTOGRAM

NODES_MAX = 4_000_000
"""Beyond this the ONNX file comes near the 2 GB that a protobuf may have."""
VOTES_BAND_FLOAT32, VOTES_BAND_FLOAT64, SCORES_BAND = 1e-4, 1e-6, 1e-5


def ensemble_of(found: Prepared, classes: Any = None) -> Ensemble:
    """Read the ensemble from the estimator's attributes. Raises `CannotConvert`.

    `classes` are those of a native booster that answers with labels: it has none itself.
    """
    estimator = found.estimator
    if is_booster(estimator):
        return booster_ensemble(estimator, classes)
    kind = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn.") or kind not in KINDS:
        raise CannotConvert(f"a {kind} is no tree ensemble that is known here")
    if kind in BOOSTED:
        return _boosted(estimator, kind)
    if kind in HISTOGRAM:
        return _histogram(estimator, kind)
    return _forest(estimator, kind)


def _forest(estimator: Any, kind: str) -> Ensemble:
    if estimator.n_outputs_ != 1:
        raise CannotConvert("it has several outputs")
    is_classifier = kind in FOREST_CLASSIFIERS
    trees = [_tree(inner.tree_) for inner in getattr(estimator, "estimators_", [estimator])]
    outputs = trees[0].value.shape[1]
    return Ensemble(
        trees,
        np.zeros((1, outputs)),
        "votes" if is_classifier else "value",
        int(estimator.n_features_in_),
        divisor=float(len(trees)),
        classes=estimator.classes_ if is_classifier else None,
    )


def _tree(tree: Any) -> Tree:
    if tree.value.shape[1] != 1:
        raise CannotConvert("it has several outputs")
    track = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, dtype=np.uint8))
    return Tree(
        np.maximum(tree.feature, 0),
        tree.threshold,
        tree.children_left,
        tree.children_right,
        track,
        tree.value[:, 0, :],
        rows=tree.weighted_n_node_samples,
    )


def _boosted(estimator: Any, kind: str) -> Ensemble:
    n_features, columns = int(estimator.n_features_in_), estimator.estimators_.shape[1]
    base = _constant_start(estimator, n_features)
    trees = []
    for stage in estimator.estimators_:
        for column, inner in enumerate(stage):
            tree = _tree(inner.tree_)
            trees.append(aimed(tree, estimator.learning_rate * tree.value[:, 0], column, columns))
    if kind == "GradientBoostingRegressor":
        return Ensemble(trees, base, "value", n_features)
    if estimator.loss != "log_loss":
        raise CannotConvert(f"its loss is {estimator.loss}")
    head: Head = "logistic_from_zero" if columns == 1 else "softmax"
    return Ensemble(trees, base, head, n_features, classes=estimator.classes_)


def _constant_start(estimator: Any, n_features: int) -> Array:
    """What boosting starts from, which must be the same for every row."""
    init = estimator.init_
    if init != "zero" and type(init).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise CannotConvert(f"it starts from the predictions of a {type(init).__name__}")
    start = np.asarray(estimator._raw_predict_init(np.zeros((1, n_features), dtype=np.float32)), dtype=np.float64)
    return start.reshape(1, -1)


def _histogram(estimator: Any, kind: str) -> Ensemble:
    trees = []
    columns = estimator.n_trees_per_iteration_
    for stage in estimator._predictors:
        for column, predictor in enumerate(stage):
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                raise CannotConvert("it splits on categories")
            leaf = nodes["is_leaf"].astype(bool)
            left = np.where(leaf, -1, nodes["left"].astype(np.int64))
            right = np.where(leaf, -1, nodes["right"].astype(np.int64))
            feature = np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64)
            track, rows = nodes["missing_go_to_left"], nodes["count"]
            plain = Tree(feature, nodes["num_threshold"], left, right, track, nodes["value"], rows=rows)
            trees.append(aimed(plain, nodes["value"].astype(np.float64), column, columns))
    if estimator._preprocessor is not None:
        raise CannotConvert("it encodes categories first")
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(1, -1)
    is_classifier = kind == "HistGradientBoostingClassifier"
    if is_classifier:
        head: Head = "logistic" if columns == 1 else "softmax"
    else:
        head = {"IdentityLink": "value", "LogLink": "exp"}[type(estimator._loss.link).__name__]  # type: ignore[assignment]
    classes = estimator.classes_ if is_classifier else None
    return Ensemble(trees, base, head, int(estimator.n_features_in_), float32=False, classes=classes)


# -- as a graph --------------------------------------------------------------------------------------------------------


def tree_form(found: Prepared, ensemble: Ensemble, *, graph_float32: bool) -> FormDraft:
    """The ensemble with thresholds and sums in float32 or float64. Raises `CannotConvert`, `ModuleNotFoundError`."""
    if sum(len(tree.left) for tree in ensemble.trees) > NODES_MAX:
        raise CannotConvert(f"it has more than {NODES_MAX:,} nodes")
    if ensemble.sums_float32 and not graph_float32:
        raise CannotConvert("it adds up in float32")
    if graph_float32 and not ensemble.sums_float32:
        _check_float32(ensemble)
    turned = pays(ensemble)
    form = AcceleratedForm(
        name="trees-float32" if graph_float32 else "trees-float64",
        engine="trees",
        n_features=ensemble.n_features,
        head=ensemble.head,
        classes=None if ensemble.classes is None else scalars(ensemble.classes),
        steps=found.names,
        float32=ensemble.float32,
        graph_float32=graph_float32,
        sums_float32=ensemble.sums_float32,
        zero_to=ensemble.zero_to,
        divisor=ensemble.divisor,
        band=_band(ensemble, graph_float32),
        mirrored=turned,
    )
    compared = _in_float32(ensemble) if graph_float32 else ensemble
    graph = _graph(mirrored(compared) if turned else compared, graph_float32)
    return FormDraft(form, {**found.arrays(), **_exact_arrays(ensemble)}, graph)


def _in_float32(ensemble: Ensemble) -> Ensemble:
    """With thresholds that split float32 features alike, and are float32."""
    return replace(ensemble, trees=[replace(tree, threshold=floor_float32(tree.threshold)) for tree in ensemble.trees])


def _check_float32(ensemble: Ensemble) -> None:
    if not ensemble.float32:
        raise CannotConvert("it compares float64 features, which a float32 graph would round")
    signs = {int(sign) for tree in ensemble.trees for sign in np.unique(np.sign(tree.value[tree.left < 0]))}
    if {-1, 1} <= signs or ensemble.base.any():
        raise CannotConvert("its trees add and take away: in float32 what is left could be off by more than 1e-5")


def _band(ensemble: Ensemble, graph_float32: bool) -> float:
    if ensemble.classes is None or ensemble.votes_are_whole:
        return 0.0
    if ensemble.head == "votes":
        return VOTES_BAND_FLOAT32 if graph_float32 else VOTES_BAND_FLOAT64
    return SCORES_BAND


def _exact_arrays(ensemble: Ensemble) -> dict[str, Array]:
    """What near ties are added up from; nothing where none can be wrong."""
    if ensemble.classes is None or ensemble.votes_are_whole:
        return {}
    sizes = [len(tree.left) for tree in ensemble.trees]
    roots = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)
    return {
        "feature": np.concatenate([tree.feature for tree in ensemble.trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in ensemble.trees]).astype(np.float64),
        "left": _moved([tree.left for tree in ensemble.trees], roots),
        "right": _moved([tree.right for tree in ensemble.trees], roots),
        "track": np.concatenate([tree.track for tree in ensemble.trees]).astype(bool),
        "value": np.concatenate([tree.value for tree in ensemble.trees]).astype(np.float64),
        "root": roots,
        "base": ensemble.base.astype(np.float64),
    }


def _moved(children: list[Array], roots: Array) -> Array:
    return np.concatenate([np.where(c < 0, -1, c + root) for c, root in zip(children, roots, strict=True)])


def floor_float32(thresholds: Array) -> Array:
    """The largest float32 that is not above each float64: it splits all float32 values alike."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    lower = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded.astype(np.float64) > thresholds, lower, rounded)


def _graph(ensemble: Ensemble, graph_float32: bool) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    binary_votes = ensemble.head == "votes" and ensemble.base.shape[1] == 2
    attributes, values, weights = _attributes(ensemble, only_second=binary_votes)
    base: Any = [] if binary_votes or not ensemble.base.any() else ensemble.base.ravel()
    outputs = 1 if binary_votes else ensemble.base.shape[1]
    if graph_float32:
        attributes |= {"nodes_values": values.tolist(), "target_weights": weights.tolist()}
    else:
        attributes["nodes_values_as_tensor"] = numpy_helper.from_array(values, "nodes_values")
        attributes["target_weights_as_tensor"] = numpy_helper.from_array(weights, "target_weights")
        if len(base):
            attributes["base_values_as_tensor"] = numpy_helper.from_array(np.asarray(base), "base_values")
    node = helper.make_node(
        "TreeEnsembleRegressor", ["input"], ["scores"], domain="ai.onnx.ml", n_targets=outputs, **attributes
    )
    element = TensorProto.FLOAT if graph_float32 else TensorProto.DOUBLE
    graph = helper.make_graph(
        [node],
        "tidegate",
        [helper.make_tensor_value_info("input", element, [None, ensemble.n_features])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, outputs])],
    )
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    serialized: bytes = helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString()
    return serialized


def _attributes(ensemble: Ensemble, *, only_second: bool) -> tuple[dict[str, Any], Array, Array]:
    """The graph's lists of nodes and leaves, with thresholds and weights in float64."""
    nodes: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "featureids", "truenodeids")}
    nodes |= {name: [] for name in ("falsenodeids", "modes", "missing_value_tracks_true")}
    targets: dict[str, list[int]] = {"treeids": [], "nodeids": [], "ids": []}
    thresholds, weights = [], []
    for number, tree in enumerate(ensemble.trees):
        leaf, count = tree.left < 0, len(tree.left)
        nodes["treeids"] += [number] * count
        nodes["nodeids"] += range(count)
        nodes["featureids"] += np.where(leaf, 0, tree.feature).tolist()
        nodes["truenodeids"] += np.where(leaf, 0, tree.left).tolist()
        nodes["falsenodeids"] += np.where(leaf, 0, tree.right).tolist()
        nodes["modes"] += np.where(leaf, "LEAF", "BRANCH_LEQ").tolist()
        nodes["missing_value_tracks_true"] += np.where(leaf, 0, tree.track).astype(int).tolist()
        thresholds.append(np.where(leaf, 0.0, tree.threshold))
        ends, ids = _entries(tree, leaf, only_second)
        targets["treeids"] += [number] * len(ends)
        targets["nodeids"] += ends.tolist()
        targets["ids"] += [0] * len(ends) if only_second else ids.tolist()
        weights.append(tree.value[ends, ids])
    attributes = {f"nodes_{name}": items for name, items in nodes.items()}
    attributes |= {f"target_{name}": items for name, items in targets.items()}
    return attributes, np.concatenate(thresholds).astype(np.float64), np.concatenate(weights).astype(np.float64)


def _entries(tree: Tree, leaf: Array, only_second: bool) -> tuple[Array, Array]:
    """Which leaves give a weight to which outputs; each leaf to one at least."""
    ends = np.flatnonzero(leaf)
    if only_second or tree.target is not None or tree.value.shape[1] == 1:
        column = 1 if only_second else tree.target or 0
        return ends, np.full(len(ends), column)
    given = tree.value[ends] != 0
    given[~given.any(axis=1), 0] = True
    rows, ids = np.nonzero(given)
    return ends[rows], ids
