"""What people do with experiments: create, start, pause, resume, stop, approve, and look at them.

Each action writes the experiment's row and the endpoint's weights in one transaction, so it takes effect at once; the
loop then goes on from there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.experiments import states
from tidegate.core.experiments.states import Action
from tidegate.core.ports import Registry
from tidegate.errors import Conflict, UnknownExperiment
from tidegate.report.decisions.page import ExperimentReport, render
from tidegate.services.endpoints.deploy_requests import named_version
from tidegate.services.experiments import creation, weights
from tidegate.services.experiments.past import ExperimentPast
from tidegate.services.experiments.telling import Tell, nobody, quiet
from tidegate.services.experiments.views import view_of
from tidegate.services.reading.lookup import endpoint_or_raise, live_or_raise
from tidegate.services.reading.tags import check_tag
from tidegate.store import audit as audit_rows
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import experiments as rows
from tidegate.store.tables import EndpointRow, ExperimentRow
from tidegate.wire.experiments.experiments import (
    AaRequest,
    AaView,
    ExperimentList,
    ExperimentRequest,
    ExperimentSpec,
    ExperimentView,
    LookView,
)

NAMES_SHOWN_MAX = 20
LOOKED_S_MAX = 900.0
"""What is approved was found so long ago at most."""


@dataclass(frozen=True)
class Experiments:
    """The use cases. `changed` wakes the reconcile loop after a commit, `wake` the loop of experiments.

    `capture_retain_s`: how long captured rows are kept where an endpoint does not say; 0: nothing is captured.
    """

    store: Store
    registry: Registry
    clock: Clock
    changed: Callable[[], None]
    wake: Callable[[], None]
    capture_retain_s: float
    past: ExperimentPast
    tell: Tell = nobody

    def only_if(self, endpoint: str, match: str | None) -> Experiments:
        """The same use cases, while the endpoint has one of these tags (`If-Match`; None: whichever)."""
        if match is None:
            return self
        fenced = self.store.fenced(lambda tx: check_tag(get_endpoint(tx, endpoint), endpoint, match))
        return replace(self, store=fenced)

    def create(self, endpoint: str, request: ExperimentRequest, who: Principal) -> ExperimentView:
        """A draft, or with `start` one that runs.

        Raises `UnknownEndpoint`, `UnknownVersion`, `InvalidArgument`, `SignatureChanged`, `Conflict` for a name that is
        taken, and what `start` raises.
        """
        with self.store.reading() as tx:
            model = live_or_raise(tx, endpoint).model
        asked = creation.read(request, lambda one: named_version(self.registry, model, one).version)
        with self.store.reading() as tx:
            found = live_or_raise(tx, endpoint)
            spec = creation.spec_of(tx, found, asked, self.capture_retain_s)
        expected = self.past.expected_days(spec, endpoint)
        now = self.clock()
        with self.store.transaction() as tx:
            found = live_or_raise(tx, endpoint)
            spec = creation.spec_of(tx, found, asked, self.capture_retain_s)
            warnings = creation.check_captured(found, spec, self.capture_retain_s)
            row = ExperimentRow(
                endpoint_uid=found.uid,
                endpoint=found.name,
                name=creation.free_name(tx, found, request.name, spec),
                salt=secrets.token_hex(16),
                spec=msgspec.to_builtins(spec),
                created_at=now,
                created_by=who.name[:255],
                expected_days=expected,
                warnings=warnings,
                state="draft",
                stable={},
                phases=[],
                reason="it has not been started",
            )
            tx.add(row)
            tx.flush()
            rows.forget_old(tx, found.uid)
            self._audit(tx, row, "create", who, {"experiment": (None, request_words(request, row.name))})
            if request.start:
                self._start(tx, found, row, who)
            view = view_of(tx, found, row)
        self._woken()
        return view

    def get(self, endpoint: str, name: str) -> ExperimentView:
        """Raises `UnknownEndpoint`, `UnknownExperiment`."""
        with self.store.reading() as tx:
            found = endpoint_or_raise(tx, endpoint)
            return view_of(tx, found, _or_raise(tx, found, name))

    def looks(self, endpoint: str, name: str) -> list[LookView]:
        """What its looks found, in order of time; of many, the older ones are thinned out. Raises as `get`."""
        with self.store.reading() as tx:
            return rows.looks(tx, _or_raise(tx, endpoint_or_raise(tx, endpoint), name))

    def with_looks(self, endpoint: str, name: str) -> ExperimentView:
        """As `get`, with its looks."""
        with self.store.reading() as tx:
            found = endpoint_or_raise(tx, endpoint)
            row = _or_raise(tx, found, name)
            return view_of(tx, found, row, rows.looks(tx, row))

    def report(self, endpoint: str, name: str) -> str:
        """All that is known of it as one page of HTML. Raises as `get`."""
        return render(ExperimentReport(self.with_looks(endpoint, name), self.clock()))

    def aa(self, endpoint: str, name: str, request: AaRequest) -> AaView:
        """How often the tests of its metrics find a difference in captured units that are split at random.

        Raises `UnknownEndpoint`, `UnknownExperiment`, `InvalidArgument`, `Overloaded`, `CaptureUnreadable`.
        """
        with self.store.reading() as tx:
            spec = rows.spec_of(_or_raise(tx, endpoint_or_raise(tx, endpoint), name))
        return self.past.aa(spec, endpoint, request)

    def all(self, endpoint: str) -> ExperimentList:
        """Of one endpoint, newest first. Raises `UnknownEndpoint`."""
        with self.store.reading() as tx:
            found = endpoint_or_raise(tx, endpoint)
            return ExperimentList([view_of(tx, found, row) for row in rows.of_endpoint(tx, found.uid)])

    def set_split(self, endpoint: str, name: str, split: Sequence[float], who: Principal) -> ExperimentView:
        """Other percents for the arms of a draft, control's first; once started, they stay.

        Raises `UnknownEndpoint`, `UnknownExperiment`, `InvalidArgument`, and `Conflict` for one that was started.
        """
        with self.store.reading() as tx:
            row = _or_raise(tx, live_or_raise(tx, endpoint), name)
            states.after(name, row.state, "split")  # type: ignore[arg-type] # the column has no others
            spec = creation.with_split(rows.spec_of(row), split)
        expected = self.past.expected_days(spec, endpoint)
        with self._acting(endpoint, name, "split", who) as (_, _, row):
            row.spec, row.expected_days = msgspec.to_builtins(creation.with_split(rows.spec_of(row), split)), expected
        return self.get(endpoint, name)

    def start(self, endpoint: str, name: str, who: Principal) -> ExperimentView:
        """Begin: units take part once replicas of all arms are ready.

        Raises `Conflict` where its state does not allow it or its control is not what the endpoint serves,
        `AutomationRunning` where another automation sets the traffic.
        """
        with self._acting(endpoint, name, "start", who) as (tx, found, row):
            if row.state == "paused":
                self._go_on(tx, found, row, who)
            else:
                self._start(tx, found, row, who)
        return self.get(endpoint, name)

    def pause(self, endpoint: str, name: str, who: Principal) -> ExperimentView:
        """Give everybody control. Units keep their arms for when it is resumed. Raises `Conflict`."""
        with self._acting(endpoint, name, "pause", who) as (tx, found, row):
            row.state, row.reason, row.next = "paused", f"{who.name} paused it", ""
            weights.pause(tx, found, row, rows.spec_of(row), now=self.clock(), note=f"paused by {who.name}")
        return self.get(endpoint, name)

    def resume(self, endpoint: str, name: str, who: Principal) -> ExperimentView:
        """Go on after a pause, in a new phase, or lift a hold. Raises `Conflict`."""
        with self._acting(endpoint, name, "resume", who) as (tx, found, row):
            if row.state == "paused":
                self._go_on(tx, found, row, who)
            elif row.held:
                row.held, row.turn = "", row.turn + 1
            elif row.decision == "hold":
                raise Conflict(
                    f"experiment {name!r} is held by what it finds: {row.reason}. Mend that, or stop it: it cannot be "
                    "resumed past it",
                    experiment=name,
                )
            else:
                raise Conflict(f"experiment {name!r} runs already, and nothing holds it", experiment=name)
        return self.get(endpoint, name)

    def stop(self, endpoint: str, name: str, who: Principal) -> ExperimentView:
        """End it without a result: all traffic goes back to what was stable. Raises `Conflict`."""
        with self._acting(endpoint, name, "stop", who) as (tx, found, row):
            was, now = row.state, self.clock()
            row.reason, row.next = f"{who.name} stopped it", "all traffic has gone back to control"
            if was == "draft":
                row.next = "it was never started"
                weights.end(tx, None, row, ("stopped", "stopped"), by=who.name, now=now)
            else:
                note = f"stopped by {who.name}"
                weights.give_back(tx, found, row, ("stopped", "stopped"), now=now, note=note)
                row.ended_by = who.name[:255]
        return self.get(endpoint, name)

    def approve(self, endpoint: str, name: str, who: Principal) -> ExperimentView:
        """Carry out the promotion that waits for approval. Raises `Conflict` where none does."""
        with self._acting(endpoint, name, "approve", who) as (tx, found, row):
            if row.decision != "promote":
                raise Conflict(
                    f"experiment {name!r} has no decision to approve: it is {row.decision!r} ({row.reason})",
                    experiment=name,
                    decision=row.decision,
                )
            if row.trouble:
                raise Conflict(
                    f"experiment {name!r} could not be looked at lately ({row.trouble}), so its decision may not hold "
                    f"any more: mend that first, or 'tidegate deploy' the version with --end-automation",
                    experiment=name,
                )
            self._check_fresh(row)
            version = version_of(rows.spec_of(row), row.winner)
            note = f"approved by {who.name}: {row.reason}"
            weights.promote(tx, found, row, version, now=self.clock(), note=note)
            row.reason, row.next = note, f"version {version} has all traffic"
        return self.get(endpoint, name)

    def _check_fresh(self, row: ExperimentRow) -> None:
        """Raises `Conflict` where what is to be approved was not looked at lately."""
        age_s = self.clock() - (row.looked_at or 0.0)
        if age_s > LOOKED_S_MAX:
            raise Conflict(
                f"experiment {row.name!r} was last looked at {age_s / 60:.0f} minutes ago, so its decision "
                "may not hold any more: it can be approved after the next look, which a control plane that leads makes "
                "within a minute",
                experiment=row.name,
            )

    def _start(self, tx: Session, found: EndpointRow, row: ExperimentRow, who: Principal) -> None:
        spec = rows.spec_of(row)
        creation.check_captured(found, spec, self.capture_retain_s)
        row.state, row.reason, row.next = "running", f"{who.name} started it", "it waits for requests with a key"
        weights.begin(tx, found, row, spec, self.clock())

    def _go_on(self, tx: Session, found: EndpointRow, row: ExperimentRow, who: Principal) -> None:
        row.state, row.reason, row.next = "running", f"{who.name} resumed it", "it goes on"
        row.counted_at = None  # the pause is no time that it ran
        row.decision, row.days_left = "", None  # nothing is approved before it was looked at again
        spec = self._fitted(found, row)
        weights.split(tx, found, row, spec, now=self.clock(), note=f"resumed by {who.name}")

    def _fitted(self, found: EndpointRow, row: ExperimentRow) -> ExperimentSpec:
        """With the days that its rows are kept for after this pause. Raises `Conflict` where it has had them."""
        spec, now = rows.spec_of(row), self.clock()
        since = now if row.started_at is None else row.started_at
        fits = creation.fitted(found, spec, self.capture_retain_s, max(0.0, now - since - row.ran_s))
        if fits.max_days * creation.DAY_S <= row.ran_s:
            raise Conflict(
                f"rows of endpoint {found.name!r} are not kept for long enough: those of the first units of experiment "
                f"{row.name!r}, which began {(now - since) / creation.DAY_S:.3g} days ago, would be gone. Keep them "
                f"for longer ('tidegate capture-settings {found.name} --retain …') while they are there, or stop it",
                experiment=row.name,
            )
        if fits != spec:
            row.spec = msgspec.to_builtins(fits)
            warning = (
                f"{creation.SHORTENED}{fits.max_days:.3g} days in all: it was paused, and its rows are kept no longer"
            )
            row.warnings = [*(one for one in row.warnings if not one.startswith(creation.SHORTENED)), warning]
        return fits

    @contextmanager
    def _acting(
        self, endpoint: str, name: str, action: Action, who: Principal
    ) -> Iterator[tuple[Session, EndpointRow, ExperimentRow]]:
        """The rows of an action that the state allows; then the audit, the commit, and whoever has to know of it."""
        with self.store.transaction() as tx:
            found = live_or_raise(tx, endpoint)
            row = _or_raise(tx, found, name)
            if row.state in states.LIVE and not weights.is_in_effect(found, row):
                why = weights.ended_outside(tx, found, row)[1]
                raise Conflict(f"experiment {name!r} has ended: {why}", experiment=name, state="stopped")
            before = row.state
            shares = [arm.share for arm in rows.spec_of(row).arms]
            states.after(name, row.state, action)  # type: ignore[arg-type] # the column has no others
            yield tx, found, row
            tx.flush()
            values: dict[str, tuple[object, object]] = {"state": (before, row.state)}
            if action == "split":
                values = {"split": (shares, [arm.share for arm in rows.spec_of(row).arms])}
            self._audit(tx, row, action, who, values)
            self.tell(tx, endpoint, [quiet(row)], self.clock())
        self._woken()

    def _audit(
        self, tx: Session, row: ExperimentRow, action: str, who: Principal, changes: dict[str, tuple[object, object]]
    ) -> None:
        change = audit_rows.AuditedChange(
            f"experiment_{action}", "endpoint", row.endpoint, changes, f"experiment {row.name}"
        )
        audit_rows.record(tx, who, self.clock(), change)

    def _woken(self) -> None:
        self.changed()
        self.wake()


def version_of(spec: ExperimentSpec, variant: str) -> str:
    """The version of an arm."""
    return next(arm.version for arm in spec.arms if arm.variant == variant)


def request_words(request: ExperimentRequest, name: str) -> dict[str, object]:
    """What was asked for, for the audit."""
    asked: dict[str, object] = msgspec.to_builtins(request)
    return {**asked, "name": name}


def _or_raise(tx: Session, endpoint: EndpointRow, name: str) -> ExperimentRow:
    row = rows.get(tx, endpoint.uid, name)
    if row is None:
        known = [one.name for one in rows.of_endpoint(tx, endpoint.uid)]
        there = ", ".join(known[:NAMES_SHOWN_MAX]) or "none"
        raise UnknownExperiment(
            f"endpoint {endpoint.name!r} has no experiment {name!r}: there is {there}", experiment=name
        )
    return row
