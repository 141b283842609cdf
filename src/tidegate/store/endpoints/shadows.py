"""The shadow of an endpoint, as its row has it. Set by services/shadows; ended where its version gets live traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from tidegate.core.endpoints.shadow import ShadowSpec, is_live
from tidegate.store.endpoints.history import Entry
from tidegate.store.tables import EndpointRow
from tidegate.wire.decoding import convert


def shadow_of(row: EndpointRow) -> ShadowSpec | None:
    """The version that listens; None where none does."""
    return convert(row.shadow, ShadowSpec) if row.shadow else None


def put_shadow(row: EndpointRow, shadow: ShadowSpec | None) -> None:
    """Set it, or end it; the caller has the reconcile loop look, and tells the history."""
    row.shadow = {} if shadow is None else asdict(shadow)


def end_where_live(row: EndpointRow, traffic: Mapping[str, float], entry: Entry) -> Entry:
    """A version that gets live traffic listens no more: end its shadow, and have the entry of the change say so."""
    shadow = shadow_of(row)
    if shadow is None or not is_live(shadow.version, traffic):
        return entry
    put_shadow(row, None)
    ended = f"ends the shadow of version {shadow.version}, which gets traffic"
    return replace(entry, note=f"{entry.note}; {ended}" if entry.note else ended)
