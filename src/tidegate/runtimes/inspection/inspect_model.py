"""Inspects a package: loads it, infers its signature by trying, scores it. For jobs' subprocesses and `serve PATH`."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from tidegate import clock
from tidegate.errors import ModelLoadFailed, UnfitInput, ValidationDataUnusable
from tidegate.packaging import scan_pickle
from tidegate.packaging.code import DISTRIBUTIONS
from tidegate.packaging.mlmodel import PackageLayout, read_layout
from tidegate.runtimes.base.inputs import row_count
from tidegate.runtimes.base.runtime import Arrays, LoadedModel, Progress
from tidegate.runtimes.inspection.gate import Score, check_request, score
from tidegate.runtimes.inspection.kept_rows import keep_rows
from tidegate.runtimes.loading.building import adopt
from tidegate.runtimes.loading.objects import check_sklearn_versions, load_object
from tidegate.runtimes.models.graph_model import GraphModel
from tidegate.runtimes.signatures.inference import InferredSignature, infer_signature
from tidegate.runtimes.signatures.mlflow_schema import mlflow_params
from tidegate.runtimes.signatures.tables import Validation
from tidegate.runtimes.signatures.trial import check_row_axis
from tidegate.wire.signature import Signature

_LIBRARIES = (
    "numpy",
    "pandas",
    "sklearn",
    "joblib",
    "skops",
    "scipy",
    "xgboost",
    "lightgbm",
    "catboost",
    "onnxruntime",
    "torch",
    "tensorflow",
    "keras",
    "mlflow",
)


@dataclass(frozen=True)
class InspectOptions:
    """What an inspection may do, and the gate to pass. `rows_file`: where the rows and their answers are kept."""

    allow_pickle: bool = False
    validation: Validation | None = None
    device: str | None = None
    rows_file: Path | None = None


@dataclass(frozen=True)
class Inspection:
    """What was found out. Times are seconds; `score` is None without validation data."""

    framework: str
    signature: Signature
    example: Any
    batchable: bool
    library_versions: dict[str, str]
    python: str
    score: Score | None
    notes: list[str]
    load_s: float
    predict_s: float
    model: LoadedModel = field(repr=False)

    def body(self) -> dict[str, Any]:
        """As JSON-able values, for the process that asked."""
        gate = self.score
        return {
            "framework": self.framework,
            "signature": msgspec.to_builtins(self.signature),
            "example": self.example,
            "batchable": self.batchable,
            "library_versions": self.library_versions,
            "python": self.python,
            "metric": gate.metric if gate else None,
            "score": gate.value if gate else None,
            "min_score": gate.min_score if gate else None,
            "higher_is_better": gate.higher_is_better if gate else None,
            "rows": gate.rows if gate else None,
            "notes": self.notes,
            "load_s": self.load_s,
            "predict_s": self.predict_s,
        }


def _silent(_progress: float, _message: str) -> None:
    return


def inspect_model(package_dir: Path, options: InspectOptions, on_progress: Progress = _silent) -> Inspection:
    """Load the model and find out what it takes, gives and scores. `on_progress` is told a share of 1 and a message.

    Raises what loading raises (see `load_object`), `ValidationDataUnusable`, `InvalidArgument` or `ScoreBelowGate`.
    """
    validation = options.validation
    if validation is not None and validation.scored:
        check_request(validation)
    on_progress(0.05, "reading the package")
    layout = read_layout(package_dir)
    if layout.format in ("joblib", "pickle") and layout.file is not None and options.allow_pickle:
        check_sklearn_versions(scan_pickle(layout.file).sklearn_versions)
    on_progress(0.1, f"loading the model ({layout.framework})")
    started_s = clock.monotonic()
    adopted = adopt(load_object(layout, options.allow_pickle, options.device), layout)
    load_s = clock.monotonic() - started_s
    on_progress(0.4, "finding out what it takes")
    notes: list[str] = []
    inferred = infer_signature(adopted, layout, validation, notes)
    if isinstance(inferred.model, GraphModel):
        check_row_axis(inferred.model, inferred.inputs)
    others = _others(inferred, layout, notes)
    signature = msgspec.structs.replace(
        inferred.signature(),
        params=mlflow_params(layout),
        name=getattr(inferred.model, "name", ""),
        others=tuple(msgspec.structs.replace(other.signature(), name=name) for name, other in others.items()),
    )
    on_progress(0.6, "comparing a batch with its rows")
    batchable = inferred.batchable() and all(other.batchable() for other in others.values())
    started_s = clock.monotonic()
    inferred.model.predict(inferred.inputs, None)
    predict_s = clock.monotonic() - started_s
    gate = _gate(inferred, options, notes, on_progress)
    on_progress(1.0, "inspected")
    return Inspection(
        framework=layout.framework,
        signature=signature,
        example=inferred.example(),
        batchable=batchable,
        library_versions=library_versions(),
        python=platform.python_version(),
        score=gate,
        notes=notes,
        load_s=load_s,
        predict_s=predict_s,
        model=inferred.model,
    )


def _others(inferred: InferredSignature, layout: PackageLayout, notes: list[str]) -> dict[str, InferredSignature]:
    """A model's further signatures that answer a row made for them."""
    found: dict[str, InferredSignature] = {}
    if isinstance(inferred.model, GraphModel):
        for name, model in inferred.model.others.items():
            try:
                other = infer_signature(model, layout, None, [])
                check_row_axis(model, other.inputs)
                found[name] = other
            except ModelLoadFailed as error:
                notes.append(f"its signature {name!r} is not served: {error.message}")
    return found


def _gate(
    inferred: InferredSignature, options: InspectOptions, notes: list[str], on_progress: Progress
) -> Score | None:
    validation = options.validation
    if validation is None or inferred.table is None:
        return None
    on_progress(0.8, f"predicting {row_count(inferred.table)} rows")
    try:
        answers = inferred.model.predict(inferred.table, None)
    except UnfitInput as error:
        raise ValidationDataUnusable(f"{validation.filename!r} holds rows that do not fit: {error.message}") from error
    measured = _measured(inferred, answers, validation, notes) if validation.scored else None
    if options.rows_file is not None:
        keep_rows(options.rows_file, inferred.table, answers, inferred.target)
    return measured


def _measured(inferred: InferredSignature, answers: Arrays, validation: Validation, notes: list[str]) -> Score:
    """What the gate says of the answers. Raises `ScoreBelowGate`."""
    measured = score(inferred.model, answers, inferred.target, validation)
    measured.check()
    if measured.from_scores:
        notes.append(
            f"{measured.metric} is of the classes that the model's scores stand for (the highest, or 1 above one "
            "half): what it predicts are the scores"
        )
    return measured


def library_versions() -> dict[str, str]:
    """Versions of the model libraries this process has loaded, by the names pip knows."""
    found = {}
    for module in _LIBRARIES:
        if module not in sys.modules:
            continue
        name = DISTRIBUTIONS.get(module, module)
        version = getattr(sys.modules[module], "__version__", None)
        try:
            found[name] = str(version or metadata.version(name))  # PyTorch's is of a class of its own
        except metadata.PackageNotFoundError:
            continue
    return found
