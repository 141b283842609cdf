"""Queues jobs, in the transaction that needs them, and shows them. The job pool alone writes them once claimed."""

from __future__ import annotations

import math
import posixpath
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.errors import Conflict, InvalidArgument, UnknownJob, UnknownUpload
from tidegate.services.jobs.uploads import Uploads, uploads_of
from tidegate.services.models.intake import checked_request
from tidegate.services.reading import views
from tidegate.store import audit
from tidegate.store.database.engine import Store
from tidegate.store.jobs import jobs as rows
from tidegate.store.jobs import uploads as upload_rows
from tidegate.store.tables import JobRow
from tidegate.watch.baseline.rhythm import zone_of
from tidegate.wire import rest
from tidegate.wire.monitoring.monitoring import BaselineRequest

STATES = ("queued", "running", "succeeded", "failed", "cancelled")
QUEUED_JOBS_MAX = 1000
JOBS_KEPT = 1000
GATE_TIMEOUT_S_MAX = 3600.0
REQUIREMENTS_CHARS_MAX = 100_000
DESCRIPTION_CHARS_MAX = 10_000
TAGS_MAX, TAG_CHARS_MAX = 50, 500
_TAG_KEY = re.compile(r"[/\w.\- :]+", re.ASCII)


@dataclass(frozen=True)
class Jobs:
    """The use cases; `queued` wakes the job pool after a commit."""

    store: Store
    clock: Clock
    queued: Callable[[], None]

    def register(self, model: str, request: rest.RegisterRequest, who: Principal) -> rest.Job:
        """Queue the registration of a version. Raises `InvalidArgument`, `UnknownUpload`."""
        request = checked_request(model, request)
        _check_source(request)
        check_gate(request.gate)
        _check_tags(request)
        _check_description(request.description)
        with self.store.transaction() as tx:
            job = self.add_registration(tx, model, request, who)
        self.queued()
        return views.job_view(job)

    def add_registration(self, tx: Session, model: str, request: rest.RegisterRequest, who: Principal) -> JobRow:
        """The job of a request that was checked, in the transaction that needs it; call `queued` after its commit.

        Raises `UnknownUpload`, and `Conflict` when too many jobs wait.
        """
        job = self._new("register", model, {"model": model, "request": asdict(request)}, who)
        for upload in uploads_of(job):
            check_upload(tx, upload)
        given = {name: getattr(request, name) for name in ("uri", "filename", "label", "allow_pickle")}
        self._queue(tx, job, who, audit.AuditedChange("register", "model", model, _asked(job, given)))
        return job

    def build(self, model: str, version: str, request: rest.BuildRequest, who: Principal) -> rest.Job:
        """Queue an image of a version that exists. Raises `Conflict` when too many jobs wait."""
        job = self._new("build", model, {"model": model, "version": version, "request": asdict(request)}, who)
        change = audit.AuditedChange("build", "version", f"{model}:{version}", _asked(job, asdict(request)))
        with self.store.transaction() as tx:
            self._queue(tx, job, who, change)
        self.queued()
        return views.job_view(job)

    def baseline(self, model: str, version: str, request: BaselineRequest, who: Principal) -> rest.Job:
        """Queue the making of a baseline of a version that exists. Raises `InvalidArgument`, `UnknownUpload`."""
        if not 0 < request.timeout_s <= GATE_TIMEOUT_S_MAX:
            raise InvalidArgument(
                f"timeout_s must be more than 0 and at most {GATE_TIMEOUT_S_MAX:g}", field="timeout_s"
            )
        _check_filename(request.filename)
        zone_of(request.timezone)
        job = self._new("baseline", model, {"model": model, "version": version, "request": asdict(request)}, who)
        given: dict[str, object] = {"filename": request.filename, "target": request.target, "by": request.by}
        given |= {} if request.time_column is None else {"time_column": request.time_column}
        with self.store.transaction() as tx:
            check_upload(tx, request.upload)
            self._queue(
                tx, job, who, audit.AuditedChange("baseline", "version", f"{model}:{version}", _asked(job, given))
            )
        self.queued()
        return views.job_view(job)

    def building(self, model: str, version: str) -> rest.Job | None:
        """A build of this version that has not ended."""
        with self.store.reading() as tx:
            for row in rows.unfinished(tx):
                if row.kind == "build" and (row.payload["model"], row.payload["version"]) == (model, version):
                    return views.job_view(row)
        return None

    def get(self, job_id: str) -> rest.Job:
        """Raises `UnknownJob`."""
        with self.store.reading() as tx:
            row = rows.get_job(tx, job_id)
            if row is None:
                raise UnknownJob(f"no job has the id {job_id!r}", job=job_id)
            return views.job_view(row)

    def cancel(self, job_id: str, who: Principal) -> rest.Job:
        """Ask for a job's end: one that nothing ran yet ends at once, others once what runs them has noticed.

        Asking again changes nothing. Raises `UnknownJob`, and `Conflict` for one that has ended.
        """
        with self.store.transaction() as tx:
            row = rows.locked_job(tx, job_id)
            if row is None:
                raise UnknownJob(f"no job has the id {job_id!r}", job=job_id)
            if row.state not in rows.UNFINISHED:
                raise Conflict(f"job {job_id} has {row.state} already: there is nothing to cancel", job=job_id)
            if row.cancelled_by is None:
                row.cancelled_by = who.name
                change = {"kind": (None, row.kind), "subject": (None, row.subject), "state": (row.state, "cancelled")}
                audit.record(tx, who, self.clock(), audit.AuditedChange("cancel", "job", job_id, change))
                rows.end_untouched(row, self.clock())
            view = views.job_view(row)
        self.queued()  # one that was given back waits for somebody to undo what it left
        return view

    def find(
        self, state: str | None, subject: str | None, rows_max: int, cursor: str | None = None
    ) -> tuple[list[rest.Job], str | None]:
        """So many jobs after the cursor, newest first, and the cursor of the next page. Raises `InvalidArgument`."""
        if state is not None and state not in STATES:
            raise InvalidArgument(f"state {state!r} is none of {', '.join(STATES)}", field="state")
        with self.store.reading() as tx:
            found = rows.jobs(tx, state, subject, rows_max + 1, None if cursor is None else _after(cursor))
            shown = [views.job_view(row) for row in found[:rows_max]]
        return shown, f"{shown[-1].created_at!r}-{shown[-1].id}" if len(found) > rows_max else None

    def _queue(self, tx: Session, job: JobRow, who: Principal, change: audit.AuditedChange) -> None:
        _check_room(tx)
        tx.add(job)
        audit.record(tx, who, self.clock(), change)

    def _new(self, kind: str, subject: str, payload: dict[str, object], who: Principal) -> JobRow:
        return JobRow(
            id=secrets.token_hex(8),
            kind=kind,
            subject=subject,
            payload=payload,
            state="queued",
            progress=0.0,
            message="waiting",
            log=[],
            attempts=0,
            created_at=self.clock(),
            asked_by_kind=who.kind,
            asked_by=who.name,
            request_id=who.request_id,
        )


def _asked(job: JobRow, given: dict[str, object]) -> dict[str, tuple[None, object]]:
    """The job and what was asked of it, for the audit: what is not given, or off, is left out."""
    return {name: (None, value) for name, value in ({"job": job.id} | given).items() if value}


def _after(cursor: str) -> tuple[float, str]:
    created_at, _, job_id = cursor.partition("-")
    try:
        return float(created_at), job_id
    except ValueError:
        raise InvalidArgument(
            f"cursor {cursor[:100]!r} is none that a list of jobs has named as its next", field="cursor"
        ) from None


def forget_old(store: Store, uploads: Uploads, audit_rows_max: int) -> None:
    """Remove expired uploads, jobs that ended long ago and old rows of the audit; the leader does it now and then."""
    uploads.sweep()
    with store.transaction() as tx:
        rows.prune(tx, JOBS_KEPT)
        audit.prune(tx, audit_rows_max)


def _check_room(tx: Session) -> None:
    if len(rows.unfinished(tx)) >= QUEUED_JOBS_MAX:
        raise Conflict(f"{QUEUED_JOBS_MAX} jobs are waiting already: try again when some have ended")


def _check_source(request: rest.RegisterRequest) -> None:
    if (request.upload is None) == (request.uri is None):
        raise InvalidArgument("give exactly one of 'upload' and 'uri'", field="upload")
    if request.upload is not None:
        _check_filename(request.filename)
    if request.baseline_upload is not None:
        _check_filename(request.baseline_filename)
    if request.uri is not None and not request.uri.startswith(("models:/", "runs:/")):
        raise InvalidArgument(
            f"uri {request.uri!r} is not of this registry: give models:/NAME/VERSION, models:/NAME@ALIAS "
            "or runs:/ID/PATH",
            field="uri",
        )
    if request.requirements is not None and len(request.requirements) > REQUIREMENTS_CHARS_MAX:
        raise InvalidArgument(f"requirements are longer than {REQUIREMENTS_CHARS_MAX} characters", field="requirements")


def _check_filename(filename: str | None) -> None:
    """It ends up in a package: a bare name, never a path."""
    if not filename or filename in (".", "..") or PurePosixPath(filename).name != filename or "\0" in filename:
        raise InvalidArgument(
            f"filename {filename!r} is not a file's own name (for example 'model.joblib')", field="filename"
        )
    if len(filename.encode()) > 200:
        raise InvalidArgument("filename is longer than 200 bytes", field="filename")


def check_upload(tx: Session, upload: str) -> None:
    """Raises `UnknownUpload`."""
    if upload_rows.get_upload(tx, upload) is None:
        raise UnknownUpload(f"no upload has the id {upload!r}, or it expired: upload the file again")


def check_gate(gate: rest.Gate) -> None:
    """Raises `InvalidArgument` for a gate that cannot be passed or makes no sense."""
    if not 0 < gate.timeout_s <= GATE_TIMEOUT_S_MAX:
        raise InvalidArgument(
            f"gate.timeout_s must be more than 0 and at most {GATE_TIMEOUT_S_MAX:g}", field="timeout_s"
        )
    if gate.min_score is not None and not math.isfinite(gate.min_score):
        raise InvalidArgument("gate.min_score must be a finite number", field="min_score")
    if gate.validation_upload is None:
        given = [name for name in ("target", "metric", "min_score") if getattr(gate, name) is not None]
        if given:
            raise InvalidArgument(f"gate.{given[0]} needs validation data to score: give it too", field=given[0])
    elif not gate.target:
        raise InvalidArgument(
            "gate.target is missing: name the column of the validation data to predict", field="target"
        )


def _check_description(description: str) -> None:
    if len(description) > DESCRIPTION_CHARS_MAX:
        raise InvalidArgument(f"description is longer than {DESCRIPTION_CHARS_MAX} characters", field="description")


def _check_tags(request: rest.RegisterRequest) -> None:
    if len(request.tags) > TAGS_MAX:
        raise InvalidArgument(f"more than {TAGS_MAX} tags", field="tags")
    for key, value in request.tags.items():
        if key.startswith(("tidegate.", "mlflow.")):
            raise InvalidArgument(f"tag {key!r} is not allowed: 'tidegate.' and 'mlflow.' are reserved", field="tags")
        if not _is_tag_key(key):
            raise InvalidArgument(
                f"tag {key[:100]!r} is not allowed: use letters, digits, '_', '-', '.', ':', spaces, and '/' between "
                "names",
                field="tags",
            )
        if len(key) > 100 or len(value) > TAG_CHARS_MAX:
            raise InvalidArgument(f"tag {key[:100]!r} is too long", field="tags")


def _is_tag_key(key: str) -> bool:
    """What MLflow takes, which would refuse it only after the gate: these characters, and no path but a plain one."""
    plain = posixpath.normpath(key) == key and key != "." and not key.startswith(("..", "/"))
    return plain and _TAG_KEY.fullmatch(key) is not None
