"""Gets the model object out of a package and says in plain words why that did not work. Runs the model's code."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidegate.errors import MissingCode, MissingLibrary, ModelLoadFailed, NotAModel, PickleNotGranted, TidegateError
from tidegate.packaging.code import DISTRIBUTIONS, definitions, missing_library, missing_module
from tidegate.packaging.library_versions import xgboost_version
from tidegate.packaging.mlmodel import PackageLayout
from tidegate.runtimes.base.devices import CPU, chosen_device, only_cpu
from tidegate.runtimes.base.runtime import THREADS, error_text
from tidegate.runtimes.models.python_folder import load_folder

_SAFE_SKOPS = re.compile(
    r"lightgbm\.(basic\.Booster|sklearn\.LGBM\w+)|xgboost\.(core\.Booster|sklearn\.XGB\w+)"
    r"|collections\.(OrderedDict|defaultdict)"
)


def load_object(layout: PackageLayout, granted: bool, device: str | None = None) -> Any:
    """The model itself: an estimator, a booster, an ONNX session, a program or an MLflow pyfunc model.

    `device` is `cpu` (as None is), `auto`, `cuda` or `cuda:N`. Raises `PickleNotGranted`, `MissingLibrary`,
    `MissingCode`, `NotAModel`, `NoSuchDevice` or `ModelLoadFailed`.
    """
    if layout.pickle_reason and not granted:
        raise PickleNotGranted(
            f"this model may not be loaded: {layout.pickle_reason}. If you trust where it comes from, allow it with "
            "--allow-pickle"
        )
    code_dirs = layout.code_dirs if granted else []
    with _explained(layout, code_dirs), _importable(code_dirs), _version_checked():
        if layout.format in _ON_DEVICES:
            return _ON_DEVICES[layout.format](layout, granted, device)
        only_cpu(device, layout.framework)
        return _LOADERS[layout.format](layout, granted)


def check_sklearn_versions(saved: frozenset[str]) -> None:
    """Refuse estimators of another minor version of scikit-learn, which may load and answer something else."""
    if not saved:
        return
    import sklearn

    for version in sorted(saved):
        if version.split(".")[:2] != sklearn.__version__.split(".")[:2]:
            raise _other_version(version, sklearn.__version__)


def _other_version(saved: str, here: str) -> ModelLoadFailed:
    minor = ".".join(saved.split(".")[:2])
    return ModelLoadFailed(
        f"the model was saved with scikit-learn {saved} and this environment has {here}: another minor version may "
        "answer differently without saying so. Register it ('tidegate register FILE --name NAME --allow-pickle', or "
        f"'deploy'): that builds an environment with scikit-learn {minor} for it. Or train and save it with {here}, or "
        f"name 'scikit-learn=={minor}.*' in the file given with --requirements",
        saved_with=saved,
        installed=here,
    )


@contextmanager
def _version_checked() -> Iterator[None]:
    """Refuse what scikit-learn only warns of; other warnings pass on to the log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        message = warning.message
        if type(message).__name__ == "InconsistentVersionWarning":
            check_sklearn_versions(frozenset({str(getattr(message, "original_sklearn_version", "unknown"))}))
    for warning in caught:
        print(f"warning while loading the model: {error_text(_as_exception(warning.message))}", file=sys.stderr)  # noqa: T201 - a replica's log is its stderr


def _as_exception(message: Warning | str) -> BaseException:
    return message if isinstance(message, BaseException) else UserWarning(message)


@contextmanager
def _importable(code_dirs: list[Path]) -> Iterator[None]:
    """Let the model import from its own code, now and later, and find there what it was pickled with as `__main__`."""
    for folder in code_dirs:
        sys.path.insert(0, str(folder))
    main = sys.modules["__main__"]
    if not code_dirs:
        yield
        return
    vars(main)["__getattr__"] = _main_finder(code_dirs)
    try:
        yield
    finally:
        vars(main).pop("__getattr__", None)


def _main_finder(code_dirs: list[Path]) -> Callable[[str], Any]:
    def find(name: str) -> Any:
        for folder in code_dirs if not name.startswith("__") else []:
            for module in definitions({name}, folder)[name]:
                found = getattr(importlib.import_module(module), name)
                setattr(sys.modules["__main__"], name, found)
                return found
        raise AttributeError(f"module '__main__' has no attribute '{name}'")

    return find


@contextmanager
def _explained(layout: PackageLayout, code_dirs: list[Path]) -> Iterator[None]:
    """Turn whatever loading raised into an error that says what to do."""
    try:
        yield
    except TidegateError:
        raise
    except ModuleNotFoundError as error:
        raise _module_missing(error, layout, code_dirs) from error
    except AttributeError as error:
        raise _attribute_missing(error, layout, code_dirs) from error
    except (EOFError, pickle.UnpicklingError) as error:
        raise NotAModel(
            f"{_name(layout)} is damaged or was cut off: {error_text(error)}. Save or copy it again"
        ) from error
    except SystemExit as error:
        raise ModelLoadFailed(f"the model's code ended the process while it was loaded (exit {error.code})") from error
    except Exception as error:
        raise ModelLoadFailed(f"{_name(layout)} could not be loaded: {error_text(error)}") from error


def _name(layout: PackageLayout) -> str:
    handed_in = ((layout.mlmodel.get("metadata") or {}).get("tidegate") or {}).get("filename")
    return repr(handed_in or (layout.file.name if layout.file else layout.dir.name))


def _module_missing(error: ModuleNotFoundError, layout: PackageLayout, code_dirs: list[Path]) -> TidegateError:
    module = error.name or "unknown"
    top = module.partition(".")[0]
    if module != top and importlib.util.find_spec(top) is not None:
        return ModelLoadFailed(
            f"{_name(layout)} needs the module {module!r}, which the installed {DISTRIBUTIONS.get(top, top)} does not "
            "have: the model was saved with another version of it",
            module=module,
        )
    if top in DISTRIBUTIONS or layout.format not in ("joblib", "pickle", "skops"):
        return missing_library(top, f"loading {_name(layout)}: {error_text(error)}")
    return missing_module(_name(layout).strip("'"), module, {module}, code_dirs[0] if code_dirs else None)


def _attribute_missing(error: AttributeError, layout: PackageLayout, code_dirs: list[Path]) -> TidegateError:
    text = error_text(error)
    match = re.search(r"'(\w+)' on <module '([\w.]+)'|module '([\w.]+)' has no attribute '(\w+)'", text)
    if match is None:
        return ModelLoadFailed(f"{_name(layout)} could not be loaded: {text}")
    name, module = match[1] or match[4], match[2] or match[3]
    place = "the script or notebook that trained it ('__main__')" if module == "__main__" else f"the module {module!r}"
    hint = (
        f"no .py file in the folder given with --code defines {name!r}"
        if code_dirs
        else "give the folder of the module that defines it with --code DIR"
    )
    if module != "__main__" and not any((folder / f"{module.partition('.')[0]}.py").exists() for folder in code_dirs):
        hint = f"the installed {module.partition('.')[0]} has no {name!r}: was the model saved with another version?"
    return MissingCode(f"{_name(layout)} was saved with {name!r} of {place}: {hint}", module=module, names=[name])


def _load_joblib(layout: PackageLayout, _granted: bool) -> Any:
    joblib = _library("joblib", layout)
    return joblib.load(layout.file)


def _load_pickle(layout: PackageLayout, _granted: bool) -> Any:
    with _file(layout).open("rb") as file:
        return pickle.load(file)  # noqa: S301 - granted: `load_object` has seen to it


def _load_skops(layout: PackageLayout, granted: bool) -> Any:
    skops_io = _library("skops.io", layout)
    untrusted = list(skops_io.get_untrusted_types(file=layout.file))
    unknown = sorted(name for name in untrusted if not _SAFE_SKOPS.fullmatch(name))
    if unknown and not granted:
        raise PickleNotGranted(
            f"{_name(layout)} holds types that skops does not trust: {', '.join(unknown)}. Loading them runs their "
            "code: if you trust where the model comes from, allow it with --allow-pickle",
            types=unknown,
        )
    return skops_io.load(layout.file, trusted=untrusted)


def _load_onnx(layout: PackageLayout, _granted: bool, device: str | None) -> Any:
    ort = _library("onnxruntime", layout)
    has_gpu = "CUDAExecutionProvider" in ort.get_available_providers()
    place = chosen_device(device, lambda: int(has_gpu), "ONNX")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.log_severity_level = 3
    try:
        providers = ["CPUExecutionProvider"] if place == CPU else ["CUDAExecutionProvider", "CPUExecutionProvider"]
        return ort.InferenceSession(str(layout.file), options, providers=providers)
    except Exception as error:
        if type(error).__name__ == "InvalidProtobuf":
            raise NotAModel(f"{_name(layout)} is no ONNX model, or was cut off: {error_text(error)}") from error
        raise


def _load_xgboost(layout: PackageLayout, _granted: bool) -> Any:
    xgboost = _library("xgboost", layout)
    _check_not_newer(layout, xgboost.__version__)
    booster = xgboost.Booster({"nthread": THREADS})
    booster.load_model(layout.file)
    kept = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type", layout.model_class.lower())
    wrapper = "XGBClassifier" if "classifier" in kept else "XGBRegressor" if "regressor" in kept else None
    if wrapper is None:
        return booster
    # Saved from the scikit-learn class, so its `predict` (labels, not probabilities) is the original's.
    model = getattr(_library("xgboost.sklearn", layout), wrapper)(n_jobs=THREADS)
    model.load_model(layout.file)
    return model


def _check_not_newer(layout: PackageLayout, here: str) -> None:
    """XGBoost reads files of older versions; of newer ones it takes what it knows, and leaves out the rest."""
    saved = xgboost_version(_file(layout))
    if saved is None or saved <= tuple(int(part) for part in here.split(".")[:2]):
        return
    minor = ".".join(map(str, saved))
    raise ModelLoadFailed(
        f"{_name(layout)} was saved with XGBoost {minor} and this environment has {here}, which would leave out what "
        "it does not know. Register it with --allow-pickle and --requirements FILE, where FILE names "
        f"'xgboost=={minor}.*': that builds an environment for it",
        saved_with=minor,
        installed=here,
    )


def _load_lightgbm(layout: PackageLayout, _granted: bool) -> Any:
    lightgbm = _library("lightgbm", layout)
    return lightgbm.Booster(model_file=str(layout.file))


def _load_catboost(layout: PackageLayout, _granted: bool) -> Any:
    from tidegate.runtimes.models.catboost_model import load_catboost

    return load_catboost(layout.file, layout.model_class)


def _load_torchscript(layout: PackageLayout, _granted: bool, device: str | None) -> Any:
    from tidegate.runtimes.models.torch_model import load_script

    return load_script(_file(layout), device)


def _load_torch_export(layout: PackageLayout, _granted: bool, device: str | None) -> Any:
    from tidegate.runtimes.models.torch_model import load_exported

    return load_exported(_file(layout), device)


def _load_keras(layout: PackageLayout, granted: bool, device: str | None) -> Any:
    from tidegate.runtimes.models.tensorflow_model import load_keras

    return load_keras(_file(layout), device, granted=granted)


def _load_saved_model(layout: PackageLayout, _granted: bool, device: str | None) -> Any:
    from tidegate.runtimes.models.tensorflow_model import load_saved_model

    return load_saved_model(_file(layout), device)


def _file(layout: PackageLayout) -> Path:
    assert layout.file is not None  # noqa: S101 - for the type checker: only pyfunc has no file
    return layout.file


def _load_pyfunc(layout: PackageLayout, _granted: bool) -> Any:
    # By name, at run time: this package must work without MLflow (a contract in pyproject.toml forbids the import), and
    # only a flavour that has no loader here asks for it.
    mlflow_pyfunc = _library("mlflow.pyfunc", layout)
    return mlflow_pyfunc.load_model(str(layout.dir))


def _load_python(layout: PackageLayout, _granted: bool) -> Any:
    return load_folder(layout)


_LOADERS: dict[str, Callable[[PackageLayout, bool], Any]] = {
    "joblib": _load_joblib,
    "pickle": _load_pickle,
    "skops": _load_skops,
    "xgboost": _load_xgboost,
    "lightgbm": _load_lightgbm,
    "catboost": _load_catboost,
    "pyfunc": _load_pyfunc,
    "python": _load_python,
}
_ON_DEVICES: dict[str, Callable[[PackageLayout, bool, str | None], Any]] = {
    "onnx": _load_onnx,
    "torchscript": _load_torchscript,
    "torch_export": _load_torch_export,
    "keras": _load_keras,
    "savedmodel": _load_saved_model,
}
"""Frameworks that can be told where to run."""


def _library(module: str, layout: PackageLayout) -> Any:
    """Import a framework; raises `MissingLibrary` with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing: MissingLibrary = missing_library((error.name or module).partition(".")[0], f"to read {_name(layout)}")
        raise missing from error
