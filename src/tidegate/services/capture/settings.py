"""What is recorded of an endpoint's predictions, and for how long: asked and set here, applied by gateways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.captured import CaptureForgetting
from tidegate.errors import InvalidArgument, UnknownEndpoint
from tidegate.services.audit import endpoint_audited
from tidegate.services.reading.columns import check_columns
from tidegate.store import audit as audit_rows
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.automation import raise_generation
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.fleet.fleet import capture_rules_of
from tidegate.store.tables import EndpointRow
from tidegate.wire.capture.capture import (
    COLUMNS_MAX,
    CaptureForgetAnswer,
    CaptureSettings,
    CaptureSettingsRequest,
    ForgetRequest,
)
from tidegate.wire.gateways.snapshot import CaptureRules
from tidegate.wire.journal.records import hashed_text, recorded_unit

RETAIN_S_MIN, RETAIN_S_MAX = 3600.0, 315_360_000.0
RETAIN_BYTES_MIN = 1 << 20


@dataclass(frozen=True)
class CaptureRulesOf:
    """The use cases of the API. `changed` wakes the reconcile loop, which tells the gateways."""

    store: Store
    clock: Clock
    changed: Callable[[], None]
    forgetting: CaptureForgetting

    def get(self, endpoint: str) -> CaptureSettings:
        """Raises `UnknownEndpoint`."""
        with self.store.reading() as tx:
            row = get_endpoint(tx, endpoint)
            if row is None:
                raise UnknownEndpoint(f"there is no endpoint {endpoint!r}")
            return _shown(capture_rules_of(row))

    def set(self, endpoint: str, request: CaptureSettingsRequest, who: Principal) -> CaptureSettings:
        """What is not given stays. Rows that are recorded already stay as they are, but for how long they are kept.

        Raises `UnknownEndpoint`, `InvalidArgument`.
        """
        _check(request)
        with self.store.transaction() as tx:
            row = get_endpoint(tx, endpoint)
            if row is None:
                raise UnknownEndpoint(f"there is no endpoint {endpoint!r}")
            before = capture_rules_of(row)
            after = _after(before, request)
            both = sorted(set(after.drop) & set(after.hash))
            if both:
                raise InvalidArgument(f"{both[0]!r} is dropped, so it cannot be hashed too: name it once", field="hash")
            _check_known(tx, row, before, after)
            if after != before:
                with endpoint_audited(tx, endpoint, "capture_settings", who, self.clock):
                    row.capture = msgspec.to_builtins(after)
                    raise_generation(row, ())
        self.changed()
        return _shown(after)

    def forget(self, endpoint: str, key: str, who: Principal) -> CaptureForgetAnswer:
        """Have the compactor forget a unit. Who asked is in the audit, the key is not.

        Of a deleted endpoint only rows whose keys were recorded as they are can be found: its salt went with it.
        Raises `UnknownEndpoint`, `InvalidArgument`, `CaptureUnreadable`.
        """
        if not key:
            raise InvalidArgument("key must name a unit", field="key")
        recorded = recorded_unit(key) or key
        with self.store.transaction() as tx:
            row = get_endpoint(tx, endpoint)
            if row is None and not self.forgetting.has_rows_of(endpoint):
                raise UnknownEndpoint(f"there is no endpoint {endpoint!r}, and nothing was captured of one")
            keys = [recorded] if row is None else [recorded, hashed_text(recorded, row.salt)]
            audit_rows.record(tx, who, self.clock(), audit_rows.AuditedChange("forget_unit", "endpoint", endpoint))
            self.forgetting.ask(ForgetRequest(endpoint, keys, self.clock()))
        return CaptureForgetAnswer(endpoint)


def _after(before: CaptureRules, request: CaptureSettingsRequest) -> CaptureRules:
    given = {
        "sample": request.sample,
        "drop": None if request.drop is None else tuple(dict.fromkeys(request.drop)),
        "hash": None if request.hash is None else tuple(dict.fromkeys(request.hash)),
        "hash_keys": request.hash_keys,
        "retain_s": request.retain_s,
        "retain_bytes": request.retain_bytes,
    }
    return msgspec.structs.replace(before, **{name: value for name, value in given.items() if value is not None})


def _check_known(tx: Session, row: EndpointRow, before: CaptureRules, after: CaptureRules) -> None:
    """A misspelt column would be recorded as it is, and nobody would know. Names that were taken before are taken."""
    for field in ("drop", "hash"):
        check_columns(tx, row.model, getattr(after, field), field, taken=getattr(before, field))


def _check(request: CaptureSettingsRequest) -> None:
    if request.sample is not None and not 0.0 <= request.sample <= 1.0:
        raise InvalidArgument("sample must be a share of the requests, from 0 (none) to 1 (all)", field="sample")
    for name, columns in (("drop", request.drop), ("hash", request.hash)):
        if columns is not None and len(columns) > COLUMNS_MAX:
            raise InvalidArgument(f"{name} has {len(columns)} columns, and may have {COLUMNS_MAX}", field=name)
    if request.retain_s and not RETAIN_S_MIN <= request.retain_s <= RETAIN_S_MAX:
        raise InvalidArgument("retain_s must be from 3600 (1h) to 315360000 (ten years), or 0", field="retain_s")
    if request.retain_bytes and request.retain_bytes < RETAIN_BYTES_MIN:
        raise InvalidArgument(f"retain_bytes must be at least {RETAIN_BYTES_MIN}, or 0", field="retain_bytes")


def _shown(rules: CaptureRules) -> CaptureSettings:
    return CaptureSettings(
        sample=rules.sample,
        drop=list(rules.drop),
        hash=list(rules.hash),
        hash_keys=rules.hash_keys,
        retain_s=rules.retain_s,
        retain_bytes=rules.retain_bytes,
    )
