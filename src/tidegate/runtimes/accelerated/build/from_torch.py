"""PyTorch programs (`torch.export`) as ONNX graphs with the program's own names: made, compared, timed. On request.

The names and the rules of `GraphModel` stay, so nothing but the engine is another. Called by `accelerate`.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegate.runtimes.accelerated.build import timing
from tidegate.runtimes.accelerated.build.equality import Largest, NotEqual, check_refusals, check_same
from tidegate.runtimes.accelerated.build.preparation import CannotConvert
from tidegate.runtimes.accelerated.serve.form import AcceleratedForm, FormDraft
from tidegate.runtimes.accelerated.serve.serving import NamedGraph
from tidegate.runtimes.base.inputs import row_count
from tidegate.runtimes.base.runtime import Arrays, error_text, numpy_dtype
from tidegate.runtimes.signatures.trial import rows_of
from tidegate.wire.signature import Signature

if TYPE_CHECKING:
    from tidegate.runtimes.models.torch_model import ExportedModel

NAME = "torch-onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
MADE_UP_ROWS = 64
SINGLE_ROWS = 12
ODD_FLOATS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-40)
ODD_WHOLE = (-1, 0, 1, 127, -128, 10**6)


def accelerate_program(model: ExportedModel, signature: Signature, rows: Arrays, into: Path) -> dict[str, Any]:
    """The record of what was tried; the form is written to the new folder `into` where it is kept."""
    record: dict[str, Any] = {"kept": None, "kind": "PyTorch program", "tried": []}
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return record | {"reason": f"{', '.join(missing)} is not installed: pip install 'tidegate[torch-onnx]'"}
    cases = cases_of(signature, rows)
    record["rows"] = {name: row_count(inputs) for name, inputs in cases.items()}
    record["libraries"] = {name: metadata.version(name) for name in (*NEEDED, "torch")}
    timed = {count: rows_of(rows, np.resize(np.arange(row_count(rows)), count).tolist()) for count in timing.TIMED_ROWS}
    record["original"] = timing.seconds_by_rows(model, timed)
    entry: dict[str, Any] = {"form": NAME, "equal": False}
    record["tried"] = [entry]
    try:
        program_form(model, signature).write(into, {})
        fast = NamedGraph(into)
        entry["largest_difference"] = _compare(model, fast, cases)
    except NotEqual as error:
        return _refused(record, entry, f"not equal: {error}")
    except CannotConvert as error:
        return _refused(record, entry, str(error))
    except Exception as error:  # whatever the exporter or ONNX Runtime does, the original is served
        return _refused(record, entry, f"cannot be converted: {error_text(error)}")
    times = timing.seconds_by_rows(fast, timed)
    entry |= {"equal": True, **times, **timing.speedups(record["original"], times)}
    entry["gain"] = timing.gain_of(entry)
    if entry["gain"] <= timing.GAIN_MIN:
        return record | {"reason": "no form that is equal is faster"}
    return record | {"kept": NAME}


def _refused(record: dict[str, Any], entry: dict[str, Any], reason: str) -> dict[str, Any]:
    entry["reason"] = reason
    return record | {"reason": "no form is equal to the original"}


def program_form(model: ExportedModel, signature: Signature) -> FormDraft:
    """The program as one graph. Raises `CannotConvert`, or what the exporter raises."""
    import torch

    inputs, outputs = ([spec.name for spec in specs] for specs in (signature.inputs, signature.outputs))
    with _quiet():
        program = torch.onnx.export(
            model.exported, dynamo=True, verbose=False, input_names=inputs, output_names=outputs
        )
    if program is None:
        raise CannotConvert("PyTorch's exporter made no graph of it")
    graph = program.model_proto.SerializeToString()
    return FormDraft(AcceleratedForm(NAME, "named", 0, "value"), {}, graph)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on libraries that are not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


# -- the proof ---------------------------------------------------------------------------------------------------------


def cases_of(signature: Signature, rows: Arrays) -> dict[str, Arrays]:
    """The known rows, rows around them, each of odd values in each input, and rows that do not fit."""
    rng = np.random.default_rng(19)
    count = row_count(rows)
    mixed = {name: array[rng.integers(0, count, MADE_UP_ROWS)] for name, array in rows.items()}
    cases = {"known rows": rows, "mixed rows": mixed}
    for scale in (0.1, 10.0):
        noisy = {name: _noisy(array, rng, scale) for name, array in mixed.items()}
        cases[f"rows around them, {scale:g}"] = noisy
    for index in range(min(SINGLE_ROWS, count)):
        cases[f"row {index} alone"] = rows_of(rows, [index])
    for spec in signature.inputs:
        kind = numpy_dtype(spec.datatype).kind
        for value in ODD_FLOATS if kind == "f" else ODD_WHOLE if kind in "iu" else ():
            cases[f"{value!r} in {spec.name!r}"] = _with_value(rows, spec.name, value)
        sides = rows[spec.name].shape[1:]
        if sides and spec.shape[-1] > 0:
            cases[f"{spec.name!r} one wider"] = rows | {spec.name: np.ones((count, *sides[:-1], sides[-1] + 1))}
    return cases


def _noisy(array: Any, rng: np.random.Generator, scale: float) -> Any:
    if array.dtype.kind != "f":
        return array
    return (array + rng.normal(size=array.shape) * scale * (array.std() + 1e-3)).astype(array.dtype)


def _with_value(rows: Arrays, name: str, value: float) -> Arrays:
    changed = rows_of(rows, [0, min(1, row_count(rows) - 1)])
    array = changed[name].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        array.reshape(len(array), -1)[-1, -1:] = np.asarray(value).astype(array.dtype)
    return changed | {name: array}


def _compare(model: ExportedModel, fast: NamedGraph, cases: dict[str, Arrays]) -> float:
    largest = Largest(by_row=True)
    check_same(model.predict(cases["known rows"], None), fast.predict(cases["known rows"], None), "known rows", largest)
    check_refusals(model, fast, cases, largest)
    return largest.difference
