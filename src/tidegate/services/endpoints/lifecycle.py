"""What people do with endpoints: deploy, shift traffic, roll back, scale, delete.

Writes specs and history only; the reconcile loop makes the world follow and writes status.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from uuid import uuid4

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal, part_of_platform
from tidegate.core.endpoints.serving import check_given, given_in, none_set
from tidegate.core.engines.placement import Placement, placed
from tidegate.core.names import check_name
from tidegate.core.ports import Backend, Handle, Registry
from tidegate.core.scaling.policy import ScalingDefaults, check_measured
from tidegate.errors import InvalidArgument, UnknownModel, UnknownVersion
from tidegate.services.audit import endpoint_audited
from tidegate.services.endpoints import kept_aliases
from tidegate.services.endpoints.changes import SpecChange, apply
from tidegate.services.endpoints.deploy_requests import (
    alias_to_follow,
    check_same_engine,
    check_same_version,
    named_version,
    requested_placement,
)
from tidegate.services.endpoints.guards import Guarding, begin_guard, stable_of
from tidegate.services.endpoints.intent import HISTORY_PAGE, check_versions_there, ended_by, to_restore, uid_of
from tidegate.services.endpoints.scaling import check_replicas, check_scale, scaling_asked
from tidegate.services.endpoints.signature_changes import check_signatures
from tidegate.services.jobs.queue import check_upload
from tidegate.services.reading import views
from tidegate.services.reading.lookup import (
    by_number,
    check_same_model,
    endpoint_or_raise,
    in_registry,
    live_or_raise,
    version_or_raise,
)
from tidegate.services.reading.pages import check_page
from tidegate.services.reading.shown_endpoints import ShownEndpoints
from tidegate.services.reading.tags import check_tag
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import endpoints as rows
from tidegate.store.endpoints import history as history_rows
from tidegate.store.endpoints.automation import readable_scaling_of
from tidegate.store.fleet.fleet import placement_request_of
from tidegate.store.tables import EndpointRow, FailedReplicaRow, FollowRow
from tidegate.wire import rest

LOG_LINES_MAX = 10_000


@dataclass(frozen=True)
class Endpoints:
    """The use cases; `changed` wakes the reconcile loop after a commit.

    `placement` is where replicas run that nobody placed, `scaling` what holds for all numbers of them; `can_start`
    raises when nothing could be started there now; `answered` tells how the requests to a version ended recently,
    `load` how busy versions are; `guarding` whether a version that was deployed is watched.
    """

    store: Store
    registry: Registry
    backend: Backend
    clock: Clock
    gateway_url: str
    changed: Callable[[], None]
    placement: Placement = Placement()
    scaling: ScalingDefaults = ScalingDefaults()
    can_start: Callable[[Placement], None] = lambda _where: None
    answered: views.AnsweredOf = lambda _endpoint, _version: None
    load: views.LoadOf = lambda _endpoint, _versions: None
    guarding: Guarding = Guarding()

    @property
    def shown(self) -> ShownEndpoints:
        """The endpoints as they are, for who only looks."""
        return ShownEndpoints(self.store, self.gateway_url, self.placement, self.answered, self.load)

    def get(self, name: str) -> rest.Endpoint:
        """Raises `UnknownEndpoint`."""
        with self.store.reading() as tx:
            return self._view(tx, endpoint_or_raise(tx, name))

    def only_if(self, name: str, match: str | None) -> Endpoints:
        """The same use cases, changing this endpoint only while it has one of these tags (`If-Match`; None: whichever).

        They raise `ChangedMeanwhile` where it has moved on, and where there is none of this name.
        """
        if match is None:
            return self
        return replace(self, store=self.store.fenced(lambda tx: check_tag(rows.get_endpoint(tx, name), name, match)))

    def history(
        self, name: str, limit: int = HISTORY_PAGE, before: int | None = None, *, every: bool = False
    ) -> list[rest.HistoryEntry]:
        """Up to `limit` changes, newest first, older than entry `before`; of all that had the name with `every`.

        Raises `UnknownEndpoint` where none is remembered, `InvalidArgument`.
        """
        check_page(limit)
        with self.store.reading() as tx:
            newest = uid_of(tx, name)
            found = history_rows.page(tx, name, None if every else newest, limit, before)
            return [views.history_view(row) for row in found]

    def deploy(self, name: str, request: rest.DeployRequest, who: Principal) -> rest.Endpoint:
        """Give one version all of the traffic once it is ready; makes the endpoint if it is new.

        Raises `UnknownModel`, `UnknownVersion`, `NotTakenIn` for a version that only the registry has yet,
        `InvalidArgument`, `Conflict` when it serves another model, `SignatureChanged` when clients of the live version
        would break, and `EngineUnavailable` when the engine that is to run it does not answer.
        """
        check_name(name, "endpoint")
        limit = self.scaling.replicas_limit
        replicas = None if request.replicas is None else check_replicas(request.replicas, limit)
        given = given_in(request)
        check_given(given)
        alias = alias_to_follow(request)
        named = named_version(self.registry, request.model, request.version)
        try:
            with self.store.reading() as tx:
                version_or_raise(tx, request.model, named.version)
                requested = requested_placement(rows.get_endpoint(tx, name), request, self.placement)
            where = placed(requested, self.placement)
            self.can_start(where)
            with self.store.transaction() as tx, endpoint_audited(tx, name, "deploy", who, self.clock):
                version = version_or_raise(tx, request.model, named.version)
                check_same_version(version, named)
                row = rows.get_endpoint(tx, name) or self.new_row(tx, name, request.model)
                # Read again: another of its settings may have changed meanwhile.
                requested = requested_placement(row, request, self.placement)
                check_same_engine(name, where, placed(requested, self.placement))
                check_same_model(row, request.model)
                if replicas is None and (follows := readable_scaling_of(row)[0]) is not None:
                    check_measured(follows, placed(requested, self.placement))
                traffic, stable = {version.version: 100.0}, stable_of(row)
                ended = ended_by(row, end=request.end_automation)
                notice = check_signatures(tx, row, traffic, accepted=request.accept_signature_change)
                note = "; ".join(part for part in (ended, f"follows @{alias}" if alias else "", notice) if part)
                change = SpecChange(
                    "deploy",
                    traffic,
                    replicas,
                    who.name,
                    note=note,
                    given=given,
                    placement=requested,
                )
                row.follow = self.follow_row(tx, row, alias, request.follow, version.version)
                view = self._apply(tx, row, change)
                if request.guard:
                    begin_guard(tx, row, stable, who.name, self.guarding, self.clock())
        except (UnknownModel, UnknownVersion) as error:
            raise in_registry(self.registry, request.model, named.version, error) from error
        self.changed()
        return view

    def roll(self, tx: Session, row: EndpointRow, version: str, alias: str) -> None:
        """Give a version all of the traffic because a followed alias names it; the caller commits and wakes the loop.

        Raises `UnknownVersion`, `AutomationRunning`, and `SignatureChanged`: nobody is there who could accept that.
        """
        ended_by(row, end=False)
        traffic = {version_or_raise(tx, row.model, version).version: 100.0}
        notice, stable = check_signatures(tx, row, traffic, accepted=False), stable_of(row)
        who = part_of_platform(f"@{alias}")
        with endpoint_audited(tx, row.name, "follow", who, self.clock):
            self._apply(tx, row, SpecChange("follow", traffic, actor=who.name, note=notice))
            begin_guard(tx, row, stable, who.name, self.guarding, self.clock())

    def set_traffic(self, name: str, request: rest.TrafficRequest, who: Principal) -> rest.Endpoint:
        """Split traffic over versions (numbers or labels), shifted once all are ready. It follows no alias any more.

        Raises `UnknownEndpoint`, `UnknownVersion`, `InvalidArgument` for weights that do not add up to 100, and
        `SignatureChanged` when clients of what is live would break, and `AutomationRunning` unless it may be ended.
        """
        if request.action not in ("traffic", "promote"):
            raise InvalidArgument(f"action {request.action!r} is not 'traffic' or 'promote'", field="action")
        with self.store.transaction() as tx, endpoint_audited(tx, name, request.action, who, self.clock):
            row = live_or_raise(tx, name)
            traffic = by_number(tx, row.model, request.traffic)
            ended = ended_by(row, end=request.end_automation)
            changes = check_signatures(tx, row, traffic, accepted=request.accept_signature_change)
            note = "; ".join(part for part in (ended, changes) if part)
            row.follow = None
            view = self._apply(tx, row, SpecChange(request.action, traffic, actor=who.name, note=note))
        self.changed()
        return view

    def rollback(
        self, name: str, request: rest.RollbackRequest, who: Principal, *, why: str = "", end_automation: bool = True
    ) -> rest.Endpoint:
        """Re-apply the newest earlier traffic of people that differs from the current one, or revision `to`'s.

        While an automation sets the weights, it is ended, and what was stable is restored; without `end_automation`
        that is `AutomationRunning`. `why` is for the history.

        Traffic alone: replicas, backend, limits, rate and response cache stay as they are now. Signatures are not asked
        about: clients had these versions before.

        A second rollback thus undoes the first. Raises `Conflict` when there is nothing to go back to.
        """
        with self.store.transaction() as tx, endpoint_audited(tx, name, "rollback", who, self.clock):
            row = live_or_raise(tx, name)
            ended = ended_by(row, end=end_automation)
            back = to_restore(row, history_rows.intended(tx, row), request.to)
            check_versions_there(tx, row, back)
            note = "; ".join(part for part in (why, ended) if part)
            change = SpecChange("rollback", back.traffic, actor=who.name, restores=back.revision, note=note)
            view = self._apply(tx, row, change)
        self.changed()
        return view

    def scale(self, name: str, request: rest.ScaleRequest, who: Principal) -> rest.Endpoint:
        """Fix the replicas per version, whatever an autoscaler decided, or have them follow the load within bounds.

        Raises `UnknownEndpoint`, `InvalidArgument`.
        """
        check_scale(request)
        with self.store.transaction() as tx, endpoint_audited(tx, name, "scale", who, self.clock):
            row = live_or_raise(tx, name)
            view = self._apply(tx, row, self._scaled(row, request, who))
        self.changed()
        return view

    def _scaled(self, row: EndpointRow, request: rest.ScaleRequest, who: Principal) -> SpecChange:
        if request.replicas is not None:
            fixed = check_replicas(request.replicas, self.scaling.replicas_limit)
            return SpecChange("scale", row.traffic, fixed, who.name)
        follows = scaling_asked(request, readable_scaling_of(row)[0], self.scaling)
        check_measured(follows, placed(placement_request_of(row), self.placement))
        return SpecChange("scale", row.traffic, actor=who.name, scaling=follows)

    def delete(self, name: str, who: Principal) -> rest.Endpoint:
        """Mark it for deletion: the loop drains its replicas, then removes it; its history stays.

        Raises `UnknownEndpoint`.
        """
        with self.store.transaction() as tx, endpoint_audited(tx, name, "delete", who, self.clock):
            row = endpoint_or_raise(tx, name)
            if row.deleted_at is None:
                row.deleted_at = self.clock()
                rows.add_revision(tx, row, history_rows.Entry("delete", row.deleted_at, who.name))
                kept_aliases.no_challenger(tx, row, "delete", row.deleted_at)
                history_rows.forget_gone(tx)
            view = self._view(tx, row)
        self.changed()
        return view

    def logs(self, name: str, lines_max: int) -> list[rest.LogLines]:
        """The last lines of every replica's log, those that failed recently first, oldest first.

        Raises `UnknownEndpoint`, `InvalidArgument`.
        """
        if not 1 <= lines_max <= LOG_LINES_MAX:
            raise InvalidArgument(f"lines must be from 1 to {LOG_LINES_MAX}, not {lines_max}", field="lines")
        with self.store.reading() as tx:
            endpoint_or_raise(tx, name)
            replicas, failed = rows.replicas_of(tx, name), rows.failed_replicas_of(tx, name)
        gone = {row.replica for row in failed}
        last_words = [
            rest.LogLines(row.replica, row.version, self._last_words(row, lines_max), views.failure_view(row))
            for row in failed
        ]
        return last_words + [
            rest.LogLines(row.id, row.version, self.backend.logs(Handle(row.backend, row.handle), lines_max))
            for row in replicas
            if row.handle and row.id not in gone
        ]

    def _last_words(self, row: FailedReplicaRow, lines_max: int) -> list[str]:
        """What the engine still has of its log, else the end of it that was kept."""
        found = self.backend.logs(Handle(row.backend, row.handle), lines_max) if row.handle else []
        return found or row.log[-lines_max:]

    def follow_row(
        self, tx: Session, row: EndpointRow, alias: str | None, options: rest.Follow | None, version: str
    ) -> FollowRow | None:
        """What the endpoint follows from now on; the version that was deployed is the one that was dealt with."""
        if alias is None or options is None:
            return None
        if options.gate.validation_upload is not None:
            check_upload(tx, options.gate.validation_upload)
        follow = row.follow or FollowRow(endpoint=row.name)
        follow.alias, follow.options, follow.version = alias, asdict(options), version
        follow.state, follow.code, follow.reason, follow.trouble = "current", "", "", ""
        follow.job, follow.attempts, follow.retry_at, follow.changed_at = None, 0, None, self.clock()
        return follow

    def _view(self, tx: Session, row: EndpointRow) -> rest.Endpoint:
        return self.shown.one(tx, row)

    def new_row(self, tx: Session, name: str, model: str) -> EndpointRow:
        """An endpoint without traffic yet, in the transaction of whoever gives it some."""
        row = EndpointRow(
            name=name,
            model=model,
            uid=uuid4().hex,
            salt=secrets.token_hex(16),
            created_at=self.clock(),
            traffic={},
            replicas=1,
            revision=0,
            traffic_revision=0,
            replicas_revision=0,
            generation=0,
            retries={},
            status="deploying",
            reason="",
            routed={},
            routed_split={},
            shadow={},
            observed_generation=0,
            automated_weights=None,
            automated_replicas=[],
            **none_set(),
        )
        tx.add(row)
        return row

    def _apply(self, tx: Session, row: EndpointRow, change: SpecChange) -> rest.Endpoint:
        apply(tx, row, change, self.clock())
        return self._view(tx, row)
