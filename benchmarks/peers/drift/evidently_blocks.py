"""What Evidently says of each block of rows, at its defaults for data drift: a job as JSON in, alarms as JSON out.

For an environment with `evidently` and `pandas<3`. Its default test depends on the reference's size: a KS test at
p < 0.05 up to 1,000 rows, above that a Wasserstein distance of a tenth of a standard deviation. Both are run, the
first against so many of the reference's rows. "Any column": one that it calls drifted; "dataset": half of them, as
its summary has it. The count of drifted columns is what its preset shows too, at a fifth of the preset's cost.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import warnings

os.environ["DO_NOT_TRACK"] = "1"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from evidently import Report  # noqa: E402
from evidently.metrics import DriftedColumnsCount  # noqa: E402

KS_ROWS_MAX = 1_000


def drifted(now: pd.DataFrame, before: pd.DataFrame) -> float:
    """The share of columns that Evidently calls drifted."""
    return Report([DriftedColumnsCount()]).run(now, before).dict()["metrics"][0]["value"]["share"]


job = json.load(sys.stdin)
rows, started = job["block_rows"], time.process_time()
alarms = {f"Evidently {test}, {what}": {} for test in ("KS", "Wasserstein") for what in ("any column", "dataset")}
with np.load(job["data"]) as data:
    for name, reference in job["sets"].items():
        whole = pd.DataFrame(data[f"reference_{reference}"]).rename(columns=str)
        few = whole.sample(KS_ROWS_MAX, random_state=15)
        for each in alarms.values():
            each[name] = []
        for stream in data[f"streams_{name}"]:
            for each in alarms.values():
                each[name].append([])
            for end in range(job["first_row"].get(name, 0) + rows, len(stream) + 1, rows):
                now = pd.DataFrame(stream[end - rows : end]).rename(columns=str)
                for test, before in (("KS", few), ("Wasserstein", whole)):
                    share = drifted(now, before)
                    for what, is_alarm in (("any column", share > 0), ("dataset", share >= 0.5)):
                        if is_alarm:
                            alarms[f"Evidently {test}, {what}"][name][-1].append(end)
cpu_s = time.process_time() - started
print(json.dumps({"version": importlib.metadata.version("evidently"), "alarms": alarms, "cpu_s": cpu_s}))
