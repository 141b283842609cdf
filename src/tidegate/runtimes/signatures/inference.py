"""Infers what a model takes and gives: tries drafts and rows until the model answers one. Called by `inspection`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.errors import ModelLoadFailed, TidegateError, UnfitInput, ValidationDataUnusable
from tidegate.packaging.mlmodel import PackageLayout
from tidegate.runtimes.base.inputs import row_count, rows_to_inputs
from tidegate.runtimes.base.runtime import Arrays, LoadedModel, error_text, output_spec, wrong_rows
from tidegate.runtimes.loading.building import build
from tidegate.runtimes.models.booster_model import BoosterModel
from tidegate.runtimes.models.graph_model import GraphModel
from tidegate.runtimes.models.pyfunc_model import PyfuncModel
from tidegate.runtimes.models.python_folder import PythonClass
from tidegate.runtimes.models.python_model import PythonModel
from tidegate.runtimes.models.sklearn_model import can_give_probabilities
from tidegate.runtimes.signatures.drafts import SignatureDraft
from tidegate.runtimes.signatures.signature import drafts_of, drafts_of_table, with_table_types
from tidegate.runtimes.signatures.tables import Validation, features_of, frame_inputs, read_table
from tidegate.runtimes.signatures.trial import (
    TRIAL_ROWS,
    example_of,
    guessed_rows,
    is_batchable,
    mlflow_example,
    nullable_specs,
    rows_of,
    with_gaps,
)
from tidegate.wire.signature import PREDICTION, PROBABILITIES, Signature


@dataclass
class InferredSignature:
    """A model that has answered: `inputs` is that row, `table` the validation data as the model takes it."""

    model: LoadedModel
    draft: SignatureDraft
    inputs: Arrays
    answers: Arrays
    table: Arrays | None = None
    target: Any = None

    def trial_rows(self, count: int = TRIAL_ROWS) -> Arrays:
        """Varied rows, `count` of them or as many as there are: for comparing a batch with its rows."""
        if self.table is not None and row_count(self.table) >= 2:
            rows = row_count(self.table)
            return rows_of(self.table, [int(row) for row in np.linspace(0, rows - 1, min(rows, count))])
        if len(self.draft.rows) >= 2:
            return _inputs_of((self.draft.rows * count)[:count], self.draft)
        return _inputs_of(guessed_rows(self.draft, count), self.draft)

    def signature(self) -> Signature:
        """The inferred signature, with missing values tried."""
        specs = nullable_specs(self.model, self.draft, self.inputs)
        if isinstance(self.model, PythonModel):
            return Signature(self.draft.kind, specs, self.model.outputs)
        if isinstance(self.model, PyfuncModel):
            form = self.model.form
            return Signature(self.draft.kind, specs, self.model.outputs, items=self.draft.items, form=form)
        outputs = tuple(output_spec(name, array) for name, array in self.answers.items())
        has_scores = isinstance(self.model, GraphModel) or PROBABILITIES in self.answers
        return Signature(self.draft.kind, specs, outputs, self.model.classes if has_scores else None)

    def example(self) -> Any:
        """The row that was answered, as plain JSON takes it."""
        return example_of(self.inputs, self.draft)

    def batchable(self) -> bool:
        """Whether a batch is answered as its rows are. Somebody's own class must say that it takes batches, too."""
        if isinstance(self.model, PythonModel) and not self.model.loaded.batch:
            return False
        return is_batchable(self.model, self.trial_rows())


def infer_signature(
    adopted: Any, layout: PackageLayout, validation: Validation | None, notes: list[str]
) -> InferredSignature:
    """Find inputs that the model answers. Raises `ValidationDataUnusable` or `ModelLoadFailed` when it answers none."""
    drafts = drafts_of(adopted, layout)
    frame = None
    if validation is not None:
        frame = read_table(validation, {name for draft in drafts for name in draft.text_columns})
        drafts = [with_table_types(draft, frame) for draft in drafts] or drafts_of_table(frame, validation.target)
    if not drafts and isinstance(adopted, PythonClass):
        raise ModelLoadFailed(
            f"the class {adopted.name} does not say what a row looks like: give it one as 'example' "
            "(example = [5.1, 3.5], or a record by column), or a file with some rows as --validation-data FILE "
            "--target COLUMN"
        )
    if not drafts:
        raise ModelLoadFailed(
            "the model does not say which columns it takes, so no row can be made to try it: give a file with some "
            "rows as --validation-data FILE --target COLUMN, or save it with an MLflow signature"
        )
    problems: list[Exception] = []
    for draft in drafts:
        inferred = _try_draft(adopted, layout, draft, (frame, validation, notes), problems)
        if inferred is not None:
            return inferred
    raise _nothing_worked(problems, validation)


def _try_draft(
    adopted: Any,
    layout: PackageLayout,
    draft: SignatureDraft,
    data: tuple[Any, Validation | None, list[str]],
    problems: list[Exception],
) -> InferredSignature | None:
    frame, validation, notes = data
    table = target = None
    if validation is not None:
        try:
            table = frame_inputs(features_of(frame, draft, validation, notes), draft, validation.filename)
        except ValidationDataUnusable as error:
            problems.append(error)
            return None
        target = frame[validation.target] if validation.target else None
    for inputs in _candidates(draft, layout, table):
        for probabilities in (True, False) if _may_have_probabilities(adopted) else (False,):
            try:
                model = build(adopted, draft.kind, draft.specs, probabilities)
                answers = model.predict(inputs, None)
                check_no_single_value(answers)
            except Exception as error:
                problems.append(error)
                continue
            if _is_odd(answers, model):
                continue
            if isinstance(model, GraphModel):
                model.learn_classes(answers)
            if isinstance(model, PythonModel | PyfuncModel):
                model.note_outputs(answers)
            inferred = InferredSignature(model, draft, inputs, answers, table, target)
            if isinstance(model, PyfuncModel):
                _widen(model, inferred.trial_rows())
                _widen(model, with_gaps(rows_of(inputs, [0]), draft.specs))
            return inferred
    return None


def _widen(model: PyfuncModel, rows: Arrays) -> None:
    """Show a model further rows, together and alone: what the first one answers may look like a tensor and be none."""
    if not rows:
        return
    for some in (range(row_count(rows)), *([row] for row in range(row_count(rows)))):
        with suppress(Exception):  # it takes one row a call, or refuses some of these: what is known stays
            model.widen(rows_of(rows, some))


def _may_have_probabilities(adopted: Any) -> bool:
    return adopted.has_labels if isinstance(adopted, BoosterModel) else can_give_probabilities(adopted)


def check_no_single_value(answers: Arrays) -> None:
    """Raise `ModelLoadFailed` for an output without an axis of rows: it has no part that is one request's."""
    if any(not array.ndim for array in answers.values()):
        raise ModelLoadFailed(str(wrong_rows(answers, 1)))


def _is_odd(answers: Arrays, model: LoadedModel) -> bool:
    """Probabilities that are not one row of one number per class (several outputs, several labels): left out."""
    found, predicted = answers.get(PROBABILITIES), answers.get(PREDICTION)
    if found is None or predicted is None:
        return False
    return found.ndim != 2 or predicted.ndim != 1 or found.shape[1] != len(model.classes or ())


def _candidates(draft: SignatureDraft, layout: PackageLayout, table: Arrays | None) -> Iterator[Arrays]:
    """Rows to try, the most real first."""
    if table is not None:
        rows = row_count(table)
        yield from (rows_of(table, [row]) for row in range(min(rows, 3)))
        return
    given = mlflow_example(layout)[:3]
    if draft.items:
        given = [{draft.specs[0].name: value} for value in given]
    for row in (*draft.rows[:3], *given, *guessed_rows(draft, 4)):
        try:
            yield _inputs_of([row], draft)
        except (KeyError, ValueError, TypeError, IndexError):
            continue


def _inputs_of(rows: list[Any], draft: SignatureDraft) -> Arrays:
    return rows_to_inputs(rows, Signature(draft.kind, draft.specs, ()))


def _nothing_worked(problems: list[Exception], validation: Validation | None) -> TidegateError:
    for problem in problems:
        if isinstance(problem, ValidationDataUnusable):
            return problem
    first = problems[0] if problems else ValueError("no row could be made")
    said = first.message if isinstance(first, TidegateError) else error_text(first)
    if validation is not None and isinstance(first, UnfitInput):
        return ValidationDataUnusable(f"the first row of {validation.filename!r} does not fit the model: {said}")
    hint = (
        "" if validation else ". If this row is unlike real ones, give some as --validation-data FILE --target COLUMN"
    )
    return ModelLoadFailed(f"the model loads, but does not answer a row made from its signature: {said}{hint}")
