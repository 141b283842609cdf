"""Turns a model as it was handed in into a package: an MLflow model directory with its digest. Never loads it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tidegate.errors import NotAModel, PickleNotGranted
from tidegate.packaging.code import check_code
from tidegate.packaging.filelist import FILES
from tidegate.packaging.formats import Format, ModelSource
from tidegate.packaging.mlmodel import CODE, MLMODEL, MODEL_PY, PYTHON_FOLDER, REQUIREMENTS, read_layout

_IGNORED = frozenset(
    {"__pycache__", ".git", ".venv", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache", ".DS_Store", FILES}
)
_MODEL_FILE = {
    "joblib": "model.joblib",
    "pickle": "model.pkl",
    "skops": "model.skops",
    "onnx": "model.onnx",
    "lightgbm": "model.lgb",
    "catboost": "model.cbm",
    "torchscript": "model.pt",
    "torch_export": "model.pt2",
    "keras": "model.keras",
    "savedmodel": "saved_model",
}
_REQUIRES = {
    "joblib": ["scikit-learn", "joblib"],
    "pickle": ["scikit-learn"],
    "skops": ["scikit-learn", "skops"],
    "onnx": ["onnxruntime"],
    "xgboost": ["xgboost"],
    "lightgbm": ["lightgbm"],
    "catboost": ["catboost"],
    "torchscript": ["torch"],
    "torch_export": ["torch"],
    "keras": ["tensorflow", "keras"],
    "savedmodel": ["tensorflow"],
}
_WITHOUT_FLAVOR = ("joblib", "torchscript", "torch_export", "keras", "savedmodel", "python")
"""MLflow has no flavour for the bare file; the package then is read by us alone."""

FILE_NAME = "model"
"""What a digest calls a single file, whatever its user calls it: the same bytes are the same version."""


@dataclass(frozen=True)
class Package:
    """A finished package. `format` is what was handed in, `framework` what will host it."""

    dir: Path
    digest: str
    format: Format
    framework: str
    needs_pickle_grant: bool
    size_bytes: int


def libraries_of(loader: str) -> list[str]:
    """The distributions that a model saved as this is loaded with; none for what says so itself (pyfunc, Python)."""
    return _REQUIRES.get(loader, [])


def digest_of(source: ModelSource, code_dir: Path | None = None, requirements: str | None = None) -> str:
    """Hex SHA-256 over the sorted relative paths and contents as they were handed in; a single file's name is left out.

    It hashes lines of `sha256(content)  path`, as `sha256sum` prints them, so that a person can work it out as well.
    """
    return _digest(_handed_in(source, code_dir, FILE_NAME), requirements)


def digest_with_name(source: ModelSource, code_dir: Path | None = None, requirements: str | None = None) -> str:
    """What earlier releases gave: a single file's name was part of it. A folder's is the same."""
    return _digest(_handed_in(source, code_dir, source.filename), requirements)


def _digest(handed_in: Iterable[tuple[str, Path]], requirements: str | None) -> str:
    lines = [f"{_sha256(path)}  {name}\n" for name, path in handed_in]
    if requirements is not None:
        lines.append(f"{hashlib.sha256(requirements.encode()).hexdigest()}  {REQUIREMENTS}\n")
    lines.sort(key=lambda line: line[66:])
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def wrap(
    source: ModelSource,
    into: Path,
    *,
    code_dir: Path | None = None,
    requirements: str | None = None,
    allow_pickle: bool = False,
    elsewhere: bool = False,
) -> Package:
    """Write the package into `into` (new or empty). `elsewhere`: it will be loaded in an environment of its own.

    Raises `PickleNotGranted` when loading the model runs code and `allow_pickle` is not given, `MissingCode` or
    `MissingLibrary` when it names classes that are not to be had, `NotAModel` for a folder that cannot be a package.
    """
    if source.pickle_reason and not allow_pickle:
        raise PickleNotGranted(
            f"{source.filename!r} is refused: {source.pickle_reason}. If you trust where it comes from, allow it with "
            "--allow-pickle (or for all versions of a model with 'tidegate models trust NAME --pickle')"
        )
    if source.scan is not None and not elsewhere:
        check_code(source.scan, source.filename, code_dir or _own_code(source), requirements)
    into.mkdir(parents=True, exist_ok=True)
    if source.format == "mlflow":
        _copy_tree(source.path, into)
    elif source.format == "python":
        _copy_python(source, into)
    else:
        _copy_file(source, into, has_code=code_dir is not None)
    if code_dir is not None:
        _copy_tree(code_dir, into / CODE)
    if requirements is not None:
        (into / REQUIREMENTS).write_text(requirements, encoding="utf-8")
    size_bytes = sum(path.stat().st_size for path in into.rglob("*") if path.is_file())
    digest = digest_of(source, code_dir, requirements)
    framework = read_layout(into).framework
    return Package(into, digest, source.format, framework, source.needs_pickle_grant, size_bytes)


def _own_code(source: ModelSource) -> Path | None:
    folder = source.path / CODE
    return folder if source.path.is_dir() and folder.is_dir() else None


def _handed_in(source: ModelSource, code_dir: Path | None, file_name: str) -> Iterator[tuple[str, Path]]:
    if source.path.is_dir():
        yield from _files(source.path)
    else:
        yield file_name, source.path
    if code_dir is not None:
        yield from ((f"{CODE}/{name}", path) for name, path in _files(code_dir))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name and path of every regular file below; raises `NotAModel` for a link that leads out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _IGNORED)
        for name in sorted(set(names) - _IGNORED):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                raise NotAModel(f"{relative!r} is a link that leads out of its folder")
            if path.is_file():
                yield relative, path


def _copy_tree(folder: Path, into: Path) -> None:
    for name, path in _files(folder):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _copy_file(source: ModelSource, into: Path, *, has_code: bool) -> None:
    name = _MODEL_FILE.get(source.format) or _xgboost_name(source.path)
    if source.path.is_dir():
        _copy_tree(source.path, into / name)
    else:
        shutil.copyfile(source.path, into / name)
    _write_mlmodel(source, into, name, CODE if has_code else None)
    (into / REQUIREMENTS).write_text("\n".join(_REQUIRES[source.format]) + "\n", encoding="utf-8")


def _copy_python(source: ModelSource, into: Path) -> None:
    """The folder as it is, below one of its own: the registry writes files of its own beside `MLmodel`."""
    _copy_tree(source.path, into / PYTHON_FOLDER)
    _write_mlmodel(source, into, f"{PYTHON_FOLDER}/{MODEL_PY}", None)
    requirements = source.path / REQUIREMENTS
    if requirements.is_file():
        shutil.copyfile(requirements, into / REQUIREMENTS)


def _write_mlmodel(source: ModelSource, into: Path, name: str, code: str | None) -> None:
    mlmodel = {
        "flavors": _flavors(source.format, name, code),
        "metadata": {"tidegate": {"filename": source.filename}},
    }
    (into / MLMODEL).write_text(yaml.safe_dump(mlmodel, sort_keys=False), encoding="utf-8")


def _xgboost_name(path: Path) -> str:
    with path.open("rb") as file:
        return "model.ubj" if file.read(32).lstrip()[:2] in (b"{L", b"{l") else "model.json"


def _flavors(model_format: Format, name: str, code: str | None) -> dict[str, Any]:
    """Flavours as MLflow itself writes them, so that it can load the package too; it has none for some files."""
    if model_format in _WITHOUT_FLAVOR:
        return {"tidegate": {"file": name, "format": model_format}}
    pyfunc = {"env": {"virtualenv": None}, "code": code}
    if model_format in ("pickle", "skops"):
        flavor = {"pickled_model": name, "serialization_format": model_format, "code": code}
        return {
            "python_function": {
                "loader_module": "mlflow.sklearn",
                "model_path": name,
                "predict_fn": "predict",
                **pyfunc,
            },
            "sklearn": flavor,
        }
    return {
        "python_function": {"loader_module": f"mlflow.{model_format}", "data": name, **pyfunc},
        model_format: {"data": name, "code": code},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
