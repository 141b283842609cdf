"""What people do with canaries: begin one, look at it, pause and resume, promote, abort and retry it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.canary.grammar import check_every, check_steps, guardrails
from tidegate.core.canary.split import baseline_of
from tidegate.core.ports import Registry
from tidegate.errors import Conflict, InvalidArgument, UnknownCanary, UnknownModel, UnknownVersion
from tidegate.services.canaries import changes
from tidegate.services.canaries.views import canary_view
from tidegate.services.endpoints import automated
from tidegate.services.endpoints.deploy_requests import check_same_version, named_version
from tidegate.services.endpoints.intent import ended_by
from tidegate.services.endpoints.signature_changes import check_signatures
from tidegate.services.reading.lookup import endpoint_or_raise, in_registry, live_or_raise, version_or_raise
from tidegate.services.reading.tags import check_tag
from tidegate.store import audit
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.automation import effective_of, word_of
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import canaries as rows
from tidegate.store.fleet.fleet import capture_rules_of
from tidegate.store.tables import EndpointRow
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.experiments.canary import CanaryRequest, CanaryView


@dataclass(frozen=True)
class _Asked:
    """What a canary shall be like, checked."""

    version: str
    steps: tuple[float, ...]
    every_s: float
    guardrails: tuple[str, ...]
    accept_signature_change: bool
    end_automation: bool


@dataclass(frozen=True)
class Canaries:
    """The use cases. `changed` wakes the reconcile loop, `wake` the loop that looks at canaries, after a commit."""

    store: Store
    registry: Registry
    clock: Clock
    changed: Callable[[], None]
    wake: Callable[[], None] = lambda: None

    def only_if(self, endpoint: str, match: str | None) -> Canaries:
        """The same use cases, while the endpoint has one of these tags (`If-Match`; None: whichever)."""
        if match is None:
            return self
        fenced = self.store.fenced(lambda tx: check_tag(get_endpoint(tx, endpoint), endpoint, match))
        return replace(self, store=fenced)

    def get(self, endpoint: str) -> CanaryView:
        """The endpoint's newest canary or guard, also one that has ended. Raises `UnknownEndpoint`, `UnknownCanary`."""
        with self.store.reading() as tx:
            row = rows.newest_of(tx, endpoint_or_raise(tx, endpoint).uid)
            if row is None:
                raise UnknownCanary(
                    f"endpoint {endpoint!r} had no canary yet: 'tidegate deploy NAME:VERSION --canary 1,5,25,50,100' "
                    "begins one",
                    endpoint=endpoint,
                )
            return canary_view(row)

    def begin(self, endpoint: str, request: CanaryRequest, who: Principal) -> CanaryView:
        """Give a version the first step's share of the traffic, once its replicas are ready.

        Raises `UnknownEndpoint`, `UnknownVersion`, `NotTakenIn`, `InvalidArgument`, `SignatureChanged`,
        `AutomationRunning`, and `Conflict` where there is no one version in service to compare it with, or nothing is
        recorded of its predictions.
        """
        if not request.version:
            raise InvalidArgument("a canary needs a version: a number, a label or '@alias'", field="version")
        with self.store.reading() as tx:
            model = live_or_raise(tx, endpoint).model
        named = named_version(self.registry, model, request.version)
        try:
            with self.store.transaction() as tx:
                row = live_or_raise(tx, endpoint)
                version = version_or_raise(tx, row.model, named.version)
                check_same_version(version, named)
                asked = _Asked(
                    version.version,
                    check_steps(request.steps),
                    check_every(request.every_s),
                    tuple(request.guardrails),
                    request.accept_signature_change,
                    request.end_automation,
                )
                canary = self._begin(tx, row, asked, who)
                view = canary_view(canary)
        except (UnknownModel, UnknownVersion) as error:
            raise in_registry(self.registry, model, named.version, error) from error
        self._woken()
        return view

    def retry(self, endpoint: str, who: Principal) -> CanaryView:
        """Begin the newest canary anew, from its first step. Raises `Conflict` while one runs, `UnknownCanary`."""
        with self.store.transaction() as tx:
            row = live_or_raise(tx, endpoint)
            last = rows.newest_of(tx, row.uid, "canary")
            if last is None:
                raise UnknownCanary(f"endpoint {endpoint!r} had no canary that could be tried again", endpoint=endpoint)
            if last.ended_at is None:
                raise Conflict(f"the canary of version {last.version} still runs: there is nothing to try again")
            version = version_or_raise(tx, row.model, last.version).version
            asked = _Asked(version, tuple(last.steps), last.every_s, tuple(last.guardrails), True, False)
            view = canary_view(self._begin(tx, row, asked, who))
        self._woken()
        return view

    def pause(self, endpoint: str, who: Principal) -> CanaryView:
        """Stay at the present step; guardrails are watched on. Raises `Conflict` where none runs."""
        return self._set_paused(endpoint, who, "paused")

    def resume(self, endpoint: str, who: Principal) -> CanaryView:
        """Go on from the present step. Raises `Conflict` where none runs."""
        return self._set_paused(endpoint, who, "running")

    def promote(self, endpoint: str, who: Principal) -> CanaryView:
        """Give the version all of the traffic now, whatever is known of it. Raises `Conflict` where none runs."""
        with self.store.transaction() as tx:
            row, canary = self._running(tx, endpoint)
            now, why = self.clock(), f"promoted by {who.name}"
            self._audit(tx, who, "canary promote", canary)
            changes.promote(tx, canary, row, by=who.name, why=why, now=now)
            view = canary_view(canary)
        self._woken()
        return view

    def abort(self, endpoint: str, who: Principal) -> CanaryView:
        """Give stable all of the traffic again. Raises `Conflict` where none runs."""
        with self.store.transaction() as tx:
            row, canary = self._running(tx, endpoint)
            self._audit(tx, who, "canary abort", canary)
            ending = changes.Ending("aborted", who.name, f"{changes.BY_PEOPLE} {who.name}")
            changes.restore(tx, canary, row, ending, self.clock())
            view = canary_view(canary)
        self._woken()
        return view

    def _begin(self, tx: Session, row: EndpointRow, asked: _Asked, who: Principal) -> CanaryRow:
        kept = guardrails(asked.guardrails)
        now = self.clock()
        ended_by(row, end=asked.end_automation)
        if effective_of(row).weights is not None:
            automated.restore(tx, row, by=who.name, note="a canary begins", now=now)
        _check_can_compare(row, asked.version)
        notice = check_signatures(tx, row, {asked.version: 100.0}, accepted=asked.accept_signature_change)
        for other in rows.active_of(tx, row.uid):
            changes.end(other, "ended", "a canary began", now)
        canary = rows.add(tx, _new_row(row, asked, who, now))
        changes.set_step(tx, canary, row, 0, notice, now)
        canary.reason, canary.next = "replicas are made ready", f"{asked.steps[0]:g} % of the traffic"
        values = {
            "version": (None, asked.version),
            "steps": (None, list(asked.steps)),
            "every_s": (None, asked.every_s),
            "guardrails": (None, [one.text for one in kept]),
        }
        audit.record(tx, who, now, audit.AuditedChange("canary", "endpoint", row.name, values))
        return canary

    def _set_paused(self, endpoint: str, who: Principal, state: str) -> CanaryView:
        with self.store.transaction() as tx:
            _, canary = self._running(tx, endpoint)
            if canary.state != state:
                change = {"state": (canary.state, state)}
                canary.state = state
                canary.reason = f"{'paused' if state == 'paused' else 'resumed'} by {who.name}"
                audit.record(tx, who, self.clock(), audit.AuditedChange("canary", "endpoint", endpoint, change))
            view = canary_view(canary)
        self.wake()
        return view

    def _running(self, tx: Session, endpoint: str) -> tuple[EndpointRow, CanaryRow]:
        row = live_or_raise(tx, endpoint)
        canary = next((one for one in rows.active_of(tx, row.uid) if one.kind == "canary"), None)
        if canary is None or not changes.is_in_effect(canary, row):
            raise Conflict(
                f"no canary runs on endpoint {endpoint!r}: 'tidegate canary status {endpoint}' says what became of the "
                "last one",
                endpoint=endpoint,
            )
        return row, canary

    def _audit(self, tx: Session, who: Principal, action: str, canary: CanaryRow) -> None:
        change = {"version": (None, canary.version), "state": (canary.state, None)}
        audit.record(tx, who, self.clock(), audit.AuditedChange(action, "endpoint", canary.endpoint, change))

    def _woken(self) -> None:
        self.changed()
        self.wake()


def _check_can_compare(row: EndpointRow, version: str) -> None:
    """Raises `Conflict` where the canary would have nothing to be compared with, or nothing to be judged by."""
    if not row.traffic:
        raise Conflict(
            f"endpoint {row.name!r} serves nothing yet, so there is nothing to compare a canary with: deploy without "
            "--canary",
            endpoint=row.name,
        )
    if version in row.traffic:
        raise Conflict(f"version {version} has traffic already: {row.traffic[version]:g} %", endpoint=row.name)
    baseline_of(row.traffic)
    if capture_rules_of(row).sample <= 0:
        raise Conflict(
            f"nothing is recorded of endpoint {row.name!r}, and a canary is judged by what is: 'tidegate "
            f"capture-settings {row.name} --sample 1' records it",
            endpoint=row.name,
        )


def _new_row(row: EndpointRow, asked: _Asked, who: Principal, now: float) -> CanaryRow:
    return CanaryRow(
        endpoint_uid=row.uid,
        endpoint=row.name,
        kind="canary",
        version=asked.version,
        baseline=baseline_of(row.traffic),
        stable=dict(row.traffic),
        steps=list(asked.steps),
        every_s=asked.every_s,
        guardrails=list(asked.guardrails),
        salt=secrets.token_hex(16),
        revision=word_of(row),
        started_at=now,
        begun_by=who.name[:255],
        state="running",
        step=0,
        step_set_at=now,
        views=[],
        past=[],
        requests={},
        reason="",
        next="",
    )
