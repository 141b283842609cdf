"""NannyML's estimates on the data in its wheel, and what ours need of these data: nannyml.json and nannyml.npz.

Run by hand, outside the project (NannyML is no dependency of Tidegate):

    uv venv --python 3.11 /tmp/oracle && uv pip install --python /tmp/oracle/bin/python nannyml==0.13.1 statsmodels
    /tmp/oracle/bin/python tests/statistics/oracles/make_nannyml.py

Of a classifier the rows are counted by chunk, label and score, which is all that estimates depend on; of the regression
one row in twelve is kept, and NannyML saw no others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PROGRAM = HERE.parents[2] / "benchmarks" / "peers" / "drift" / "nannyml_estimates.py"
EVERY = 12


def counted(rows: dict[str, np.ndarray], chunks: int) -> np.ndarray:
    """How many rows there are: reference and chunks, by label (0, 1) and by score in thousandths (0 to 1,000)."""
    found = np.zeros((1 + chunks, 2, 1001), dtype=np.int32)
    size = len(rows["labels"]) // chunks
    at = np.repeat(np.arange(1, 1 + chunks), size)
    for where, prefix in ((np.zeros(len(rows["reference_labels"]), dtype=int), "reference_"), (at, "")):
        scores, labels = np.rint(rows[f"{prefix}scores"] * 1000).astype(int), rows[f"{prefix}labels"].astype(int)
        np.add.at(found, (where, labels, scores), 1)
    return found


with tempfile.TemporaryDirectory() as folder:
    job = json.dumps({"folder": folder, "every": EVERY})
    done = subprocess.run([sys.executable, str(PROGRAM)], input=job, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])  # LightGBM talks before
    kept = {}
    for name, one in answer["sets"].items():
        one.pop("cpu_s")
        with np.load(Path(folder) / f"{name}.npz") as rows:
            if "threshold" in one:
                kept[name] = counted(rows, answer["chunks"])
            else:
                kept |= {f"{name}_{what}": np.rint(rows[what]).astype(np.int32) for what in rows.files}
np.savez_compressed(HERE / "nannyml.npz", **kept)  # type: ignore[arg-type]
(HERE / "nannyml.json").write_text(json.dumps({"data_every": EVERY, **answer}, indent=1) + "\n")
