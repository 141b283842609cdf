"""Endpoints as clients see them: one in its transaction, or many with one query a table. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from tidegate.core.engines.placement import Placement
from tidegate.services.reading import views
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import endpoints as rows
from tidegate.store.tables import EndpointRow
from tidegate.wire import rest

PAGE_ROWS = 1000


@dataclass(frozen=True)
class ShownEndpoints:
    """`placement` is where replicas run that nobody placed; `answered` tells how requests to a version ended, `load`
    how busy versions are.
    """

    store: Store
    gateway_url: str
    placement: Placement
    answered: views.AnsweredOf
    load: views.LoadOf

    def page(
        self, rows_max: int, cursor: str | None = None, model: str | None = None
    ) -> tuple[list[rest.Endpoint], str | None]:
        """So many endpoints by name after the cursor, of one model if given, and the cursor of the next page.

        That is None after the last.
        """
        with self.store.reading() as tx:
            found = rows.page(tx, cursor or "", rows_max + 1, model)
            shown = self._views(tx, found[:rows_max])
        return shown, shown[-1].name if len(found) > rows_max else None

    def all(self) -> list[rest.Endpoint]:
        """Every endpoint, page by page."""
        found, cursor = self.page(PAGE_ROWS)
        while cursor is not None:
            more, cursor = self.page(PAGE_ROWS, cursor)
            found += more
        return found

    def exceptions(self, rows_max: int) -> list[rest.Endpoint]:
        """Those that are not as they were asked to be, the worst first."""
        with self.store.reading() as tx:
            return self._views(tx, rows.exceptions(tx, rows_max))

    def one(self, tx: Session, row: EndpointRow) -> rest.Endpoint:
        """One endpoint, read in this transaction."""
        tx.flush()  # what was changed just now is shown
        (view,) = self._views(tx, [row])
        return view

    def _views(self, tx: Session, found: list[EndpointRow]) -> list[rest.Endpoint]:
        parts = views.parts_of(tx, found)
        shown = (views.endpoint_view(row, parts, self.gateway_url, self.placement) for row in found)
        return [views.with_traffic(view, self.answered, self.load) for view in shown]
