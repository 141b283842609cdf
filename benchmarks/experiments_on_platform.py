"""Experiments on a running platform, over many seeds: what is decided of a better, an equal and a worse version.

Starts a platform of its own on free ports in a temporary folder and runs one experiment after the other on an endpoint,
each with --units new keys: a prediction for each unit over HTTP, then what came of it as feedback. A unit succeeds as
often as its version's rate says. Prints a table with a row for each kind; exit code 1 when a worse version was promoted
or an equal one was promoted or rolled back more often than chance allows at alpha (at 99.9 %).

python benchmarks/experiments_on_platform.py --seeds 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import joblib
import numpy as np
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from lib.platform import Platform, platform
from lib.tables import table
from tidegate.client import Client
from tidegate.wire.experiments.experiments import ExperimentView

RATES = {"better": (0.2, 0.5), "equal": (0.35, 0.35), "worse": (0.5, 0.2)}
ALPHA = 0.05
ROW = [0.5, -0.5, 1.0, 0.0]
ROUTED_WITHIN_S, DECIDED_WITHIN_S = 120.0, 120.0
CHANCE = 0.999


@dataclass(frozen=True)
class Run:
    """One experiment: what was decided once all its units were in, and how long after the last feedback."""

    kind: str
    decision: str
    units: int
    took_s: float


def main() -> int:
    """Carry it out and print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder, platform(Path(folder)) as running:
        for file in _models(Path(folder)):
            running.cli("register", str(file), "--name", "compared", "--allow-pickle")
        running.cli("deploy", "compared:1")
        with Client(url=running.url, data_dir=running.data_dir, timeout_s=120) as client:
            runs = [_run(running, client, kind, seed, options.units) for seed in range(options.seeds) for kind in RATES]
    return _report(runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="experiments of each kind (default 20)")
    parser.add_argument("--units", type=int, default=500, help="of both arms together (default 500)")
    return parser.parse_args()


def _models(folder: Path) -> list[Path]:
    """Two files that are not alike: which one answers is all that counts here."""
    rows = np.random.default_rng(7).normal(size=(500, 4))
    files = [folder / f"{name}.joblib" for name in ("first", "second")]
    for file, strength in zip(files, (0.1, 1.0), strict=True):
        joblib.dump(LogisticRegression(C=strength).fit(rows, rows.sum(axis=1) > 0), file)
    return files


def _run(running: Platform, client: Client, kind: str, seed: int, units: int) -> Run:
    """Control is what is served now, whichever version that is after the run before."""
    control = next(iter(client.endpoints.get("compared").asked))
    treatment = "2" if control == "1" else "1"
    name = f"{kind}-{seed}"
    client.experiments.create(
        "compared", control=control, treatments=[treatment], name=name, metrics=["won:increase:proportion"],
        mde="100%", alpha=ALPHA, auto=True, start=True,
    )  # fmt: skip
    _wait(lambda: len({client.experiments.assignment("compared", n).version for n in range(20)}) == 2, ROUTED_WITHIN_S)
    _serve(running, client, name, dict(zip((control, treatment), RATES[kind], strict=True)), units)
    began = time.monotonic()
    _wait(lambda: _is_done(client.experiments.get("compared", name), units), DECIDED_WITHIN_S)
    took_s, found = time.monotonic() - began, client.experiments.get("compared", name)
    if found.active:
        client.experiments.stop("compared", name)
    return Run(kind, found.decision, sum(arm.units for arm in found.arms), took_s)


def _serve(running: Platform, client: Client, name: str, rates: dict[str, float], units: int) -> None:
    rng, events = np.random.default_rng([len(name), *name.encode()]), []
    with httpx.Client(base_url=running.gateway_url, timeout=60) as http:
        for number in range(units):
            key = f"{name}-{number}"
            answer = http.post("/predict/compared", json={"features": ROW}, headers={"X-Tidegate-Key": key})
            version = str(answer.raise_for_status().json()["model_version"])
            events.append({"key": key, "experiment": name, "metrics": {"won": float(rng.random() < rates[version])}})
    client.feedback("compared", events)


def _is_done(found: ExperimentView, units: int) -> bool:
    return not found.active or sum(arm.units for arm in found.arms) >= units


def _wait(is_so: Callable[[], bool], within_s: float) -> None:
    """Raises `TimeoutError`."""
    until_s = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > until_s:
            raise TimeoutError(f"it did not happen within {within_s:g} s")
        time.sleep(0.25)


def _report(runs: list[Run]) -> int:
    lines: list[list[object]] = []
    wrong = False
    for kind, (a, b) in RATES.items():
        mine = [run for run in runs if run.kind == kind]
        made = Counter(run.decision for run in mine)
        promoted, rolled_back = made["promote"], made["rollback"]
        false = {"better": rolled_back, "equal": promoted + rolled_back, "worse": promoted}[kind]
        wrong = wrong or false > binom.ppf(CHANCE, len(mine), ALPHA)
        median_s = float(np.median([run.took_s for run in mine]))
        undecided = len(mine) - promoted - rolled_back
        lines.append([kind, f"{a:g} / {b:g}", len(mine), promoted, rolled_back, undecided, f"{median_s:.1f}"])
    headers = ["version", "rates", "runs", "promoted", "rolled back", "undecided", "decided after (s, median)"]
    print(table(headers, lines))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
