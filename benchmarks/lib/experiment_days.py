"""Captured rows of an experiment of many days, for what a look at it costs: a file an hour and table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidegate.adapters.capture.rows import StoredRows
from tidegate.capture.rows import FEEDBACK, PREDICTIONS
from tidegate.sequential.analysis import analyse
from tidegate.services.experiments.units import ExperimentUnits
from tidegate.wire.experiments.experiments import ArmSpec, ExperimentSpec, Guardrail, Metric

ENDPOINT, NAME = "churn", "blue"
START_S = 1_800_000_000.0 // 3600 * 3600
HOUR_S, DAY_S = 3600.0, 86_400.0
_MICROS = 1_000_000


def spec() -> ExperimentSpec:
    """Two metrics of feedback by key, and latency as guardrail."""
    return ExperimentSpec(
        (ArmSpec("control", "1", 50.0), ArmSpec("treatment", "2", 50.0)),
        (
            Metric("converted", "increase", "proportion", window_s=7 * DAY_S),
            Metric("revenue", "increase", window_s=7 * DAY_S, agg="sum"),
        ),
        (Guardrail(Metric("latency", "decrease", "quantile", source="latency"), "margin", 0.1),),
    )


def write(root: Path, units: int, days: int, calls: int = 2) -> None:
    """Rows of so many units, each with its calls at any time of the days, and of a tenth of them what they spent."""
    rng = np.random.default_rng(1)
    unit = np.repeat(np.arange(units), calls)
    at_us = (START_S * _MICROS + rng.random(unit.size) * days * DAY_S * _MICROS).astype(np.int64)
    duration_ms = rng.lognormal(3, 0.5, unit.size)
    arm = rng.integers(0, 2, units)
    for hour, rows in _by_hour(at_us):
        here = unit[rows]
        columns = {
            "id": [f"{one:032x}" for one in rows.tolist()],
            "row": np.zeros(rows.size, np.int64),
            "at": at_us[rows],
            "assigned": np.array(["control", "treatment"])[arm[here]],
            "variant": np.array(["control", "treatment"])[arm[here]],
            "version": np.array(["1", "2"])[arm[here]],
            "experiment": [NAME] * rows.size,
            "phase": np.ones(rows.size, np.int32),
            "pinned": np.zeros(rows.size, np.bool_),
            "key": [f"user-{one}" for one in here.tolist()],
            "duration_ms": duration_ms[rows],
            "code": np.full(rows.size, 200, np.int16),
            "sample_rate": np.ones(rows.size),
        }
        _write(root, "predictions", hour, PREDICTIONS, columns)
    buyer = np.flatnonzero(rng.random(units) < 0.1)
    first_us = np.full(units, np.iinfo(np.int64).max)
    np.minimum.at(first_us, unit, at_us)
    bought_us = first_us[buyer] + (rng.random(buyer.size) * 6 * DAY_S * _MICROS).astype(np.int64)
    spent = rng.lognormal(3, 1, buyer.size)
    for hour, rows in _by_hour(bought_us):
        told = [[("converted", 1.0), ("revenue", float(one))] for one in spent[rows]]
        columns = {
            "key": [f"user-{one}" for one in buyer[rows].tolist()],
            "event": [f"event-{one}" for one in rows.tolist()],
            "at": bought_us[rows],
            "received_at": bought_us[rows],
            "metrics": told,
        }
        _write(root, "feedback", hour, FEEDBACK, columns)


def looks(data_dir: Path, days: int) -> tuple[float, float, float]:
    """Seconds of processor that the first look takes, a later one, and of that the analysis."""
    (data_dir / "journal").mkdir(exist_ok=True)
    units, told = ExperimentUnits(StoredRows(data_dir)), spec()
    spent: list[float] = []
    for later_s in (0.0, 60.0):
        begun = process_time()
        found = units.gather(told, (ENDPOINT, NAME), START_S, [], START_S + days * DAY_S + later_s)
        gathered = process_time()
        analyse(told, found.units, found.exposed)
        spent += [process_time() - begun, process_time() - gathered]
    return spent[0], spent[2], spent[3]


def _by_hour(at_us: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    hours = at_us // round(HOUR_S * _MICROS)
    order = np.argsort(hours, kind="stable")
    starts = np.flatnonzero(np.diff(hours[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        yield datetime.fromtimestamp(hours[rows[0]] * HOUR_S, UTC).strftime("%Y-%m-%dT%H"), rows


def _write(root: Path, table: str, hour: str, schema: pa.Schema, columns: dict[str, object]) -> None:
    size = len(next(iter(columns.values())))  # type: ignore[arg-type]
    arrays = [
        pa.array(columns[one.name], one.type) if one.name in columns else pa.nulls(size, one.type) for one in schema
    ]
    folder = root / table / f"endpoint={ENDPOINT}" / f"hour={hour}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), folder / "made-0.parquet", compression="zstd")
