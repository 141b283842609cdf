"""Endpoints that follow an alias: what loops/follow needs to decide, and what it decided, each in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import part_of_platform
from tidegate.core.endpoints import follow as core
from tidegate.core.ports import RegistryVersion
from tidegate.errors import SignatureChanged, TidegateError, UnknownVersion
from tidegate.errors.codes import by_code
from tidegate.errors.kinds import Kind
from tidegate.services.endpoints.kept_aliases import is_ours, let_go
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.jobs.queue import Jobs
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import endpoints as endpoint_rows
from tidegate.store.endpoints import follows as rows
from tidegate.store.endpoints.automation import effective_of
from tidegate.store.endpoints.history import Entry
from tidegate.store.jobs import jobs as job_rows
from tidegate.store.models import models as model_rows
from tidegate.store.tables import EndpointRow, FollowRow, JobRow
from tidegate.wire.decoding import convert
from tidegate.wire.endpoints.registering import Follow, RegisterRequest


@dataclass(frozen=True)
class Follows:
    """The use cases of the loop. A person who changes an endpoint meanwhile wins: what was decided is then dropped."""

    store: Store
    endpoints: Endpoints
    jobs: Jobs
    clock: Clock

    def all(self) -> list[core.Following]:
        """Every endpoint that follows an alias."""
        with self.store.reading() as tx:
            return [_following(row, endpoint) for row, endpoint in rows.following(tx)]

    def seen(self, following: core.Following, entry: RegistryVersion | None, problem: str = "") -> core.AliasSeen:
        """What the alias names, as the registry said, beside what is here of it."""
        with self.store.reading() as tx:
            job = None if following.job is None else job_rows.get_job(tx, following.job)
            model = model_rows.get_model(tx, following.model)
            target = None if entry is None else _target(tx, entry)
            endpoint = endpoint_rows.get_endpoint(tx, following.endpoint)
            held = "" if endpoint is None else _held(endpoint)
            ours = entry is not None and is_ours(tx, following.model, following.alias, entry.version)
        trusted = model is not None and model.pickle_trusted
        return core.AliasSeen(target, problem, None if job is None else _job_seen(job), trusted, held, ours)

    def apply(self, following: core.Following, step: core.Step) -> bool:
        """Do what was decided; False when there was nothing to do, or somebody was first."""
        if isinstance(step, core.Stay) and step.trouble == following.trouble:
            return False
        with self.store.transaction() as tx:
            row, endpoint = rows.get_follow(tx, following.endpoint), endpoint_rows.get_endpoint(tx, following.endpoint)
            if row is None or endpoint is None or endpoint.deleted_at or _following(row, endpoint) != following:
                return False
            row.trouble = step.trouble if isinstance(step, core.Stay) else ""
            if isinstance(step, core.TakeIn | core.Roll):
                let_go(tx, endpoint.model, row.alias)
            wake = self._write(tx, row, endpoint, step)
        if wake is not None:
            wake()
        return True

    def _write(self, tx: Session, row: FollowRow, endpoint: EndpointRow, step: core.Step) -> Callable[[], None] | None:
        """The step in the rows; what to wake once they are there."""
        match step:
            case core.TakeIn(version, attempts):
                self._note(row, version, "taking_in", row.reason if attempts else "")
                row.attempts, row.job = attempts, self._register(tx, row, endpoint.model, version).id
                return self.jobs.queued
            case core.Ours(version):
                self._note(row, version, "current")
                return None
            case core.Roll(version):
                return self._roll(tx, row, endpoint, version)
            case core.Wait(version, reason, attempts, retry_at):
                self._note(row, version, "waiting", reason)
                row.attempts, row.retry_at = attempts, retry_at
            case core.Refuse(version, code, reason):
                self._refuse(tx, row, endpoint, (version, code, reason))
        return None

    def _roll(self, tx: Session, row: FollowRow, endpoint: EndpointRow, version: str) -> Callable[[], None] | None:
        try:
            self.endpoints.roll(tx, endpoint, version, row.alias)
        except (UnknownVersion, SignatureChanged) as error:  # deleted here a moment ago; or clients would break
            self._refuse(tx, row, endpoint, (version, error.code, error.message))
            return None
        self._note(row, version, "current")
        return self.endpoints.changed

    def _refuse(self, tx: Session, row: FollowRow, endpoint: EndpointRow, why: tuple[str, str, str]) -> None:
        version, code, reason = why
        again = (row.version, row.code, row.reason) == (version, code, reason)
        self._note(row, version, "refused", reason)
        row.code = code
        if not again:
            note = f"version {version}: {reason}"
            entry = Entry("refused", self.clock(), f"@{row.alias}", note=note)
            endpoint_rows.add_note(tx, endpoint, entry)

    def _note(self, row: FollowRow, version: str, state: core.FollowState, reason: str = "") -> None:
        row.version, row.state, row.reason, row.code = version, state, reason, ""
        row.job, row.attempts, row.retry_at, row.changed_at = None, 0, None, self.clock()

    def _register(self, tx: Session, row: FollowRow, model: str, version: str) -> JobRow:
        options = convert(row.options, Follow)
        uri = f"models:/{model}/{version}"
        request = RegisterRequest(uri=uri, gate=options.gate, accelerate=options.accelerate, device=options.device)
        return self.jobs.add_registration(tx, model, request, part_of_platform(f"@{row.alias}"))


def _following(row: FollowRow, endpoint: EndpointRow) -> core.Following:
    return core.Following(
        endpoint=row.endpoint,
        model=endpoint.model,
        alias=row.alias,
        gated=bool(row.options.get("gate", {}).get("validation_upload")),
        version=row.version,
        state=cast(core.FollowState, row.state),
        code=row.code,
        job=row.job,
        attempts=row.attempts,
        retry_at=row.retry_at,
        trouble=row.trouble,
    )


def _held(endpoint: EndpointRow) -> str:
    running = effective_of(endpoint).weights
    return "" if running is None else f"{running.kind} {running.name!r} sets the traffic until it ends"


def _target(tx: Session, entry: RegistryVersion) -> core.AliasTarget:
    here = model_rows.get_version(tx, entry.name, entry.version)
    digest = None if here is None else here.digest
    return core.AliasTarget(entry.version, core.known(digest, entry.tags.get("tidegate.digest")))


def _job_seen(job: JobRow) -> core.JobSeen:
    error = job.error or {}
    code = str(error.get("code", ""))
    return core.JobSeen(
        state=cast(core.JobState, job.state),
        code=code,
        message=str(error.get("error", job.message)),
        passing=_passing(by_code(code)),
    )


def _passing(failure: type[TidegateError]) -> bool:
    """Whether what failed may be over later without anybody changing the model."""
    return failure.kind == Kind.UNAVAILABLE
