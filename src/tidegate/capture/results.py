"""What monitors found, as Parquet beside captured rows: one file for each endpoint and hour. Written by the monitoring
of the control plane, through its adapter; read as the table `monitor_results` of `store.CaptureStore`.

    STORE/monitor_results/endpoint=churn/hour=2026-11-29T01/UID.parquet

A file is written again, whole, while its hour goes on: what it has follows from the results of the hour, so doing it
again changes nothing. `UID` is the endpoint's, for another one may have its name later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import msgspec
import pyarrow as pa

from tidegate.capture.compact import write_parquet
from tidegate.capture.files import Files, is_parquet
from tidegate.wire.monitoring.monitoring import Histograms, MonitorResult

TABLE = "monitor_results"
HOUR_S = 3600.0
_TIME = pa.timestamp("us", tz="UTC")
_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_HISTOGRAMS = {
    "histogram_names": pa.list_(pa.string()),
    "histogram_reference": pa.list_(pa.int64()),
    "histogram_current": pa.list_(pa.int64()),
}
_OWN = ("endpoint", "evaluated_at", "since", "until", "histograms")
_JSON = ("rates", "coverage_by_age")


def _schema() -> pa.Schema:
    """Columns by the fields' annotations: numbers and flags as they are, names and texts as text."""
    kinds = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(MonitorResult).items()}
    plain = {
        name: next((_TYPES[kind] for kind in its if kind in _TYPES), pa.string())
        for name, its in kinds.items()
        if name not in (*_OWN, *_JSON)
    }
    times = dict.fromkeys(("at", "since", "until"), _TIME)
    return pa.schema(times | plain | dict.fromkeys(_JSON, pa.string()) | _HISTOGRAMS)


RESULTS = _schema()
"""`at`: when it was evaluated; `since` and `until`: the rows it is about. The rest are the fields of
`wire.monitoring.monitoring.MonitorResult`; lists of objects are JSON, and a pair of histograms is three lists."""


def write_results(files: Files, endpoint: str, uid: str, hour_s: float, results: Iterable[MonitorResult]) -> None:
    """Put what was found in the hour that begins at `hour_s` in the place of what its file had. Raises `OSError`."""
    table = pa.Table.from_pylist([_row(one) for one in results], RESULTS)
    write_parquet(files, f"{TABLE}/endpoint={endpoint}/{_folder(hour_s)}/{uid}.parquet", table)


def newest_hour(files: Files, endpoint: str, uid: str) -> float | None:
    """When the last hour begins of which an endpoint has a file; None without any. Raises `OSError`."""
    names = (file.name for file in files.below(f"{TABLE}/endpoint={endpoint}"))
    hours = [name.split("/")[-2] for name in names if name.endswith(f"/{uid}.parquet")]
    return max((begun for one in hours if (begun := _begins_s(one)) is not None), default=None)


def delete_before(files: Files, before_s: float) -> int:
    """Delete the hours that ended by then, of all endpoints; how many files that were. Raises `OSError`."""
    names = [file.name for file in files.below(TABLE) if is_parquet(file.name)]
    old = [name for name in names if ((_begins_s(name.split("/")[-2])) or math.inf) + HOUR_S <= before_s]
    if old:
        files.delete(old)
    return len(old)


def _row(one: MonitorResult) -> dict[str, Any]:
    fields = {name: getattr(one, name) for name in RESULTS.names if hasattr(one, name)}
    pair: Histograms | None = one.histograms
    return (
        fields
        | {name: _json(fields[name]) for name in _JSON}
        | {"at": _time(one.evaluated_at), "since": _time(one.since), "until": _time(one.until)}
        | {
            "histogram_names": None if pair is None else pair.names,
            "histogram_reference": None if pair is None else pair.reference,
            "histogram_current": None if pair is None else pair.current,
        }
    )


def _json(value: Sequence[Any]) -> str | None:
    return msgspec.json.encode(value).decode() if value else None


def _time(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _folder(hour_s: float) -> str:
    return f"hour={_time(hour_s):%Y-%m-%dT%H}"


def _begins_s(folder: str) -> float | None:
    try:
        return datetime.strptime(folder.removeprefix("hour="), "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
