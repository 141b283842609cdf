"""What NannyML's univariate drift says of each chunk of rows, at its thresholds: a job as JSON in, alarms as JSON out.

For an environment with `nannyml`. Its default method (Jensen-Shannon above 0.1), and the Kolmogorov-Smirnov statistic
and Wasserstein distance beyond three standard deviations of the reference's chunks; one column is enough.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.simplefilter("ignore")

import nannyml  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

METHODS = {"JS": "jensen_shannon", "KS": "kolmogorov_smirnov", "Wasserstein": "wasserstein"}


def frame(rows: np.ndarray) -> pd.DataFrame:
    """Columns by name."""
    return pd.DataFrame(rows, columns=[f"f{at}" for at in range(rows.shape[1])])


job = json.load(sys.stdin)
size, started, made = job["block_rows"], time.process_time(), {}
alarms = {f"NannyML {label}": {} for label in METHODS}
with np.load(job["data"]) as data:
    for label, method in METHODS.items():
        for name, reference in job["sets"].items():
            before = frame(data[f"reference_{reference}"])
            if (label, reference) not in made:
                made[label, reference] = nannyml.UnivariateDriftCalculator(
                    column_names=list(before.columns), continuous_methods=[method], chunk_size=size
                ).fit(before)
            alarms[f"NannyML {label}"][name] = found = []
            for stream in data[f"streams_{name}"]:
                result = made[label, reference].calculate(frame(stream)).filter(period="analysis").to_df()
                alerts = [column for column in result.columns if column[-1] == "alert"]
                is_alarm = result[alerts].to_numpy(dtype=bool).any(axis=1)
                found.append([(int(at) + 1) * size for at in np.flatnonzero(is_alarm)])
cpu_s = time.process_time() - started
print(json.dumps({"version": importlib.metadata.version("nannyml"), "alarms": alarms, "cpu_s": cpu_s}))
