"""Reads `MLmodel`, the file that says what an MLflow model directory holds. Touches bytes only.

Flavours with a loader of our own (scikit-learn, ONNX, XGBoost, LightGBM, CatBoost) need no MLflow; any other is
"pyfunc".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tidegate.errors import NotAModel
from tidegate.packaging.keras_files import SAVED_MODEL, keras_reason, saved_model_reason
from tidegate.packaging.torch_files import TORCHSCRIPT_REASON, export_reason

MLMODEL = "MLmodel"
CODE = "code"
MODEL_PY = "model.py"
"""What makes a folder a plain Python model."""
PYTHON_FOLDER = "model"
"""Where our packages keep such a folder."""
REQUIREMENTS = "requirements.txt"

PYTHON_REASON = f"it is a Python class, and loading it runs the code of its {MODEL_PY}"

Kind = Literal[
    "joblib",
    "pickle",
    "skops",
    "onnx",
    "xgboost",
    "lightgbm",
    "catboost",
    "torchscript",
    "torch_export",
    "keras",
    "savedmodel",
    "python",
]
"""What a model is saved as, in a file or folder of its own as in a package."""
Loader = Literal[Kind, "pyfunc"]
FRAMEWORK: dict[str, str] = {
    "joblib": "sklearn",
    "pickle": "sklearn",
    "skops": "skops",
    "onnx": "onnx",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "torchscript": "torch",
    "torch_export": "torch",
    "keras": "tensorflow",
    "savedmodel": "tensorflow",
    "pyfunc": "pyfunc",
    "python": "python",
}


@dataclass(frozen=True)
class PackageLayout:
    """How to load a package. `file` is None for pyfunc, which loads the folder itself."""

    dir: Path
    format: Loader
    file: Path | None
    pickle_reason: str | None
    mlmodel: dict[str, Any]
    model_class: str = ""

    @property
    def framework(self) -> str:
        """The manifest's name for what hosts the model."""
        return FRAMEWORK[self.format]

    @property
    def is_wrapped(self) -> bool:
        """Whether it was a bare file or folder that Tidegate made a package of, and no MLflow directory before."""
        return "tidegate" in (self.mlmodel.get("metadata") or {})

    @property
    def predict_fn(self) -> str:
        """The method that MLflow predicts with: what a scikit-learn model was saved with as `pyfunc_predict_fn`."""
        return str(self.mlmodel["flavors"].get("python_function", {}).get("predict_fn") or "predict")

    @property
    def code_dirs(self) -> list[Path]:
        """Folders whose modules the model may import, when it was granted to run code."""
        named = self.mlmodel["flavors"].get("python_function", {}).get(CODE)
        own = {self.file.parent} if self.format == "python" and self.file else set()
        return [path for path in own | {self.dir / CODE, self.dir / (named or CODE)} if path.is_dir()]


def read_layout(package_dir: Path) -> PackageLayout:
    """Read a package's `MLmodel`; raises `NotAModel` when it is missing, no YAML, or names files that are not there."""
    mlmodel = _read_yaml(package_dir / MLMODEL)
    flavors = mlmodel["flavors"]
    for name, reader in _READERS.items():
        if isinstance(flavors.get(name), dict):
            layout = reader(package_dir, mlmodel, flavors[name])
            if layout is not None:
                return layout
    if "python_function" not in flavors:
        raise NotAModel(f"{MLMODEL} has no flavour that can be served: it has {', '.join(sorted(flavors)) or 'none'}")
    loader = flavors["python_function"].get("loader_module", "unknown")
    reason = f"it is an MLflow Python function (loaded by {loader}), and loading it runs code from the folder"
    return PackageLayout(package_dir, "pyfunc", None, reason, mlmodel)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        mlmodel = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotAModel(f"{MLMODEL} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NotAModel(f"{MLMODEL} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(mlmodel, dict) or not isinstance(mlmodel.get("flavors"), dict):
        raise NotAModel(f"{MLMODEL} has no 'flavors', so it does not describe a model")
    return mlmodel


def _inside(package_dir: Path, name: Any) -> Path:
    """The file that `MLmodel` names, which must exist inside the folder."""
    path = package_dir / str(name)
    if not path.resolve().is_relative_to(package_dir.resolve()):
        raise NotAModel(f"{MLMODEL} names {str(name)!r}, which lies outside its folder")
    if not path.is_file():
        raise NotAModel(f"{MLMODEL} names {str(name)!r}, which is not in the folder")
    return path


def _pickled(what: str) -> str:
    return f"its {what} is a pickle, and loading a pickle runs code from the file"


def _read_tidegate(package_dir: Path, mlmodel: dict[str, Any], flavor: dict[str, Any]) -> PackageLayout | None:
    """Our own packages name files so for which MLflow has no flavour."""
    kind = flavor.get("format", "joblib")
    if kind == "savedmodel":
        folder = _inside(package_dir, f"{flavor.get('file')}/{SAVED_MODEL}").parent
        return PackageLayout(package_dir, kind, folder, saved_model_reason(folder), mlmodel)
    file = _inside(package_dir, flavor.get("file"))
    reasons: dict[str, Callable[[], str | None]] = {
        "torch_export": lambda: export_reason(file),
        "torchscript": lambda: TORCHSCRIPT_REASON,
        "keras": lambda: keras_reason(file),
        "python": lambda: PYTHON_REASON,
    }
    if kind in reasons:
        return PackageLayout(package_dir, kind, file, reasons[kind](), mlmodel)
    return PackageLayout(package_dir, "joblib", file, _pickled(file.name), mlmodel)


def _read_sklearn(package_dir: Path, mlmodel: dict[str, Any], flavor: dict[str, Any]) -> PackageLayout | None:
    file = _inside(package_dir, flavor.get("pickled_model", "model.pkl"))
    if flavor.get("serialization_format") == "skops":
        # The `skops_trusted_types` beside it are the sender's own word: only a grant makes them trusted.
        return PackageLayout(package_dir, "skops", file, None, mlmodel)
    return PackageLayout(package_dir, "pickle", file, _pickled(file.name), mlmodel)


def _read_onnx(package_dir: Path, mlmodel: dict[str, Any], flavor: dict[str, Any]) -> PackageLayout | None:
    return PackageLayout(package_dir, "onnx", _inside(package_dir, flavor.get("data", "model.onnx")), None, mlmodel)


def _read_xgboost(package_dir: Path, mlmodel: dict[str, Any], flavor: dict[str, Any]) -> PackageLayout | None:
    file = _inside(package_dir, flavor.get("data", "model.ubj"))
    return PackageLayout(package_dir, "xgboost", file, None, mlmodel, model_class=str(flavor.get("model_class", "")))


def _read_lightgbm(package_dir: Path, mlmodel: dict[str, Any], flavor: dict[str, Any]) -> PackageLayout | None:
    file = _inside(package_dir, flavor.get("data", "model.lgb"))
    if file.suffix == ".skops":
        return PackageLayout(package_dir, "skops", file, None, mlmodel)
    if file.suffix == ".pkl":
        return PackageLayout(package_dir, "pickle", file, _pickled(file.name), mlmodel)
    return PackageLayout(package_dir, "lightgbm", file, None, mlmodel)


def _read_catboost(package_dir: Path, mlmodel: dict[str, Any], flavor: dict[str, Any]) -> PackageLayout | None:
    if flavor.get("save_format", "cbm") != "cbm":
        return None
    file = _inside(package_dir, flavor.get("data", "model.cb"))
    return PackageLayout(package_dir, "catboost", file, None, mlmodel, model_class=str(flavor.get("model_type", "")))


_READERS = {
    "tidegate": _read_tidegate,
    "sklearn": _read_sklearn,
    "onnx": _read_onnx,
    "xgboost": _read_xgboost,
    "lightgbm": _read_lightgbm,
    "catboost": _read_catboost,
}
