"""What monitors found as Parquet: written by the loop's step, read with SQL and by a reader that is not ours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.dataset as ds
import pytest

from support.control import ME, add_version, container_at
from tidegate.adapters.capture.results import ResultParquet
from tidegate.capture.files import LocalFiles
from tidegate.capture.location import Location
from tidegate.capture.results import RESULTS
from tidegate.capture.retention import Keep, expire
from tidegate.capture.sql import answer
from tidegate.capture.store import CaptureStore
from tidegate.services.monitoring.kept_results import ResultsKept
from tidegate.services.monitoring.monitoring import RESULTS_KEPT_S
from tidegate.store import monitoring as rows
from tidegate.wire import rest
from tidegate.wire.capture.capture import CaptureSelection
from tidegate.wire.monitoring.monitoring import Histograms, MonitorResult
from tidegate.wiring import Container

HOUR_S = 3600.0
BEGIN_S = 1_800_000_000.0


def drift(at: float, feature: str = "age", **more: Any) -> MonitorResult:
    fields: dict[str, Any] = {"drift_detected": False, "ks_statistic": 0.02, "n": 900, "state": "ok"} | more
    return MonitorResult(
        monitor="feature_drift",
        endpoint="churn",
        version="1",
        feature=feature,
        since=at - 300,
        until=at,
        verdict="did not move",
        evaluated_at=at,
        histograms=Histograms(["low", "high"], [5, 6], [7, 8]),
        **fields,
    )


class Bench:
    """A platform's store, the folder of what was captured, and a clock that stands."""

    def __init__(self, container: Container, folder: Path) -> None:
        self.container, self.folder, self.now = container, folder, BEGIN_S + 600
        with container.store.reading() as tx:
            (found,) = [one for one, _ in rows.monitored(tx)]
        self.uid = found.uid
        self.step = self.restarted()

    def restarted(self) -> ResultsKept:
        return ResultsKept(self.container.store, ResultParquet(Location(self.folder)), lambda: self.now, lambda: 0.0)

    def found(self, *results: MonitorResult) -> None:
        with self.container.store.transaction() as tx:
            rows.monitor_to_write(tx, next(one for one, _ in rows.monitored(tx)))
            rows.add_results(tx, self.uid, results)

    def ask(self, sql: str, endpoint: str = "churn") -> list[dict[str, Any]]:
        store = CaptureStore(self.folder, self.folder.parent / "journal", lambda: self.now)
        selection = CaptureSelection(endpoint, sql, BEGIN_S - 90 * 86_400, self.now + 1)
        made: list[dict[str, Any]] = answer(store, selection)[0].to_pylist()
        return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    container = container_at(tmp_path / "data")
    add_version(container, "churn", "1")
    container.endpoints.deploy("churn", rest.DeployRequest("churn", "1"), ME)
    yield Bench(container, tmp_path / "data" / "capture")
    container.close()


def test_what_monitors_found_is_a_table_of_sql_and_plain_parquet(bench: Bench) -> None:
    bench.found(drift(BEGIN_S + 300), drift(BEGIN_S + 300, "income", drift_detected=True, state="alert"))
    bench.step.step()
    (moved,) = bench.ask("SELECT * FROM monitor_results WHERE drift_detected")
    assert (moved["feature"], moved["state"], moved["ks_statistic"], moved["n"]) == ("income", "alert", 0.02, 900)
    assert (moved["endpoint"], moved["at"].timestamp(), moved["since"].timestamp()) == ("churn", BEGIN_S + 300, BEGIN_S)
    assert (moved["histogram_names"], moved["histogram_current"]) == (["low", "high"], [7, 8])
    whole = ds.dataset(bench.folder / "monitor_results", partitioning="hive").to_table()
    assert whole["endpoint"].to_pylist() == ["churn", "churn"]
    assert bench.ask("SELECT count(*) AS n FROM predictions, monitor_results") == [{"n": 0}]


def test_each_result_is_there_once_however_often_its_hour_is_written_and_after_a_restart(bench: Bench) -> None:
    for minutes in (5, 10, 65):
        bench.found(drift(BEGIN_S + minutes * 60))
        bench.now = BEGIN_S + minutes * 60
        bench.step.step()
    bench.found(drift(BEGIN_S + 66 * 60), drift(BEGIN_S + 130 * 60))  # and the process ends before it writes them
    bench.now = BEGIN_S + 131 * 60
    bench.restarted().step()
    at = [(row["at"].timestamp() - BEGIN_S) / 60 for row in bench.ask('SELECT "at" FROM monitor_results ORDER BY 1')]
    assert at == [5, 10, 65, 66, 130]
    assert len(list((bench.folder / "monitor_results").rglob("*.parquet"))) == 3


def test_nothing_new_writes_nothing(bench: Bench) -> None:
    bench.found(drift(BEGIN_S + 300))
    bench.step.step()
    (file,) = (bench.folder / "monitor_results").rglob("*.parquet")
    file.unlink()
    bench.step.step()
    assert not list(bench.folder.rglob("*.parquet"))


def test_results_have_a_time_of_their_own_that_rows_do_not_shorten(bench: Bench) -> None:
    bench.found(drift(BEGIN_S + 300))
    bench.step.step()
    expire(LocalFiles(bench.folder), bench.folder.parent / "journal", BEGIN_S + 60 * 86_400, Keep(60.0, 0), {})
    assert len(bench.ask("SELECT 1 FROM monitor_results")) == 1
    bench.now = BEGIN_S + RESULTS_KEPT_S + 2 * HOUR_S
    bench.step.step()
    assert not list(bench.folder.rglob("*.parquet"))


def test_every_field_of_a_result_has_its_column() -> None:
    times = {"evaluated_at": "at", "histograms": "histogram_names", "endpoint": "at"}
    fields = [one.name for one in msgspec.structs.fields(MonitorResult)]
    assert [name for name in fields if times.get(name, name) not in RESULTS.names] == []
    assert str(RESULTS.field("n").type) == "int64"
    assert str(RESULTS.field("p_value").type) == "double"
    assert str(RESULTS.field("drift_detected").type) == "bool"
    assert math.isclose(BEGIN_S % HOUR_S, 0)
