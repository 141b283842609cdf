"""When River's detectors alarm on streams of values: a job as JSON on standard input, alarms as JSON on its output.

For an environment with `river` (and numpy). Each column has a detector of its own, one value at a time, and goes on
after an alarm as the detector does. A job names an .npz file, sets of streams in it, and detectors' parameters.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time

import numpy as np
from river import drift

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
