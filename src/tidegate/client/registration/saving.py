"""A Python model object as a file, in the safest format that holds it. Called by registration; imports a framework
only when the object in hand is that framework's.
"""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tidegate.errors import InvalidArgument, PickleNotGranted


def save_model(model: Any, folder: Path, allow_pickle: bool) -> Path:
    """Write `model` into `folder` and return the file.

    ONNX models, XGBoost and LightGBM boosters are saved in their own formats, scikit-learn models with skops when it
    trusts every type in them. Anything else would have to be pickled: raises `PickleNotGranted` unless `allow_pickle`.
    """
    kind = type(model)
    family = kind.__module__.partition(".")[0]
    if kind.__name__ == "ModelProto" and hasattr(model, "SerializeToString"):
        return _written(folder / "model.onnx", model.SerializeToString())
    if family == "xgboost" and kind.__name__ == "Booster":
        model.save_model(folder / "model.ubj")
        return folder / "model.ubj"
    if family == "lightgbm" and kind.__name__ == "Booster":
        model.save_model(folder / "model.txt")
        return folder / "model.txt"
    if not callable(getattr(model, "predict", None)):
        raise InvalidArgument(
            f"a {kind.__module__}.{kind.__qualname__} has no predict method: give a fitted model, the path of a model "
            "file, or a models:/ or runs:/ URI",
            field="model",
        )
    return _save_estimator(model, folder, allow_pickle)


def _save_estimator(model: Any, folder: Path, allow_pickle: bool) -> Path:
    why_not = _save_skops(model, folder / "model.skops")
    if why_not is None:
        return folder / "model.skops"
    if not allow_pickle:
        raise PickleNotGranted(
            f"a {type(model).__name__} can only be saved by pickling it ({why_not}), and loading a pickle runs code "
            "from it: pass allow_pickle=True if that is fine"
        )
    return _pickled(model, folder)


def _save_skops(model: Any, path: Path) -> str | None:
    """None when saved; otherwise why skops cannot hold the model."""
    if find_spec("skops") is None:
        return "skops is not installed"
    import skops.io

    try:
        skops.io.dump(model, path)
        untrusted = skops.io.get_untrusted_types(file=path)
    except Exception as error:  # noqa: BLE001, RUF100 - skops raises whatever a type's own state raises
        return f"skops cannot save it: {error}"
    return f"skops does not trust {', '.join(sorted(untrusted)[:5])}" if untrusted else None


def _pickled(model: Any, folder: Path) -> Path:
    try:
        if find_spec("joblib") is None:
            return _written(folder / "model.pkl", pickle.dumps(model))
        import joblib

        joblib.dump(model, folder / "model.joblib")
    except Exception as error:  # noqa: BLE001, RUF100 - pickling runs the object's own code
        raise InvalidArgument(f"a {type(model).__name__} cannot be pickled: {error}", field="model") from None
    return folder / "model.joblib"


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
