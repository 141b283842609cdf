"""The baseline job, and the register job's step that makes one: of rows, and what the model answered them.

The model answers in the inspection's subprocess, never here.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidegate.adapters.capture.time_column import Seconds, without_times
from tidegate.adapters.sandbox.inspection import InspectionRequest, ValidationRequest, Watched, run_inspection
from tidegate.adapters.sandbox.kept_rows import read_kept_rows
from tidegate.core.access import Principal
from tidegate.errors import InvalidArgument, TidegateError
from tidegate.jobs.report import JobLost, JobReport
from tidegate.jobs.scratch import fresh_scratch, remove_scratch
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.models.catalog import Models
from tidegate.services.monitoring.baselines import BaselineRows, Baselines, Origin, make_baseline
from tidegate.wire.decoding import convert
from tidegate.wire.monitoring.monitoring import BaselineRequest, BaselineSource, BaselineView
from tidegate.wire.signature import Signature

_log = logging.getLogger(__name__)

ROWS_FILE = "rows.npz"


@dataclass(frozen=True)
class RowTimes:
    """When each row was (seconds since 1970), and whose hours and weekdays count."""

    times_s: Seconds
    timezone: str = "UTC"


@dataclass(frozen=True)
class RowsOf:
    """Where rows come from, and when each was, where that is known."""

    origin: Origin
    times: RowTimes | None = None


@dataclass(frozen=True)
class RowsToAnswer:
    """A file of rows for a version to answer; `target`: the column with the truth, "" for none."""

    path: Path
    filename: str
    target: str = ""
    timeout_s: float = 120.0
    times: RowTimes | None = None


@dataclass(frozen=True)
class BaselineMaker:
    """Has a version answer rows, and keeps what came of it as its baseline."""

    models: Models
    baselines: Baselines

    def from_file(
        self, model: str, number: str, given: RowsToAnswer, origin: Origin, scratch: Path, report: JobReport
    ) -> BaselineView:
        """Raises what an inspection raises, `InvalidArgument`, `UnknownVersion`, `DiskFull`."""
        manifest = self.models.manifests.read(model, number)
        python = None if manifest.environment is None else self.models.environments.of_version(manifest.environment)
        package = InspectionRequest(
            self.models.artifacts.path(manifest.digest), manifest.pickle_granted, None, python, manifest.device
        )
        answer(package, given, scratch, report)
        view = self.from_kept(model, number, RowsOf(origin, given.times), scratch, report.who)
        if view is None:
            raise InvalidArgument(f"{given.filename!r} has no rows that the model could be asked", field="data")
        return view

    def from_kept(self, model: str, number: str, rows_of: RowsOf, scratch: Path, who: Principal) -> BaselineView | None:
        """Of the rows that an inspection has left in its scratch folder; None where it left none."""
        origin, times = rows_of.origin, rows_of.times
        kept = read_kept_rows(scratch / ROWS_FILE)
        if kept is None or not kept.rows:
            return None
        signature = convert(self.models.version(model, number).signature, Signature)
        rows = BaselineRows(kept.inputs, kept.outputs, kept.labels)
        if times is not None:
            _check_all_kept(kept.rows, times)
            rows = replace(rows, times_s=times.times_s, timezone=times.timezone)
        made = make_baseline(signature, rows, origin.by)
        return self.baselines.keep(model, number, made, origin, who)

    def after_registration(
        self, model: str, number: str, given: RowsToAnswer, source: BaselineSource, scratch: Path, report: JobReport
    ) -> None:
        """Of the rows that the registration's inspection has left, else of those given.

        Of validation data: what goes wrong is told, and the registration is none the worse for it.
        """
        try:
            if self.from_kept(model, number, RowsOf(Origin(source)), scratch, report.who) is None:
                self.from_file(model, number, given, Origin(source), scratch, report)
        except (TidegateError, OSError, ValueError) as error:
            if source == "file":
                raise
            _log.warning("no baseline of %s:%s: %s", model, number, error)
            report.progress(0.79, f"note: no baseline could be made of the validation data: {error}")


def _with_times(given: RowsToAnswer, request: BaselineRequest, scratch: Path) -> RowsToAnswer:
    """The rows without the column of times, which is none of the model's. Raises `InvalidArgument`."""
    path = scratch / f"without-times-{Path(given.filename).name}"
    times_s = without_times(given.path, given.filename, str(request.time_column), request.timezone, path)
    return replace(given, path=path, times=RowTimes(times_s, request.timezone))


def _check_all_kept(rows: int, times: RowTimes) -> None:
    """Raises `InvalidArgument` where rows were drawn, or are not those that have the times."""
    if rows != times.times_s.size:
        raise InvalidArgument(
            f"{rows:,} of {times.times_s.size:,} rows were kept, so it is not known when each was: give fewer rows, "
            "or leave out --time-column",
            field="time_column",
        )


def answer(package: InspectionRequest, given: RowsToAnswer, scratch: Path, report: JobReport) -> None:
    """Have the model of a package answer rows, and leave them in its scratch folder. Raises as an inspection does."""
    asked = ValidationRequest(given.path, given.filename, given.target, scored=False)
    run_inspection(
        replace(package, validation=asked, rows_file=scratch / ROWS_FILE),
        timeout_s=given.timeout_s,
        scratch_dir=scratch,
        watched=Watched(_teller(report), report.look),
    )


@dataclass(frozen=True)
class BaselineJob:
    """`JobFunction` for kind "baseline"."""

    maker: BaselineMaker
    uploads: Uploads
    scratch_root: Path

    def run(self, payload: dict[str, Any], report: JobReport) -> dict[str, Any]:
        """`{"model", "version", "rows", "labelled"}`. Raises what the steps raise."""
        model, number = str(payload["model"]), str(payload["version"])
        request = convert(payload["request"], BaselineRequest)
        scratch = fresh_scratch(self.scratch_root, report)
        try:
            path = self.uploads.path(request.upload)
            given = RowsToAnswer(path, request.filename, request.target or "", request.timeout_s)
            if request.time_column is not None:
                given = _with_times(given, request, scratch)
            view = self.maker.from_file(model, number, given, Origin("file", request.by), scratch, report)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return {"model": model, "version": number, "rows": view.rows, "labelled": view.labelled}

    def undo(self, payload: dict[str, Any], job_id: str) -> None:  # noqa: ARG002 (the port's shape)
        """Nothing but scratch is left by a run that failed: a baseline is kept last, and whole."""
        remove_scratch(self.scratch_root, job_id)


def _teller(report: JobReport) -> Callable[[float, str], None]:
    def tell(done: float, message: str) -> None:
        try:
            report.progress(0.9 * done, message)
        except (JobLost, TidegateError) as error:
            _log.warning("progress of job %s could not be told: %s", report.job_id, error)

    return tell
