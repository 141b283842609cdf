"""The platform at a glance."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import tidegate
from tidegate.clock import now
from tidegate.errors import StoreUnavailable
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.overview.rollouts import of_note
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import endpoints as endpoint_rows
from tidegate.store.fleet.fleet import snapshot_revision
from tidegate.store.jobs import jobs as job_rows
from tidegate.store.models import models as model_rows
from tidegate.wire import parts, rest
from tidegate.wire.capture.capture import CaptureView
from tidegate.wire.endpoints.registering import RegistryView

ENDPOINTS_SHOWN_MAX = 100
"""A platform with more shows those alone that are not ready."""


@dataclass(frozen=True)
class StatusReport:
    """Gathers `rest.Status`; `gateways` asks the supervisor, which alone knows the processes."""

    store: Store
    endpoints: Endpoints
    data_dir: str
    started_at: float
    gateways: Callable[[], list[rest.GatewayView]]
    leader: Callable[[], parts.LeaderView | None] = lambda: None
    engine: Callable[[], parts.EngineView | None] = lambda: None
    queue: Callable[[], parts.QueueView | None] = lambda: None
    registry: Callable[[], RegistryView | None] = lambda: None
    redis: Callable[[], parts.RedisView | None] = lambda: None
    confinement: Callable[[], str | None] = lambda: None
    capture: Callable[[], CaptureView | None] = lambda: None

    def get(self) -> rest.Status:
        """A database that is away is part of the status, not an error: gateways and replicas serve on without it."""
        blank = rest.Status(
            version=tidegate.__version__,
            data_dir=self.data_dir,
            started_at=self.started_at,
            gateway_url=self.endpoints.gateway_url,
            gateways=self.gateways(),
            endpoints=[],
            models=None,
            jobs={},
            revision=None,
            pid=os.getpid(),
            leader=self.leader(),
            engine=self.engine(),
            queue=self.queue(),
            registry=self.registry(),
            redis=self.redis(),
            confinement=self.confinement(),
            capture=self.capture(),
        )
        where = self.store.where
        try:
            return replace(self._with_rows(blank), database=parts.DatabaseView(where, "ready"))
        except StoreUnavailable as error:
            return replace(blank, database=parts.DatabaseView(where, "unavailable", error.message))

    def _with_rows(self, status: rest.Status) -> rest.Status:
        with self.store.reading() as tx:
            models, jobs = model_rows.count_models(tx), job_rows.count_by_state(tx)
            revision, counts = snapshot_revision(tx), endpoint_rows.count_by_status(tx)
            rollouts = of_note(tx, now())
        look, rows_max = self.endpoints.shown, ENDPOINTS_SHOWN_MAX
        shown = look.page(rows_max)[0] if sum(counts.values()) <= rows_max else look.exceptions(rows_max)
        counted = replace(status, models=models, jobs=jobs, revision=revision, rollouts=rollouts)
        return replace(counted, endpoints=shown, endpoints_by_status=counts)
