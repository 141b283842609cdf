"""What automations came to, for the metrics: how many ended how, and what the guardrails of those that run say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tidegate.store.tables import EndpointRow, GuardrailFigureRow, RolloutRow
from tidegate.wire.experiments.experiments import GuardrailView

RolloutKind = Literal["experiment", "canary", "guard"]
RolloutOutcome = Literal["promoted", "rolled_back", "inconclusive", "stopped"]
NAME_CHARS_MAX = 160


def count(tx: Session, endpoint: EndpointRow, kind: RolloutKind, outcome: RolloutOutcome) -> None:
    """One more automation ended so; written in the transaction that ends it."""
    row = tx.get(RolloutRow, (endpoint.uid, kind, outcome))
    if row is None:
        row = RolloutRow(endpoint_uid=endpoint.uid, kind=kind, outcome=outcome, endpoint=endpoint.name, number=0)
        tx.add(row)
    row.number += 1
    tx.flush()


def counts(tx: Session) -> dict[tuple[str, str, str], int]:
    """How many, by endpoint, kind and outcome."""
    return {(row.endpoint, row.kind, row.outcome): row.number for row in tx.scalars(select(RolloutRow))}


def write_guardrails(tx: Session, endpoint: EndpointRow, found: Iterable[GuardrailView]) -> None:
    """Put what the newest look found in the place of what the one before did; nothing: forget that."""
    tx.execute(delete(GuardrailFigureRow).where(GuardrailFigureRow.endpoint_uid == endpoint.uid))
    by_name = {(one.variant, one.name[:NAME_CHARS_MAX]): one for one in found}
    for (variant, name), one in by_name.items():
        tx.add(
            GuardrailFigureRow(
                endpoint_uid=endpoint.uid,
                variant=variant,
                guardrail=name,
                endpoint=endpoint.name,
                value=one.value,
                bound=one.bound,
                margin=one.margin,
            )
        )
    tx.flush()


def guardrails(tx: Session) -> list[GuardrailFigureRow]:
    """Of all endpoints, by endpoint, variant and name."""
    order = (GuardrailFigureRow.endpoint, GuardrailFigureRow.variant, GuardrailFigureRow.guardrail)
    return list(tx.scalars(select(GuardrailFigureRow).order_by(*order)))


def forget_gone(tx: Session) -> None:
    """Forget whatever is of endpoints that are gone."""
    there = select(EndpointRow.uid)
    for table in (RolloutRow, GuardrailFigureRow):
        tx.execute(delete(table).where(table.endpoint_uid.not_in(there)))
