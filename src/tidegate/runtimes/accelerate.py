"""`python -m tidegate.runtimes.accelerate REQUEST.json RESULT.json`: tries faster forms of one model, in a process.

The form that is kept is written to the request's `into`; the result is the record of what was tried.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from tidegate.packaging.filelist import check_files
from tidegate.packaging.mlmodel import read_layout
from tidegate.runtimes.accelerated.build.trying import KNOWN_ROWS_MAX, Original, accelerate
from tidegate.runtimes.base.runtime import LoadedModel, Progress
from tidegate.runtimes.inspect import run, validation_of
from tidegate.runtimes.loading.building import adopt
from tidegate.runtimes.loading.objects import load_object
from tidegate.runtimes.models.booster_model import BoosterModel
from tidegate.runtimes.models.sklearn_model import OtherFunction, SklearnModel
from tidegate.runtimes.signatures.inference import InferredSignature, infer_signature
from tidegate.runtimes.signatures.trial import accepted, rows_of
from tidegate.system.ending import end
from tidegate.wire.decoding import convert
from tidegate.wire.signature import PROBABILITIES, Signature

MADE_UP_ROWS = 64
NO_FORMS = "only scikit-learn's estimators, XGBoost's and LightGBM's models and PyTorch's programs have faster forms"
ON_REQUEST = "a PyTorch program is tried with --accelerate only: making its graph takes long"
ON_GPU = "it runs on a device, and a faster form would run on the processor"
_AS_THEY_ARE = ("torch", "tensorflow", "catboost")
"""Not even loaded again: it may take long, and nothing would come of it."""


def main(argv: list[str]) -> int:
    """Try, and write the record; 0 when it was written."""
    return run(argv, _accelerate)


def _accelerate(request: dict[str, Any], on_progress: Progress) -> dict[str, Any]:
    package_dir = Path(request["package_dir"])
    check_files(package_dir)
    layout = read_layout(package_dir)
    if layout.format == "torch_export":
        if not request.get("asked") or request.get("device") not in (None, "cpu"):
            return {"kept": None, "kind": layout.framework, "reason": ON_GPU if request.get("asked") else ON_REQUEST}
    elif layout.framework in _AS_THEY_ARE:
        return {"kept": None, "kind": layout.framework, "reason": NO_FORMS}
    on_progress(0.0, "loading the model to accelerate it")
    adopted = adopt(load_object(layout, bool(request.get("allow_pickle"))), layout)
    inferred = infer_signature(adopted, layout, validation_of(request), [])
    signature = convert(request["signature"], Signature)
    if layout.format == "torch_export":
        return _program(inferred, signature, Path(request["into"]))
    if not isinstance(inferred.model, SklearnModel | BoosterModel) or isinstance(adopted, OtherFunction):
        return {
            "kept": None,
            "kind": _kind(inferred.model),
            "reason": NO_FORMS,
        }
    model = inferred.model
    if isinstance(model, BoosterModel):  # with labels or scores, as it was registered
        model = model.with_specs(signature.inputs, labels=any(spec.name == PROBABILITIES for spec in signature.outputs))
    original = model.estimator if isinstance(model, SklearnModel) else model.booster
    subject = Original(original, model, signature, _rows(inferred))
    return accelerate(subject, Path(request["into"]), bool(request.get("asked")), on_progress).body()


def _program(inferred: InferredSignature, signature: Signature, into: Path) -> dict[str, Any]:
    from tidegate.runtimes.accelerated.build.from_torch import accelerate_program
    from tidegate.runtimes.models.torch_model import ExportedModel

    assert isinstance(inferred.model, ExportedModel)  # noqa: S101 - for the type checker
    scratch = into.with_name(f"{into.name}.trial")
    try:
        record = accelerate_program(inferred.model, signature, _rows(inferred), scratch)
        if record["kept"]:
            scratch.rename(into)
        return record
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _rows(inferred: InferredSignature) -> Any:
    """Rows that the model answers: of the validation data, else made up."""
    if inferred.table is not None:
        return inferred.trial_rows(KNOWN_ROWS_MAX)
    rows = inferred.trial_rows(MADE_UP_ROWS)
    good = accepted(inferred.model, rows)
    return rows_of(rows, good) if good else inferred.inputs


def _kind(model: LoadedModel) -> str:
    return type(model).__name__.removesuffix("LoadedModel")


if __name__ == "__main__":
    end(main(sys.argv[1:]))
