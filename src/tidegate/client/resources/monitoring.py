"""`client.monitoring`: how endpoints are monitored, what monitors found, and baselines of versions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

from tidegate.client.registration.files import OnProgress, payload_of
from tidegate.client.registration.request import TABLE_SUFFIXES, saved_frame
from tidegate.client.resources.jobs import JobsClient
from tidegate.client.resources.models import ModelsClient
from tidegate.client.rest.api import Api, decode
from tidegate.client.rest.paths import API, part
from tidegate.core.names import parse_ref
from tidegate.errors import InvalidArgument
from tidegate.wire.monitoring.monitoring import (
    BaselineRequest,
    BaselineView,
    MonitorRequest,
    MonitorResult,
    MonitorResultPage,
    MonitorRun,
    MonitorView,
)
from tidegate.wire.rest import Job

PAGE = 1000
REPORT_S = 7 * 86_400.0
RUN_TIMEOUT_S = 600.0
"""Longest wait for an evaluation that was asked for."""


class MonitorOptions(TypedDict, total=False):
    """How an endpoint is monitored; see `MonitorRequest`."""

    every_s: float | None
    window_s: float | None
    label_delay_s: float | None
    block_s: float | None
    by: str | None
    timezone: str | None
    on: bool | None
    selective_labels: bool | None


class BaselineOptions(TypedDict, total=False):
    """What the columns of a baseline's rows are, beside the model's own; see `set_baseline`."""

    target: str | None
    by: str | None
    time_column: str | None
    timezone: str
    on_progress: OnProgress | None


@dataclass(frozen=True)
class MonitoringClient:
    """`client.monitoring`."""

    api: Api
    models: ModelsClient
    jobs: JobsClient

    def get(self, endpoint: str) -> MonitorView:
        """How an endpoint is monitored. Raises `UnknownEndpoint`."""
        return self.api.get(f"{_endpoint(endpoint)}/monitor", MonitorView)

    def set(self, endpoint: str, **options: Unpack[MonitorOptions]) -> MonitorView:
        """Set what is given: `client.monitoring.set("churn", every_s=60, label_delay_s=86_400)`."""
        return self.api.send("PUT", f"{_endpoint(endpoint)}/monitor", MonitorRequest(**options), MonitorView)

    def run(self, endpoint: str) -> list[MonitorResult]:
        """Evaluate an endpoint now; results are kept, and alerts raised.

            [one.feature for one in client.monitoring.run("churn") if one.drift_detected]

        Raises `UnknownEndpoint`, `Conflict` where it is not monitored.
        """
        answer = self.api.raw("POST", f"{_endpoint(endpoint)}/monitor/run", b"", None, RUN_TIMEOUT_S)
        return decode(answer.data, MonitorRun, self.api.transport.who).results

    def results(
        self,
        endpoint: str,
        *,
        since: float | None = None,
        monitor: str | None = None,
        feature: str | None = None,
        limit: int = 10_000,
    ) -> list[MonitorResult]:
        """What was found, newest first, since a moment (epoch); at most `limit`."""
        found: list[MonitorResult] = []
        cursor: str | None = None
        while len(found) < limit:
            page = self.page(
                endpoint, min(PAGE, limit - len(found)), cursor, since=since, monitor=monitor, feature=feature
            )
            found += page.results
            cursor = page.next
            if cursor is None:
                break
        return found

    def page(
        self, endpoint: str, limit: int | None = None, cursor: str | None = None, **wanted: Any
    ) -> MonitorResultPage:
        """One page of `results`; `cursor` is `next` of the page before."""
        path = f"{_endpoint(endpoint)}/monitor-results"
        return self.api.get(path, MonitorResultPage, {"limit": limit, "cursor": cursor, **wanted})

    def report(self, endpoint: str, since_s: float = REPORT_S) -> str:
        """The last `since_s` seconds as one page of HTML, at most 2 MB, which opens without a network.

        Path("churn.html").write_text(client.monitoring.report("churn"))
        """
        return self.api.text(f"{_endpoint(endpoint)}/monitor/report", {"since_s": since_s})

    def baseline(self, model: str) -> BaselineView:
        """The baseline of `churn` (its newest version), `churn:3` or `churn@champion`. Raises `UnknownBaseline`."""
        return self.api.get(_baseline(model), BaselineView)

    @overload
    def set_baseline(
        self, model: str, data: Any, *, wait: Literal[True] = True, **options: Unpack[BaselineOptions]
    ) -> BaselineView: ...

    @overload
    def set_baseline(
        self, model: str, data: Any, *, wait: Literal[False], **options: Unpack[BaselineOptions]
    ) -> Job: ...

    def set_baseline(
        self, model: str, data: Any, *, wait: bool = True, **options: Unpack[BaselineOptions]
    ) -> BaselineView | Job:
        """Compare a version's data with these rows from now on: a CSV or Parquet file, or a data frame.

        `target`: the column with the truth, without which performance has nothing to compare with. `by`: the column
        whose values are the segments. `time_column`: when each row was, so that the baseline knows the rhythm of hours
        and weekdays (of `timezone`) and how much days differ; the model is asked without it.
        """
        with tempfile.TemporaryDirectory(prefix="tidegate-baseline-") as scratch:
            payload = payload_of(_table(data, Path(scratch)))
            upload = self.models.upload_payload(payload, on_progress := options.get("on_progress"))
        request = BaselineRequest(
            upload.id,
            payload.name,
            options.get("target"),
            options.get("by"),
            time_column=options.get("time_column"),
            timezone=options.get("timezone", "UTC"),
        )
        job = self.api.send("PUT", _baseline(model), request, Job)
        if not wait:
            return job
        self.jobs.wait(job.id, on_progress=on_progress)
        return self.baseline(model)


def _table(data: Any, scratch: Path) -> Path:
    if not isinstance(data, str | PathLike):
        return saved_frame(data, scratch)
    path = Path(data)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InvalidArgument(f"baseline data {path} is neither .csv nor .parquet", field="data")
    return path


def _endpoint(name: str) -> str:
    return f"{API}/endpoints/{part(name)}"


def _baseline(model: str) -> str:
    ref = parse_ref(model)
    version = f"@{ref.alias}" if ref.alias else ref.version or "latest"
    return f"{API}/models/{ref.name}/versions/{part(version)}/baseline"
