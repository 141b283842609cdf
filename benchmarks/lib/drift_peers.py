"""Other systems' drift detectors beside ours on the same rows, each in its own environment. For benchmarks/drift.py.

Days of rows with and without a shift go to the programs in benchmarks/peers/drift by a file; alarms come back as JSON.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.drift_months import TRAFFIC
from lib.drifting import FACTORS, Floats
from tidegate.watch.baseline.baseline import Baseline, BaselineRowsGiven, baseline_of
from tidegate.watch.budget import Budget
from tidegate.watch.drift.drift import DriftContext, evaluate
from tidegate.watch.histograms.histogram import Histogram

PROGRAMS = Path(__file__).resolve().parent.parent / "peers" / "drift"
FEATURES, DAY_ROWS, DAY_H = 4, 600, 24
REFERENCE_DAYS, MONTH_DAYS, LEAD_DAYS, SHIFT_DAYS = 21, 30, 2, 3
HOUR_ROWS = DAY_ROWS // DAY_H
DAYS_ALLOWED = 1.0
"""Days with a false alarm of 30, that a tuned detector may have: what the budget promises of ours."""
KSWIN_MONTHS_MAX, KSWIN_TRIALS_MAX = 2, 4
"""It tests at every value, which takes tens of times as long as the others."""
KINDS = ("steady", "diurnal", "autocorrelated")
TUNING = {kind: f"tuning on {kind}" for kind in KINDS}
"""By kind of traffic, the set of months that detectors are tuned on."""
Alarms = Mapping[str, Sequence[Sequence[int]]]
"""By set, of each stream: after how many of its rows there was an alarm."""


@dataclass(frozen=True)
class Streams:
    """Streams by set (streams, rows, features), and the reference (rows, features) of each kind of traffic."""

    references: Mapping[str, Floats]
    streams: Mapping[str, Floats]
    reference_of: Mapping[str, str]

    def saved(self, folder: str) -> str:
        """The file that other programs read."""
        path = str(Path(folder) / "streams.npz")
        named = {f"reference_{name}": rows for name, rows in self.references.items()}
        np.savez(path, **named, **{f"streams_{name}": rows for name, rows in self.streams.items()})  # type: ignore[arg-type]
        return path


def made(seed: int, months: int, trials: int, shifts: Mapping[str, float]) -> Streams:
    """Months without drift of each kind of traffic, months to tune on, and weeks in which a column shifts."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(FACTORS, FEATURES))
    references, streams = {}, {}
    for kind in KINDS:
        drawn = [_traffic(rng, mixing, kind, REFERENCE_DAYS + MONTH_DAYS) for _ in range(months)]
        references[kind] = drawn[0][: REFERENCE_DAYS * DAY_ROWS]
        streams[kind] = np.stack([each[REFERENCE_DAYS * DAY_ROWS :] for each in drawn])
        streams[TUNING[kind]] = np.stack([_traffic(rng, mixing, kind, MONTH_DAYS) for _ in range(months)])
    for name, shift in shifts.items():
        rows = np.stack([_traffic(rng, mixing, "steady", LEAD_DAYS + SHIFT_DAYS) for _ in range(trials)])
        rows[:, LEAD_DAYS * DAY_ROWS :, 0] += shift
        streams[name] = rows
    kinds = {name: kind for kind in KINDS for name in (kind, TUNING[kind])}
    return Streams(references, streams, {name: kinds.get(name, "steady") for name in streams})


def _traffic(rng: np.random.Generator, mixing: Floats, kind: str, days: int) -> Floats:
    """Correlated standard normal columns, as many rows each hour; hours' means by the kind of traffic."""
    rows = days * DAY_ROWS
    shared = rng.normal(size=(rows, FACTORS)) @ (mixing / np.linalg.norm(mixing, axis=0))
    # A rhythm is the same in reference and streams; what strolls does so anew.
    of_hours = rng if kind == "autocorrelated" else np.random.default_rng(7)
    means = np.stack([TRAFFIC[kind](of_hours, days * DAY_H) for _ in range(FEATURES)], axis=1)
    found: Floats = (shared + rng.normal(size=(rows, FEATURES))) / np.sqrt(2) + np.repeat(means, HOUR_ROWS, axis=0)
    return found


# -- ours, and the dummy -----------------------------------------------------------------------------------------------


def ours(data: Streams) -> dict[str, list[list[int]]]:
    """Blocks as the baseline closes them, at the budget of an endpoint with all of its monitors."""
    baselines = {name: _baseline(rows) for name, rows in data.references.items()}
    return {
        name: [_alarms(baselines[data.reference_of[name]], stream) for stream in streams]
        for name, streams in data.streams.items()
        if name not in TUNING.values()
    }


def _baseline(rows: Floats) -> Baseline:
    times = np.repeat(np.arange(len(rows) // HOUR_ROWS) * 3_600.0, HOUR_ROWS)
    return baseline_of(BaselineRowsGiven({f"f{at}": column for at, column in enumerate(rows.T)}, times_s=times))


def _alarms(baseline: Baseline, stream: Floats) -> list[int]:
    budget, found, begun = baseline.budget(Budget()), [], 0
    for end in range(HOUR_ROWS, len(stream) + 1, HOUR_ROWS):
        age_s = (end - begun) / HOUR_ROWS * 3_600.0
        if not budget.closes(end - begun, age_s):
            continue
        first, last = (REFERENCE_DAYS * DAY_H + row // HOUR_ROWS for row in (begun, end))
        expected = baseline.expected(dict.fromkeys(range(first, last), HOUR_ROWS))
        columns = expected.part.columns
        now = {name: Histogram.of(stream[begun:end, int(name[1:])], each.layout) for name, each in columns.items()}
        look = DriftContext(page_alpha=budget.page_alpha("drift", age_s), clustering=expected.clustering)
        if any(each.drift_detected for each in evaluate(columns, now, look=look).values()):
            found.append(end)
        begun = end
    return found


def always(data: Streams) -> dict[str, list[list[int]]]:
    """An alarm on every day, whatever there is."""
    return {
        name: [list(range(DAY_ROWS, len(stream) + 1, DAY_ROWS)) for stream in streams]
        for name, streams in data.streams.items()
    }


# -- others ------------------------------------------------------------------------------------------------------------


def asked(program: str, python: str, job: Mapping[str, Any]) -> Any:
    """What a program of benchmarks/peers/drift answers in that interpreter."""
    done = subprocess.run(
        [python, str(PROGRAMS / program)], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{program} failed in {python}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Detector:
    """One of River's: a parameter, and values of it from the most sensitive on; the first quiet one is the tuned."""

    kind: str
    parameter: str
    values: tuple[float, ...]
    fixed: Mapping[str, Any]
    is_slow: bool = False


RIVER = (
    Detector("ADWIN", "delta", (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.002, 1e-4, 1e-6), {}),
    Detector("PageHinkley", "threshold", (50, 75, 100, 125, 150, 175, 200, 250, 300, 400, 500), {}),
    Detector("KSWIN", "alpha", (3e-5, 1e-5, 3e-6, 1e-6, 1e-7), {"seed": 15}, is_slow=True),
)


def river(python: str, path: str, sets: Sequence[str]) -> tuple[str, dict[str, Alarms]]:
    """River's version, and alarms of each detector at its default and tuned on months of each kind of traffic."""
    found: dict[str, Alarms] = {}
    version = ""
    for one in RIVER:
        months = (*KINDS, *TUNING.values())
        few = {name: KSWIN_MONTHS_MAX if name in months else KSWIN_TRIALS_MAX for name in (*sets, *months)}
        job: dict[str, Any] = {"data": path, "streams_max": few if one.is_slow else {}}
        chosen: dict[str, tuple[str, Mapping[str, Any]]] = {f"River {one.kind}, default": (one.kind, one.fixed)}
        quiet_on: dict[float, list[str]] = {}
        for kind in KINDS:
            value = _tuned(one, kind, python, job)
            if value is None:
                print(
                    f"{one.kind}: no {one.parameter} of {one.values[0]:g} to {one.values[-1]:g} is so quiet on {kind}"
                )
            else:
                quiet_on.setdefault(value, []).append(kind[:4])
        for value, kinds in quiet_on.items():
            label = f"River {one.kind}, {one.parameter} {value:g} ({', '.join(kinds)})"
            chosen[label] = (one.kind, {**one.fixed, one.parameter: value})
        answer = asked("river_streams.py", python, {**job, "sets": list(sets), "detectors": chosen})
        version, found = answer["version"], {**found, **answer["alarms"]}
    return f"river {version}", found


def _tuned(one: Detector, kind: str, python: str, job: Mapping[str, Any]) -> float | None:
    """The most sensitive value that is quiet enough on that traffic's months to tune on; None: not one of them."""
    for value in one.values:
        tried = (one.kind, {**one.fixed, one.parameter: value})
        asking = {**job, "sets": [TUNING[kind]], "detectors": {"tried": tried}}
        if false_days(asked("river_streams.py", python, asking)["alarms"]["tried"][TUNING[kind]]) <= DAYS_ALLOWED:
            return value
    return None


def blocks(name: str, python: str, job: Mapping[str, Any]) -> tuple[str, dict[str, Alarms]]:
    """The version and alarms of a system that judges blocks."""
    answer = asked({"evidently": "evidently_blocks.py", "nannyml": "nannyml_chunks.py"}[name], python, job)
    return f"{name} {answer['version']}", answer["alarms"]


# -- what came of it ---------------------------------------------------------------------------------------------------


def false_days(streams: Sequence[Sequence[int]]) -> float:
    """Days with an alarm of 30, on average over months without drift."""
    return float(np.mean([len({(row - 1) // DAY_ROWS for row in rows}) for rows in streams]))


def found_within(streams: Sequence[Sequence[int]], days: int) -> float:
    """The share of streams with an alarm so many days after the shift, or earlier."""
    begun = LEAD_DAYS * DAY_ROWS
    return float(np.mean([any(begun < row <= begun + days * DAY_ROWS for row in rows) for rows in streams]))


def table_of(data: Streams, alarms: Mapping[str, Alarms], shifts: Sequence[str]) -> list[list[object]]:
    """A row for each detector: false alarms by traffic, and what it finds within one day and within three."""
    rows: list[list[object]] = []
    for label, found in alarms.items():
        false = [false_days(found[kind]) for kind in data.references]
        shares = [[f"{found_within(found[name], days):.0%}" for days in (1, SHIFT_DAYS)] for name in shifts]
        rows.append([label, *false, *(" / ".join(each) for each in shares)])
    return rows


@dataclass(frozen=True)
class Interpreters:
    """Of environments that have each system; those without are left out."""

    evidently: str | None = None
    nannyml: str | None = None
    river: str | None = None


def compared(data: Streams, of: Interpreters) -> tuple[dict[str, Alarms], list[str]]:
    """Everybody's alarms, and which versions were asked."""
    sets = {name: data.reference_of[name] for name in data.streams if name not in TUNING.values()}
    with tempfile.TemporaryDirectory() as folder:
        path = data.saved(folder)
        shifted = {name: LEAD_DAYS * DAY_ROWS for name in sets if name not in data.references}
        job = {"data": path, "block_rows": DAY_ROWS, "sets": sets, "first_row": shifted}
        with ThreadPoolExecutor(2) as pool:
            asks = [pool.submit(blocks, "evidently", of.evidently, job)] if of.evidently else []
            asks += [pool.submit(river, of.river, path, list(sets))] if of.river else []
            asks += [pool.submit(blocks, "nannyml", of.nannyml, job)] if of.nannyml else []
            alarms: dict[str, Alarms] = {"Tidegate, default": ours(data), "always alarms": always(data)}
            answers = [each.result() for each in asks]
    for _, found in answers:
        alarms |= found
    return alarms, [version for version, _ in answers]
