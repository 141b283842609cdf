"""From the object a package holds to the model that answers named arrays: one class per kind of object."""

from __future__ import annotations

from typing import Any

from tidegate.errors import NotAModel
from tidegate.packaging.mlmodel import PackageLayout
from tidegate.runtimes.base.runtime import LoadedModel, error_text
from tidegate.runtimes.models.booster_model import BoosterModel
from tidegate.runtimes.models.catboost_model import CatBoostModel
from tidegate.runtimes.models.graph_model import GraphModel
from tidegate.runtimes.models.onnx_model import OnnxModel
from tidegate.runtimes.models.pyfunc_model import PyfuncModel
from tidegate.runtimes.models.python_folder import PythonClass
from tidegate.runtimes.models.python_model import PythonModel
from tidegate.runtimes.models.sklearn_model import PREDICT, OtherFunction, make_sklearn, serve_sklearn
from tidegate.wire.signature import PROBABILITIES, InputKind, Signature, TensorSpec


def adopt(loaded: Any, layout: PackageLayout) -> Any:
    """What was loaded, in the class that drafts and models are made from; raises `NotAModel` for no model at all."""
    if layout.format == "onnx":
        return OnnxModel(loaded)
    if isinstance(loaded, GraphModel | PythonClass):
        return loaded
    if type(loaded).__module__.startswith("catboost"):
        if not loaded.is_fitted():
            raise NotAModel("the CatBoost model is not fitted: fit it before you save it")
        return CatBoostModel(loaded)
    if is_booster(loaded):
        return BoosterModel(loaded, labels=layout.is_wrapped)
    if layout.predict_fn != PREDICT and callable(getattr(loaded, layout.predict_fn, None)):
        _check_fitted(loaded)
        # Any other flavour's `predict_fn` is a method of MLflow's own wrapper, which that calls itself.
        return loaded if layout.format == "pyfunc" else OtherFunction(loaded, layout.predict_fn)
    if isinstance(loaded, type) or not callable(getattr(loaded, "predict", None)):
        kind = type(loaded)
        what = (
            f"the class {loaded.__name__}" if isinstance(loaded, type) else f"a {kind.__module__}.{kind.__qualname__}"
        )
        raise NotAModel(f"the file holds {what}, which has no 'predict', so it is no fitted model that can be served")
    _check_fitted(loaded)
    return loaded


def _check_fitted(estimator: Any) -> None:
    if not hasattr(estimator, "get_params"):
        return
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise NotAModel(f"the model was never fitted: {error_text(error)}") from error
    except Exception:
        # Another library's estimator, which scikit-learn's check does not understand: its first prediction tells.
        return


def is_booster(loaded: Any) -> bool:
    """Whether this is a native booster rather than an estimator around one."""
    module = type(loaded).__module__.partition(".")[0]
    return type(loaded).__name__ == "Booster" and module in ("xgboost", "lightgbm")


def build(adopted: Any, kind: InputKind, specs: tuple[TensorSpec, ...], has_probabilities: bool) -> LoadedModel:
    """The model with these inputs."""
    if isinstance(adopted, GraphModel):
        return adopted.with_inputs(specs)
    if isinstance(adopted, BoosterModel):
        return adopted.with_specs(specs, labels=has_probabilities)
    if isinstance(adopted, CatBoostModel):
        return adopted.with_specs(specs)
    if isinstance(adopted, PythonClass):
        return PythonModel(adopted, kind, specs)
    if type(adopted).__name__ == "PyFuncModel":
        return PyfuncModel(adopted, kind, specs)
    return make_sklearn(adopted, kind, specs, has_probabilities)


def rebuild(adopted: Any, signature: Signature) -> LoadedModel:
    """The model as an earlier inspection found it."""
    if isinstance(adopted, PythonClass):
        return PythonModel(adopted, signature.kind, signature.inputs, signature.outputs)
    if type(adopted).__name__ == "PyFuncModel":
        return PyfuncModel(adopted, signature.kind, signature.inputs, signature.outputs, signature.form)
    if isinstance(adopted, GraphModel | BoosterModel | CatBoostModel):
        # A booster that was registered before it answered with labels goes on with its scores.
        has_probabilities = any(spec.name == PROBABILITIES for spec in signature.outputs)
        return build(adopted, signature.kind, signature.inputs, has_probabilities)
    return serve_sklearn(adopted, signature)
