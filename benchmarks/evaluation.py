"""What one evaluation of a million captured rows costs, from Parquet: CPU and memory, in a process of its own.

Writes rows of a hundred features as the compactor would, hour by hour, into a temporary folder, and evaluates them once
with all monitors; beside it, for the same files, the floor (each column read and counted in bins by numpy) and, with
--evidently PYTHON, Evidently's data drift preset in that interpreter's environment. Exit code 1 above the targets
(10 s of CPU and 1 GB for a million rows).

python benchmarks/evaluation.py --rows 1000000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lib import tables
from tidegate.adapters.capture.rows import StoredRows
from tidegate.capture.compact import write_parquet
from tidegate.capture.files import LocalFiles
from tidegate.core.monitoring.settings import MonitorSettings
from tidegate.services.monitoring.baselines import BaselineRows, KnownBaseline, make_baseline
from tidegate.services.monitoring.evaluation import Evaluation, WatchedEndpoint
from tidegate.wire.monitoring.monitoring import BaselineView
from tidegate.wire.signature import Signature, TensorSpec

FEATURES, HOUR_S, BEGIN = 100, 3600.0, 1_795_824_000.0  # a midnight
CPU_S_MAX, MEMORY_BYTES_MAX, TARGET_ROWS = 10.0, 1e9, 1_000_000
NAMES = [f"f{number}" for number in range(FEATURES)]
OUTPUTS = (TensorSpec("prediction", "INT64", (-1,)),)
COLUMNS = Signature("columns", tuple(TensorSpec(name, "FP64", (-1,)) for name in NAMES), OUTPUTS, (0, 1))
MATRIX = Signature("matrix", (TensorSpec("input", "FP64", (-1, FEATURES)),), OUTPUTS, (0, 1))
EVIDENTLY = """
import resource, sys, time, pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
now = pd.read_parquet(sys.argv[1]); before = pd.read_parquet(sys.argv[2])
started = time.process_time()
Report([DataDriftPreset()]).run(now, before)
print(time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def write(folder: Path, rows: int, hours: int, *, matrix: bool) -> str:
    """A file an hour, with the columns that the compactor gives it."""
    each = rows // hours
    for hour in range(hours):
        rng = np.random.default_rng([7, hour])
        x = rng.normal(size=(each, FEATURES))
        at = BEGIN + hour * HOUR_S + np.sort(rng.uniform(0, HOUR_S - 1, each))
        columns: dict[str, Any] = {
            "id": [f"{hour:03}-{row:012}" for row in range(each)],
            "row": np.zeros(each, dtype=np.int32),
            "at": pa.array((at * 1e6).astype(np.int64)).cast(pa.timestamp("us", tz="UTC")),
            "version": pa.array(["1"] * each),
            "pinned": np.zeros(each, dtype=bool),
            "duration_ms": rng.lognormal(1.0, 0.3, each),
            "code": np.full(each, 200, dtype=np.int32),
        }
        if matrix:
            offsets = pa.array(np.arange(each + 1, dtype=np.int64) * FEATURES)
            columns["input_input"] = pa.LargeListArray.from_arrays(offsets, pa.array(x.reshape(-1)))
        else:
            columns |= {f"input_{name}": x[:, place] for place, name in enumerate(NAMES)}
        columns["output_prediction"] = (x[:, 0] > 0).astype(np.int64)
        name = f"predictions/endpoint=e/hour={time.strftime('%Y-%m-%dT%H', time.gmtime(BEGIN + hour * HOUR_S))}"
        write_parquet(LocalFiles(folder / "capture"), f"{name}/gateway-0-{hour}-00000000.parquet", pa.table(columns))
    return f"{rows:,} rows written"


class OneBaseline:
    """A baseline of rows like those that come."""

    def __init__(self, signature: Signature) -> None:
        x = np.random.default_rng(1).normal(size=(20_000, FEATURES))
        inputs = {"input": x} if signature is MATRIX else {name: x[:, place] for place, name in enumerate(NAMES)}
        made = make_baseline(signature, BaselineRows(inputs, {"prediction": (x[:, 0] > 0).astype(np.int64)}))
        view = BaselineView("m", "1", "validation", len(x), 0, 1.0, [])
        self._known = KnownBaseline(made.baseline, made.roles, made.truth, view)

    def known(self, _model: str, _number: str) -> KnownBaseline:
        """The only one."""
        return self._known


def ours(folder: Path, hours: int, *, matrix: bool) -> str:
    """Evaluate once; how many results there were."""
    signature = MATRIX if matrix else COLUMNS
    seen = WatchedEndpoint("e", "u", "m", BEGIN, MonitorSettings(every_s=HOUR_S), {"1": signature}, {})
    baselines: Any = OneBaseline(signature)
    evaluation = Evaluation(seen, StoredRows(folder), baselines, BEGIN + hours * HOUR_S, asked=True, estimates=False)
    evaluation.run()
    judged = [one for one in evaluation.results if one.monitor == "feature_drift" and one.state != "unknown"]
    return f"{len(judged)} of {FEATURES} features judged"


def floor(folder: Path) -> str:
    """Each column read and counted, and nothing else."""
    counted = 0
    for file in sorted((folder / "capture").rglob("*.parquet")):
        for name in pq.read_schema(file).names:
            if name.startswith("input_"):
                values = pq.read_table(file, columns=[name], partitioning=None)[name]
                flat = values.combine_chunks().flatten() if pa.types.is_large_list(values.type) else values
                counted += int(np.histogram(flat.to_numpy(), bins=20)[0].sum())
    return f"{counted:,} values counted"


def measured(what: str, *arguments: str) -> tuple[float, float, str]:
    """CPU seconds and peak bytes of this program's `--run WHAT`, and what it said."""
    done = subprocess.run(
        [sys.executable, __file__, "--run", what, *arguments], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["cpu_s"], answer["bytes"], answer["said"]


def evidently(python: str, folder: Path) -> tuple[float, float, str]:
    """Evidently in an environment of its own, on the same rows in one file, against 20,000 others."""
    rng = np.random.default_rng(1)
    before, now = folder / "before.parquet", folder / "now.parquet"
    pq.write_table(pa.table(dict(zip(NAMES, rng.normal(size=(FEATURES, 20_000)), strict=True))), before)
    files = sorted((folder / "capture").rglob("*.parquet"))
    pq.write_table(
        pa.concat_tables(
            pq.read_table(file, columns=[f"input_{name}" for name in NAMES], partitioning=None) for file in files
        ).rename_columns(NAMES),
        now,
    )
    done = subprocess.run([python, "-c", EVIDENTLY, str(now), str(before)], capture_output=True, text=True, check=True)
    cpu_s, peak = done.stdout.split()[-2:]
    return float(cpu_s), float(peak), "its own tests"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=TARGET_ROWS)
    parser.add_argument("--hours", type=int, default=10, help="over which they are spread")
    parser.add_argument("--matrix", action="store_true", help="one input of a hundred values instead of a hundred")
    parser.add_argument("--evidently", metavar="PYTHON", help="an interpreter that has Evidently")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        before = time.process_time()
        if options.run == "write":
            said = write(options.folder, options.rows, options.hours, matrix=options.matrix)
        elif options.run == "floor":
            said = floor(options.folder)
        else:
            said = ours(options.folder, options.hours, matrix=options.matrix)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"cpu_s": time.process_time() - before, "bytes": peak, "said": said}))
        return 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        given = ["--folder", place, "--rows", str(options.rows), "--hours", str(options.hours)]
        given += ["--matrix"] if options.matrix else []
        measured("write", *given)  # elsewhere: a process passes the most memory that it had on to those it starts
        found = {"an evaluation": measured("ours", *given), "the floor": measured("floor", *given)}
        if options.evidently and not options.matrix:
            found["Evidently"] = evidently(options.evidently, folder)
    print(f"{options.rows:,} rows of {FEATURES} features in {options.hours} hours of Parquet")
    rows = [[name, f"{cpu:.1f}", f"{peak / 1e9:.2f}", said] for name, (cpu, peak, said) in found.items()]
    print(tables.table(["", "CPU s", "peak GB", ""], rows))
    cpu_s, peak_bytes, _ = found["an evaluation"]
    print(f"{cpu_s / found['the floor'][0]:.1f} times the floor's CPU")
    scale = options.rows / TARGET_ROWS
    return int(cpu_s > CPU_S_MAX * scale or peak_bytes > MEMORY_BYTES_MAX)


if __name__ == "__main__":
    sys.exit(main())
