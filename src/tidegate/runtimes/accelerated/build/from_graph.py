"""Whole models as skl2onnx converts them. Called by `trying`; whatever it raises is a reason to keep the original."""

from __future__ import annotations

import warnings
from typing import Any

from tidegate.runtimes.accelerated.build.preparation import CannotConvert
from tidegate.runtimes.accelerated.serve.form import AcceleratedForm, FormDraft
from tidegate.runtimes.base.runtime import Task, scalars
from tidegate.runtimes.models.sklearn_model import classes_of, last_step, n_features


def graph_form(estimator: Any, task: Task, *, graph_float32: bool) -> FormDraft:
    """The model as one graph on float32 or float64 features."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    width = n_features(estimator)
    if width is None:
        raise CannotConvert("it does not say how many features it takes")
    element = FloatTensorType if graph_float32 else DoubleTensorType
    options: dict[int, Any] = {id(last_step(estimator)): {"zipmap": False}} if task == "classifier" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = to_onnx(estimator, initial_types=[("input", element([None, width]))], options=options)
    classes = classes_of(estimator) if task == "classifier" else None
    form = AcceleratedForm(
        name="skl2onnx-float32" if graph_float32 else "skl2onnx-float64",
        engine="graph",
        n_features=width,
        head="value",
        classes=None if classes is None else scalars(classes),
        graph_float32=graph_float32,
    )
    return FormDraft(form, {}, model.SerializeToString())
