"""What people do with shadows: have a version listen to a share of an endpoint's traffic, look at it, and end it.

Writes the endpoint's row and its history only; the reconcile loop keeps replicas, gateways copy requests to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.captured import CapturedPairs, ShadowPairs
from tidegate.core.endpoints.compatibility import compare as compare_signatures
from tidegate.core.endpoints.compatibility import listed
from tidegate.core.endpoints.shadow import ShadowSpec, check_share, is_live
from tidegate.errors import CaptureUnreadable, Conflict, NoShadow, SignatureDiffers
from tidegate.services.audit import endpoint_audited
from tidegate.services.reading.lookup import endpoint_or_raise, live_or_raise, version_or_raise
from tidegate.services.reading.tags import check_tag
from tidegate.services.reading.views import shadow_summary
from tidegate.services.shadows.comparison import Comparison, compare, main_output
from tidegate.services.shadows.kept import Kept
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import endpoints as rows
from tidegate.store.endpoints import history
from tidegate.store.endpoints.automation import effective_of, raise_generation
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.endpoints.history import Entry
from tidegate.store.endpoints.shadows import put_shadow, shadow_of
from tidegate.store.fleet.fleet import load_versions
from tidegate.store.tables import EndpointRow
from tidegate.wire.experiments.shadows import SHED, ShadowRequest, ShadowSummary, ShadowView
from tidegate.wire.signature import Signature, fed_by

ROWS_MAX = 100_000
"""Of the shadow, about so many of the newest are compared at most."""
FIRST_LOOK_S = 600.0


@dataclass(frozen=True)
class _Found:
    """A shadow as one reading found it, and what is known of its version."""

    summary: ShadowSummary
    signature: Signature | None


@dataclass(frozen=True)
class _Seen:
    """What one reading of captured rows came to: of the time from `since` to `until`."""

    since: float
    until: float
    compared: Comparison
    failures: int
    shed: int


@dataclass(frozen=True)
class Shadows:
    """The use cases. `changed` wakes the reconcile loop after a commit; `captured` has what gateways recorded.

    `kept` has what was compared lately: reading and pairing many rows takes seconds.
    """

    store: Store
    clock: Clock
    changed: Callable[[], None]
    captured: CapturedPairs
    kept: Kept[_Seen] = field(default_factory=Kept)

    def only_if(self, endpoint: str, match: str | None) -> Shadows:
        """The same use cases, while the endpoint has one of these tags (`If-Match`; None: whichever)."""
        if match is None:
            return self
        fenced = self.store.fenced(lambda tx: check_tag(get_endpoint(tx, endpoint), endpoint, match))
        return replace(self, store=fenced)

    def get(self, endpoint: str) -> ShadowView:
        """The shadow and what it came to so far. Raises `UnknownEndpoint`, `NoShadow`."""
        with self.store.reading() as tx:
            found = self._found(tx, endpoint_or_raise(tx, endpoint))
        return self._view(endpoint, found)

    def set(self, endpoint: str, request: ShadowRequest, who: Principal) -> ShadowView:
        """Have a version (a number or a label) listen to `share` percent; 0 ends what there is.

        Another share leaves what was compared so far, another version begins anew. Asking again for one that is
        quarantined starts its replicas again. Raises `UnknownEndpoint`, `UnknownVersion`, `InvalidArgument`, `Conflict`
        for a version that has traffic, and `SignatureDiffers`.
        """
        if request.share == 0:
            return self.end(endpoint, who)
        with self.store.transaction() as tx:
            found = self._found(tx, self.begin(tx, endpoint, request, who))
        self.changed()
        return self._view(endpoint, found)

    def begin(self, tx: Session, endpoint: str, request: ShadowRequest, who: Principal) -> EndpointRow:
        """As `set` of a share above 0, in the caller's transaction; who commits it calls `changed`."""
        check_share(request.share)
        with endpoint_audited(tx, endpoint, "shadow", who, self.clock):
            row = live_or_raise(tx, endpoint)
            version = version_or_raise(tx, row.model, request.version).version
            _check_without_traffic(row, version)
            _check_signature(tx, row, version)
            before = shadow_of(row)
            goes_on = before is not None and before.version == version
            since = before.since if before is not None and goes_on else self.clock()
            put_shadow(row, ShadowSpec(version, request.share, since, who.name))
            note = f"version {version} gets a copy of {request.share:g} %"
            if before is not None and not goes_on:
                note += f", and version {before.version} no more"
            self._tell(tx, row, note, who, version)
        return row

    def end(self, endpoint: str, who: Principal) -> ShadowView:
        """Copy nothing more; what was recorded stays. Returns what it came to. Raises `UnknownEndpoint`, `NoShadow`."""
        with self.store.transaction() as tx:
            found = self._found(tx, endpoint_or_raise(tx, endpoint))
            self.finish(tx, endpoint, who)
        self.changed()
        summary = ShadowSummary(found.summary.version, found.summary.share, found.summary.since, "ended", "")
        return self._view(endpoint, _Found(summary, found.signature))

    def finish(self, tx: Session, endpoint: str, who: Principal) -> None:
        """As `end`, in the caller's transaction. Raises `UnknownEndpoint`, `NoShadow`."""
        with endpoint_audited(tx, endpoint, "shadow", who, self.clock):
            row = endpoint_or_raise(tx, endpoint)
            found = self._found(tx, row)
            put_shadow(row, None)
            self._tell(tx, row, f"version {found.summary.version} gets copies no more", who)

    def _tell(self, tx: Session, row: EndpointRow, note: str, who: Principal, *again: str) -> None:
        """Have the loop look, and the history tell; traffic stays, so a rollback never goes back to this."""
        raise_generation(row, again)
        tx.flush()
        entry = Entry("shadow", self.clock(), who.name, note=note)
        history.add(tx, row, entry, automated=True, traffic=effective_of(row).traffic)

    def _found(self, tx: Session, row: EndpointRow) -> _Found:
        variants = {one.version: one for one in rows.variants_by_endpoint(tx, [row.name]).get(row.name, ())}
        summary = shadow_summary(row, variants)
        if summary is None:
            raise NoShadow(
                f"no version shadows endpoint {row.name!r}: 'tidegate shadow {row.name} VERSION --share 20' has one",
                endpoint=row.name,
            )
        known = load_versions(tx, {(row.model, summary.version)})
        return _Found(summary, next((one.signature for one in known.values()), None))

    def _view(self, endpoint: str, found: _Found) -> ShadowView:
        summary, reason = found.summary, found.summary.reason
        try:
            seen = self.kept.get((endpoint, summary.version, summary.since), lambda: self._seen(endpoint, found))
        except CaptureUnreadable as error:
            seen = _Seen(summary.since, self.clock(), Comparison(), 0, 0)
            reason = "; ".join(filter(None, (reason, f"nothing can be compared: {error.message}")))
        compared = seen.compared
        return ShadowView(
            endpoint=endpoint,
            version=summary.version,
            share=summary.share,
            since=summary.since,
            status=summary.status,
            reason=reason,
            pairs=compared.pairs,
            agreement=compared.agreement,
            difference=compared.difference,
            latency_p50_ms=compared.shadow.p50_ms,
            latency_p95_ms=compared.shadow.p95_ms,
            live_p50_ms=compared.live.p50_ms,
            live_p95_ms=compared.live.p95_ms,
            failures=seen.failures,
            shed=seen.shed,
            compared_since=seen.since,
            compared_until=seen.until,
            paired=compared.paired,
        )

    def _seen(self, endpoint: str, found: _Found) -> _Seen:
        """Raises `CaptureUnreadable`."""
        summary, signature, now = found.summary, found.signature, self.clock()
        outputs = [] if signature is None else [spec.name for spec in signature.outputs]
        captured = self.captured.for_look(endpoint, summary.since, outputs)
        since = self._compared_since(captured, endpoint, summary)
        window_s = (since, now + 1.0)
        compared = Comparison()
        if signature is not None:
            pairs = captured.shadow_pairs(endpoint, summary.version, *window_s, outputs)
            compared = _compared(pairs, signature)
        counted = captured.shadow_failures(endpoint, summary.version, *window_s)
        shed = sum(count for why, count in counted.items() if why.startswith(SHED))
        return _Seen(since, now, compared, sum(counted.values()) - shed, shed)

    def _compared_since(self, captured: CapturedPairs, endpoint: str, summary: ShadowSummary) -> float:
        """From when on: all of its time, or where that is more than `ROWS_MAX` rows the latest part of it.

        Looks twice as far back each time, so no more is read than a few times what is compared.
        """
        now, back_s = self.clock(), FIRST_LOOK_S
        rows_found, until = 0, now + 1.0
        while True:
            since = max(summary.since, now - back_s)
            rows_found += captured.shadow_rows(endpoint, summary.version, since, until)
            if since <= summary.since or rows_found >= ROWS_MAX:
                return since
            until, back_s = since, back_s * 2


def _compared(pairs: ShadowPairs, signature: Signature) -> Comparison:
    main = main_output(signature)
    kinds = {spec.name: spec.datatype for spec in signature.outputs}
    decides = signature.classes is not None or not kinds.get(main, "").startswith(("FP", "BF"))
    return compare(pairs, main, decides=decides)


def _check_without_traffic(row: EndpointRow, version: str) -> None:
    """Raises `Conflict`: what answers already, or shall, is compared by an experiment."""
    if is_live(version, row.routed, row.traffic, effective_of(row).traffic):
        raise Conflict(
            f"version {version} has traffic of endpoint {row.name!r}, or is about to: a shadow is a version without. "
            "Versions that answer are compared by an experiment",
            endpoint=row.name,
            version=version,
        )


def _check_signature(tx: Session, row: EndpointRow, version: str) -> None:
    """Raises `SignatureDiffers` where a live version's rows are none of the shadow's, or answers cannot be compared."""
    live = [name for name, weight in effective_of(row).traffic.items() if weight > 0]
    facts = load_versions(tx, {(row.model, name) for name in (*live, version)})
    signatures = {name: one.signature for (_, name), one in facts.items()}
    for name in live:
        if name in signatures and version in signatures:
            found = compare_signatures(signatures[name], fed_by(signatures[version], signatures[name]))
            changes = [*found.breaking, *found.compatible]
            if changes:
                raise SignatureDiffers(
                    f"version {version} cannot shadow version {name} of endpoint {row.name!r}, for their signatures "
                    f"differ: {listed(changes)}. Deploy it under another endpoint name, and send it what it takes",
                    endpoint=row.name,
                    version=version,
                    live=name,
                    changes=changes,
                )
