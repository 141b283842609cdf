"""Tries faster forms of a model, compares and times them, writes the fastest that is equal. For `accelerate`."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.errors import TidegateError, UnfitInput
from tidegate.runtimes.accelerated.build import from_dense, from_trees, probes, timing
from tidegate.runtimes.accelerated.build.equality import Largest, NotEqual, Remembered, check_refusals, check_same
from tidegate.runtimes.accelerated.build.from_boosters import is_booster
from tidegate.runtimes.accelerated.build.from_dense import dense_form
from tidegate.runtimes.accelerated.build.from_graph import graph_form
from tidegate.runtimes.accelerated.build.from_tables import PipelineSplit, split_of
from tidegate.runtimes.accelerated.build.from_trees import ensemble_of, tree_form
from tidegate.runtimes.accelerated.build.preparation import CannotConvert, Prepared, prepared
from tidegate.runtimes.accelerated.build.table_trial import Taken, cases_of, check_table, take_apart
from tidegate.runtimes.accelerated.serve.ensemble import Ensemble
from tidegate.runtimes.accelerated.serve.form import FormDraft
from tidegate.runtimes.accelerated.serve.serving import FastModel, stacked
from tidegate.runtimes.base.inputs import matrix_of
from tidegate.runtimes.base.runtime import Arrays, LoadedModel, Progress, error_text
from tidegate.runtimes.models.sklearn_model import SklearnModel
from tidegate.runtimes.signatures.trial import rows_of
from tidegate.wire.signature import Signature

Array = np.ndarray[Any, Any]

BY_DEFAULT = (from_trees.KINDS | from_dense.KINDS) - {"LinearDiscriminantAnalysis", "TheilSenRegressor"}
"""Kinds of scikit-learn models that tests show to stay equal, as boosters do; others are tried on request."""
KNOWN_ROWS_MAX = 400
SINGLE_ROWS = 12
_NUMBERS = ("FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "BOOL")


@dataclass(frozen=True)
class Original:
    """The original: loaded, with its signature and some rows that it answers."""

    estimator: Any
    model: LoadedModel
    signature: Signature
    rows: Arrays
    is_sparse: bool = False
    """Whether the original is given a sparse matrix; `rows` are dense."""


@dataclass
class Record:
    """What was tried: kept with the version. Times are seconds a call."""

    kind: str
    kept: str | None = None
    reason: str = ""
    tried: list[dict[str, Any]] = field(default_factory=list)
    original: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {key: value for key, value in vars(self).items() if value not in (None, "", [], {}) or key == "kept"}


@dataclass
class _Trial:
    """One model being tried: its rows to compare on, with the original's answers.

    Of a model taken apart (`taken`), `subject` is what follows its encoders, and `whole` the model itself.
    """

    whole: Original
    taken: Taken | None
    subject: Original
    record: Record
    found: Prepared | None
    ensemble: Ensemble | None
    flags: dict[str, Any]
    sets: dict[str, tuple[Arrays, Arrays]]
    bad: dict[str, Arrays]
    timed: dict[int, Arrays]
    cases: dict[str, Arrays]
    """Rows for the whole, where it was taken apart."""

    def __post_init__(self) -> None:
        self.original, self.whole_original = Remembered(self.subject.model), Remembered(self.whole.model)


def kind_of(estimator: Any) -> tuple[str, bool]:
    """What a model is, in words, and whether it is on the list of those accelerated by default."""
    split = split_of(estimator)
    try:
        found = prepared(estimator if split is None else split.tail)
    except CannotConvert:
        return type(estimator).__name__, False
    last = type(found.estimator)
    listed = last.__module__.startswith("sklearn.") and last.__name__ in BY_DEFAULT
    name = " → ".join(found.kinds if split is None else split.kinds)
    if last.__name__ == "Booster":
        name = f"{last.__module__.partition('.')[0]} booster"
    return name, listed or is_booster(found.estimator)


def accelerate(subject: Original, into: Path, asked: bool, on_progress: Progress) -> Record:
    """Try the forms there are; the one kept is written to the new folder `into`. `asked`: also for kinds not listed."""
    kind, listed = kind_of(subject.estimator)
    record = Record(kind)
    if not listed and not asked:
        record.reason = f"{kind} is not among the kinds that are accelerated by default: --accelerate tries it"
        return record
    split = split_of(subject.estimator)
    if (reason := _unfit_signature(subject.signature, split)) is not None:
        record.reason = reason
        return record
    scratch = into.with_name(f"{into.name}.trials")
    scratch.mkdir(mode=0o700)
    try:
        on_progress(0.1, f"making rows to compare {kind} on")
        trial = _trial(subject, _taken(subject, split, record, scratch / "table"), record)
        on_progress(0.3, "timing the original")
        record.original = timing.seconds_by_rows(subject.model, trial.timed)
        record.libraries = _libraries()
        _keep_fastest(trial, scratch, into, on_progress)
    except (CannotConvert, NotEqual) as error:
        record.reason = str(error)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return record


def _unfit_signature(signature: Signature, split: PipelineSplit | None) -> str | None:
    """Why a model with such inputs and outputs keeps its form; None when it may have another."""
    if signature.kind == "tensors":
        return "it names its own tensors, and is served as it is"
    text = [spec.name for spec in signature.inputs if spec.datatype not in _NUMBERS]
    if text and split is None:
        return (
            f"it takes columns that are no numbers ({', '.join(text[:3])}), and there is a faster form of those behind "
            "OneHotEncoder, OrdinalEncoder or TargetEncoder only"
        )
    if any(len(spec.shape) != 1 for spec in signature.outputs if spec.name == "prediction"):
        return "it predicts several values a row"
    return None


# -- what to compare on ------------------------------------------------------------------------------------------------


def _taken(whole: Original, split: PipelineSplit | None, record: Record, folder: Path) -> Taken | None:
    """The model taken apart, its table shown to be its encoders' equal. Raises `CannotConvert`, `NotEqual`."""
    if split is None or not isinstance(whole.model, SklearnModel):
        return None
    try:
        taken = take_apart(whole.model, split, whole.signature, whole.rows)
    except (CannotConvert, TidegateError):
        raise
    except Exception as error:
        raise CannotConvert(f"its encoders cannot be taken apart: {error_text(error)}") from error
    record.rows = check_table(whole.model, taken, whole.signature, whole.rows, folder)
    return taken


def _trial(whole: Original, taken: Taken | None, record: Record) -> _Trial:
    subject = whole
    if taken is not None:
        subject = Original(taken.split.tail, taken.tail, taken.signature, taken.rows, is_sparse=taken.is_sparse)
    found, ensemble = _converted(subject, record)
    specs = subject.signature.inputs
    columns = specs if subject.signature.kind == "columns" else ()
    known = _known(subject, columns)
    flags = _flags(subject, known[0], ensemble)
    spread = probes.spread_rows(known, ensemble, found)
    sets = {"known rows": subject.rows, "rows around them": probes.as_inputs(spread, specs)}
    if flags["takes_nan"]:
        sets["rows with missing values"] = probes.as_inputs(probes.with_gaps(spread), specs)
    if ensemble is not None and found is not None:
        sets["rows at the splits"] = probes.as_inputs(probes.split_rows(known, ensemble, found), specs)
    if subject.model.task == "classifier":
        sets["rows at the borders"] = probes.as_inputs(probes.border_rows(subject.model, spread, specs), specs)
    sets = {name: inputs for name, inputs in sets.items() if len(next(iter(inputs.values())))}
    record.rows |= {name: len(next(iter(inputs.values()))) for name, inputs in sets.items()}
    answered = {name: (inputs, subject.model.predict(inputs, None)) for name, inputs in sets.items()}
    odd = probes.bad_rows(known[0]) | probes.odd_rows(known[0])
    if is_booster(subject.estimator):  # they fill up or cut rows themselves; the signature refuses these before
        odd = {name: rows for name, rows in odd.items() if rows.shape[1] == known.shape[1]}
    bad = {name: probes.as_inputs(rows, specs) for name, rows in odd.items()}
    timed = {rows: rows_of(whole.rows, np.resize(np.arange(len(known)), rows).tolist()) for rows in timing.TIMED_ROWS}
    cases = {} if taken is None else dict(cases_of(taken.form, whole.signature, whole.rows))
    return _Trial(whole, taken, subject, record, found, ensemble, flags, answered, bad, timed, cases)


def _converted(subject: Original, record: Record) -> tuple[Prepared | None, Ensemble | None]:
    """The pipeline taken apart and its trees, where it is one of those; else only whole graphs are tried."""
    try:
        found = prepared(subject.estimator)
    except CannotConvert as error:
        record.tried.append({"form": "own", "equal": False, "reason": str(error)})
        return None, None
    found = found.on_sparse() if subject.is_sparse else found
    if is_booster(found.estimator):
        # No other form is known of these: what it raises is the reason.
        ensemble = ensemble_of(found, subject.model.classes)
        if subject.is_sparse:
            ensemble.zero_to = 0.0  # LightGBM takes what is nearly 0 for 0 when it reads a dense row, and only then
        return found, ensemble
    if type(found.estimator).__name__ not in from_trees.KINDS:
        return found, None
    try:
        return found, ensemble_of(found)
    except (CannotConvert, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, CannotConvert) else error_text(error)
        record.tried.append({"form": "trees", "equal": False, "reason": reason})
        return found, None


def _known(subject: Original, columns: Any) -> Array:
    """The rows that came or were made up, as a float64 matrix without missing values."""
    rows = stacked(subject.rows, columns) if columns else matrix_of(subject.rows)
    return np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=1.0, neginf=-1.0)


def _flags(subject: Original, row: Array, ensemble: Ensemble | None) -> dict[str, bool]:
    """Whether the original takes missing and infinite values: for all columns, or for none.

    Trees may take what becomes infinite on the way to them, though the pipeline before them takes no infinity.
    """
    specs = subject.signature.inputs
    too_large = "1e39" if ensemble is not None and ensemble.float32 else "1e308"
    taken: dict[str, set[bool]] = {"NaN": set(), "inf": set(), too_large: set()}
    for name, rows in probes.bad_rows(row).items():
        word = name.partition(" ")[0].lstrip("-")
        if word in taken and rows.dtype.kind == "f":
            taken[word].add(_takes(subject.model, probes.as_inputs(rows, specs)))
    for word in ("NaN", "inf"):
        if len(taken[word]) > 1:
            raise CannotConvert(f"the original takes {word} in some columns and refuses it in others")
    takes_inf = True in taken["inf"]
    takes_overflow = takes_inf if ensemble is None else False not in taken[too_large]
    return {"takes_nan": True in taken["NaN"], "takes_inf": takes_inf, "takes_overflow": takes_overflow}


def _takes(model: LoadedModel, inputs: Arrays) -> bool:
    try:
        model.predict(inputs, None)
    except UnfitInput:
        return False
    return True


# -- trying ------------------------------------------------------------------------------------------------------------


def _keep_fastest(trial: _Trial, scratch: Path, into: Path, on_progress: Progress) -> None:
    record, best = trial.record, (timing.GAIN_MIN, "", scratch)
    for name, make in _candidates(trial):
        on_progress(0.4, f"trying {name}")
        entry = _tried(trial, name, make, scratch / name)
        record.tried.append(entry)
        if entry["equal"] and entry["gain"] > best[0]:
            # Those that come first take less memory: one that comes later has to be faster by more than chance.
            best = (entry["gain"] * timing.BY_CHANCE, name, scratch / name)
    if best[1]:
        best[2].rename(into)
        record.kept = best[1]
        return
    equal = [entry for entry in record.tried if entry["equal"]]
    record.reason = "no form that is equal is faster" if equal else "no form is equal to the original"


def _candidates(trial: _Trial) -> Iterator[tuple[str, Callable[[], FormDraft]]]:
    found, ensemble, subject = trial.found, trial.ensemble, trial.subject
    if found is not None and ensemble is not None:
        yield "trees-float32", lambda: tree_form(found, ensemble, graph_float32=True)
        yield "trees-float64", lambda: tree_form(found, ensemble, graph_float32=False)
        # No whole graph beside these: skl2onnx 1.20 answers otherwise where values are missing, and never comes back
        # from a split at infinity, which trees trained on missing values have.
        return
    if found is not None and type(found.estimator).__name__ in from_dense.KINDS:
        yield "dense-float64", lambda: dense_form(found)
    yield "skl2onnx-float32", lambda: graph_form(subject.estimator, subject.model.task, graph_float32=True)
    yield "skl2onnx-float64", lambda: graph_form(subject.estimator, subject.model.task, graph_float32=False)


def _tried(trial: _Trial, name: str, make: Callable[[], FormDraft], folder: Path) -> dict[str, Any]:
    """One form, written and compared: never raises, whatever a converter does."""
    entry: dict[str, Any] = {"form": name, "equal": False}
    try:
        draft = make()
        _check_classes(draft)
        if trial.taken is not None:
            draft.arrays |= trial.taken.arrays
        draft.write(folder, trial.flags | {"table": trial.taken and trial.taken.form})
        fast = FastModel(folder, trial.whole.signature)
        entry["largest_difference"] = max(_compare(trial, folder), _compare_whole(trial, fast))
    except CannotConvert as error:
        return {**entry, "reason": str(error)}
    except NotEqual as error:
        return {**entry, "reason": f"not equal: {error}"}
    except ModuleNotFoundError as error:
        return {**entry, "reason": f"{error.name} is not installed: pip install 'tidegate[accelerate]'"}
    except TidegateError as error:
        return {**entry, "reason": error.message}
    except Exception as error:
        return {**entry, "reason": f"cannot be converted: {error_text(error)}"}
    times = timing.seconds_by_rows(fast, trial.timed)
    speedups = timing.speedups(trial.record.original, times)
    gain = timing.gain_of(speedups)
    return {**entry, "equal": True, **times, **speedups, "gain": gain}


def _check_classes(draft: FormDraft) -> None:
    if draft.form.classes is not None and len(draft.form.classes) < 2:
        raise CannotConvert("it knows one label only")


def _compare_whole(trial: _Trial, fast: LoadedModel) -> float:
    """Once more from the first column to the answer, where the model was taken apart; raises `NotEqual`."""
    largest = Largest()
    check_refusals(trial.whole_original, fast, trial.cases, largest)
    return largest.difference


def _compare(trial: _Trial, folder: Path) -> float:
    """The largest difference; raises `NotEqual`."""
    largest, fast = Largest(), FastModel(folder, trial.subject.signature, whole=False)
    for name, (inputs, expected) in trial.sets.items():
        check_same(expected, fast.predict(inputs, None), name, largest)
    inputs, _ = trial.sets["known rows"]
    for row in range(min(SINGLE_ROWS, trial.record.rows["known rows"])):
        one = rows_of(inputs, [row])
        check_same(trial.subject.model.predict(one, None), fast.predict(one, None), "a row alone", largest)
    check_refusals(trial.original, fast, trial.bad, largest)
    return largest.difference


def _libraries() -> dict[str, str]:
    names = [name for name in ("onnx", "onnxruntime", "skl2onnx") if importlib.util.find_spec(name) is not None]
    return {name: metadata.version(name) for name in names}
