"""Tells by its content what kind of model a file or folder is. Never loads one; the file's name is only a hint."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tidegate.errors import NotAModel
from tidegate.packaging.keras_files import SAVED_MODEL, keras_reason, saved_model_reason
from tidegate.packaging.library_versions import skops_sklearn_versions
from tidegate.packaging.mlmodel import MLMODEL, MODEL_PY, PYTHON_REASON, Kind, read_layout
from tidegate.packaging.pickles import PickleScan, scan_pickle
from tidegate.packaging.protobuf import onnx_verdict
from tidegate.packaging.streams import compression_of, open_stream
from tidegate.packaging.torch_files import TORCHSCRIPT_REASON, export_reason, torch_kind

Format = Literal[Kind, "mlflow"]

TAKEN = (
    "Tidegate takes scikit-learn models saved with joblib or pickle (.joblib, .pkl), skops files (.skops), "
    "ONNX (.onnx), XGBoost (.ubj, .json), LightGBM text (.txt), CatBoost (.cbm), PyTorch programs (.pt2, TorchScript "
    ".pt), Keras (.keras), TensorFlow SavedModel directories, MLflow model directories, and folders with a model.py"
)
PICKLE_REASON = "it is a pickle, and loading a pickle runs code from the file"

_HEAD_BYTES = 1 << 16
_TORCH_PICKLE = (
    "a PyTorch pickle (torch.save of a module or of its state_dict), which is useless without the Python class it was "
    "made from. Save the program: torch.export.save(torch.export.export(model.eval(), (example,)), 'model.pt2'), "
    "or torch.jit.save(torch.jit.trace(model.eval(), example), 'model.pt')"
)
_TORCH_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""The number that torch.save wrote first before it wrote zip files."""
_PICKLE_SUFFIXES = (".joblib", ".pkl", ".pickle", ".p", ".sav", ".jl")
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "a Parquet file"),
    (b"\x89HDF", "an HDF5 file (an old Keras model? Save it as .keras, or with model.export(folder))"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"SQLite format 3", "an SQLite database"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the real file with 'git lfs pull'"),
    (b"binf", "an XGBoost model in its old binary format: save it again as .ubj"),
)


@dataclass(frozen=True)
class ModelSource:
    """A model as it was handed in. `filename` is its own name; `pickle_reason` says why it needs a grant.

    `sklearn_versions` are those that the estimators of a skops file were saved with; a pickle's are in its `scan`.
    """

    path: Path
    filename: str
    format: Format
    pickle_reason: str | None = None
    scan: PickleScan | None = None
    sklearn_versions: frozenset[str] = frozenset()

    @property
    def needs_pickle_grant(self) -> bool:
        """Whether loading this model runs code that came with it."""
        return self.pickle_reason is not None


def read_source(path: Path, filename: str | None = None) -> ModelSource:
    """What lies at `path`. `filename` is the name its owner gave it, where `path` is only a temporary one.

    Raises `NotAModel`, saying what the file looks like and what is taken, for anything else: also for a model that
    was cut off.
    """
    filename = filename or path.name
    if path.is_dir():
        return _read_folder(path, filename)
    if not path.is_file():
        raise NotAModel(f"{filename!r} does not exist or is no regular file")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise NotAModel(f"{filename!r} is empty. {TAKEN}")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(max(0, size_bytes - 4096))
        tail = file.read()
    return _read_file(path, filename, head, tail)


def _read_folder(path: Path, filename: str) -> ModelSource:
    if (path / SAVED_MODEL).is_file() and not (path / MLMODEL).is_file():
        return ModelSource(path, filename, "savedmodel", saved_model_reason(path))
    if not (path / MLMODEL).is_file():
        if (path / MODEL_PY).is_file():
            return ModelSource(path, filename, "python", PYTHON_REASON)
        raise NotAModel(
            f"the folder {filename!r} has no {MLMODEL} file, so it is no MLflow model directory, and no {MODEL_PY}, so "
            f"it is no Python model either. {TAKEN}"
        )
    layout = read_layout(path)
    scan = scan_pickle(layout.file) if layout.file and layout.format in ("joblib", "pickle") else None
    versions = skops_sklearn_versions(layout.file) if layout.file and layout.format == "skops" else frozenset()
    return ModelSource(path, filename, "mlflow", layout.pickle_reason, scan, versions)


def _read_file(path: Path, filename: str, head: bytes, tail: bytes) -> ModelSource:  # noqa: PLR0911 - a return a format
    if head.startswith(b"PK"):
        return _read_zip(path, filename)
    if head.startswith(b"CBM1"):
        return _whole(ModelSource(path, filename, "catboost"), _catboost_is_whole(path, head))
    if head.startswith(b"{L") and b"learner" in head:
        return _whole(ModelSource(path, filename, "xgboost"), tail.endswith(b"}"))
    if head.lstrip().startswith(b"{"):
        return _read_json(path, filename, head, tail)
    if head.startswith(b"tree\n") and b"version=" in head[:200]:
        return _whole(ModelSource(path, filename, "lightgbm"), _lightgbm_is_whole(path))
    verdict = onnx_verdict(path)
    if verdict is not None:
        return _whole(ModelSource(path, filename, "onnx"), verdict == "whole")
    if head[:1] == b"\x80" or compression_of(head) or filename.lower().endswith(_PICKLE_SUFFIXES):
        return _read_pickle(path, filename, head)
    raise _refused(filename, _looks_like(head))


def _whole(source: ModelSource, whole: bool) -> ModelSource:
    if whole:
        return source
    raise NotAModel(
        f"{source.filename!r} looks like a model ({source.format}) that ends in the middle: the file was cut off "
        "while it was written or copied. Save or copy it again"
    )


def _catboost_is_whole(path: Path, head: bytes) -> bool:
    """Whether the part whose length it begins with is there; tables of categories may follow."""
    return path.stat().st_size >= 8 + int.from_bytes(head[4:8], "little")


def _lightgbm_is_whole(path: Path) -> bool:
    """Whether the sections that were begun were also ended."""
    with path.open("rb") as file:
        lines = {line.strip() for line in file if line.startswith((b"end of", b"parameters:"))}
    return b"end of trees" in lines and (b"parameters:" not in lines or b"end of parameters" in lines)


def _read_zip(path: Path, filename: str) -> ModelSource:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise NotAModel(
            f"{filename!r} starts like a zip file (skops, PyTorch) but ends in the middle: the file was cut off while "
            "it was written or copied"
        ) from None
    if "schema.json" in names:
        return ModelSource(path, filename, "skops", sklearn_versions=skops_sklearn_versions(path))
    if "config.json" in names and "metadata.json" in names:
        return ModelSource(path, filename, "keras", keras_reason(path))
    kind = torch_kind(names)
    if kind == "torchscript":
        return ModelSource(path, filename, kind, TORCHSCRIPT_REASON)
    if kind == "torch_export":
        return ModelSource(path, filename, kind, export_reason(path))
    if kind == "pickled":
        raise _refused(filename, _TORCH_PICKLE)
    raise _refused(filename, "a zip file that holds no model")


def _read_json(path: Path, filename: str, head: bytes, tail: bytes) -> ModelSource:
    if b'"learner"' in head or b'"learner"' in tail:
        return _whole(ModelSource(path, filename, "xgboost"), tail.rstrip().endswith(b"}"))
    raise _refused(filename, "a JSON document that is no XGBoost model")


def _read_pickle(path: Path, filename: str, head: bytes) -> ModelSource:
    compression = compression_of(head)
    if _TORCH_LEGACY in head[:32]:
        raise _refused(filename, _TORCH_PICKLE)
    begins_binary = _first_byte(path) == b"\x80"
    scan = scan_pickle(path)
    if not begins_binary and not scan.complete:
        raise _refused(filename, f"a {compression} archive" if compression else _looks_like(head))
    if scan.opcodes < 2:
        raise _refused(filename, "a pickle that was cut off" if scan.truncated else "a damaged pickle")
    if not scan.globals and scan.complete:
        raise _refused(filename, "a pickle of plain data: it names no class")
    is_joblib = compression is not None or filename.lower().endswith(".joblib")
    is_joblib = is_joblib or any(module.startswith("joblib.") for module, _ in scan.globals)
    source = ModelSource(path, filename, "joblib" if is_joblib else "pickle", PICKLE_REASON, scan)
    return _whole(source, not scan.truncated)


def _first_byte(path: Path) -> bytes:
    """The first byte of the inflated content: every pickle since protocol 2 begins with the same one."""
    try:
        stream = open_stream(path)
        with closing(stream):
            return stream.read(1)
    except (OSError, zlib.error, lzma.LZMAError):
        return b""


def _looks_like(head: bytes) -> str:
    for magic, what in _OTHERS:
        if head.startswith(magic):
            return what
    text = _as_text(head)
    if text is None:
        return "binary data of no kind that is known here"
    return _text_like(text.lstrip())


def _as_text(head: bytes) -> str | None:
    if b"\x00" in head:
        return None
    try:
        return head[: len(head) - 4 or None].decode() if len(head) == _HEAD_BYTES else head.decode()
    except UnicodeDecodeError:
        return None


def _text_like(text: str) -> str:
    first = text.splitlines()[0] if text else ""
    if text[:15].lower().startswith(("<!doctype html", "<html")):
        return "a web page (a download that went wrong?)"
    if text.startswith(("import ", "from ", "#!", "def ", "class ")):
        return "Python source code"
    if first.count(",") >= 1 or first.count(";") >= 1:
        return "a CSV file"
    return f"text that starts with {first[:40]!r}"


def _refused(filename: str, looks: str) -> NotAModel:
    return NotAModel(f"{filename!r} is not a model: it looks like {looks}. {TAKEN}", looks_like=looks)
