"""Requests per second of one row at a time: Tidegate beside other servers of the same model file, in one run.

Each server is held on core 0 and loaded by wrk (one thread) from core 1; servers take turns, round by round, and the
median round counts. Absolute figures move with the machine: quote the ratios. Needs Linux, taskset and wrk.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform as machine
import statistics
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lib import http, processes, wrk
from lib.contenders import CONTENDERS, Contender, ModelFiles, Server
from lib.processes import BenchmarkFailed
from lib.tables import table

LOAD_CORE = 1
ROWS = 10_000
CHECKED = 200
DEFAULT_PEERS = ("fastapi", "mlserver")
OURS = ("tidegate", "tidegate-serve", "tidegate-onnx")
MODELS = {
    "forest": lambda: RandomForestClassifier(100, random_state=0),
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}


def main() -> int:
    """Run the comparison; 1 when an answer was wrong, a request failed or a server could not run."""
    options = _options()
    names = [*OURS, *_peers(options.peers), "floor"]
    report: dict[str, Any] = {"machine": machine_facts(), "settings": vars(options), "models": {}}
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        pythons = {name: python_of(CONTENDERS[name], Path(options.cache)) for name in names}
        for model_name in options.models.split(","):
            model = make_model(model_name, Path(folder))
            rounds = _measure(model, {name: pythons[name] for name in names}, Path(folder), options)
            report["models"][model_name] = _summary(rounds)
            print(f"\n{model_name}: one row a request, {options.connections} connections, median of {options.rounds}\n")
            print(_table(report["models"][model_name]), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    failed = sum(figures["failed"] for model in report["models"].values() for figures in model.values())
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), help="names by comma, 'all' or 'none'")
    parser.add_argument("--models", default=",".join(MODELS), help="forest, logistic (default: both)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts (default 3)")
    parser.add_argument("--seconds", type=int, default=6, help="length of one measurement (default 6)")
    parser.add_argument("--connections", type=int, default=32, help="connections of wrk (default 32)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tidegate-bench"
    parser.add_argument("--cache", default=str(cache), help=f"where the peers' environments are kept ({cache})")
    return parser.parse_args()


def _peers(text: str) -> list[str]:
    peers = [name for name in CONTENDERS if name not in (*OURS, "floor")]
    wanted = peers if text == "all" else [] if text == "none" else text.split(",")
    if unknown := set(wanted) - set(peers):
        raise SystemExit(f"unknown peer {', '.join(sorted(unknown))}: choose from {', '.join(peers)}")
    return wanted


def python_of(contender: Contender, cache: Path) -> Path:
    """The Python a contender runs with: its own environment, made once, with this environment's scikit-learn."""
    if not contender.packages:
        return Path(sys.executable)
    folder = cache / "venvs" / contender.name
    python, done = folder / "bin" / "python", folder / f".made-with-scikit-learn-{sklearn.__version__}"
    if not done.exists():
        print(f"Installing {contender.name} into {folder} (once) ...", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        processes.run([*pip, *contender.packages, f"scikit-learn=={sklearn.__version__}"], timeout_s=1800)
        done.touch()
    return python


def make_model(name: str, folder: Path) -> ModelFiles:
    """Train it on the breast cancer data and write it as joblib and as ONNX; the rows asked are all different."""
    x, y = load_breast_cancer(return_X_y=True)
    model = MODELS[name]().fit(x, y)
    rng = np.random.default_rng(0)
    rows = (x[rng.integers(0, len(x), ROWS)] * rng.normal(1, 0.02, (ROWS, x.shape[1]))).round(4)
    files = folder / f"{name}.joblib", folder / f"{name}.onnx"
    joblib.dump(model, files[0])
    onnx = to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False})
    files[1].write_bytes(onnx.SerializeToString())
    return ModelFiles(name, *files, rows.tolist(), model.predict_proba(rows[:CHECKED]).tolist())


def _measure(
    model: ModelFiles, pythons: dict[str, Path], folder: Path, options: argparse.Namespace
) -> dict[str, list[wrk.Figures]]:
    """Every contender once a round, so that a slow spell of the machine touches all alike."""
    rounds: dict[str, list[wrk.Figures]] = {name: [] for name in pythons}
    for number in range(options.rounds):
        for name, python in pythons.items():
            own = folder / f"{model.name}-{name}-{number}"
            own.mkdir()
            figures = _one(CONTENDERS[name], Server(model, own, python), options)
            rounds[name].append(figures)
            print(
                f"  {model.name} round {number + 1} {name:<15} {figures.requests_per_s:>9,.0f} requests/s",
                file=sys.stderr,
                flush=True,
            )
    return rounds


def _one(contender: Contender, server: Server, options: argparse.Namespace) -> wrk.Figures:
    bodies = [json.dumps(contender.form.body(row)).encode() for row in server.model.rows]
    lua = wrk.script(server.folder, "requests", bodies)
    with contender.serving(server) as url:
        _wait(url, bodies[0], contender.name, server)
        _check(contender, server.model, url, bodies)
        wrk.load(url, lua, seconds=2, connections=options.connections, core=LOAD_CORE)
        return wrk.load(url, lua, seconds=options.seconds, connections=options.connections, core=LOAD_CORE)


def _wait(url: str, body: bytes, name: str, server: Server, timeout_s: float = 120.0) -> None:
    """Until the first row is answered."""
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        try:
            if http.post(url, body)[0] == 200:
                return
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.1)
    said = server.log.read_text(errors="replace")[-2000:] if server.log.exists() else ""
    raise BenchmarkFailed(f"{name} did not answer in {timeout_s:.0f} s:\n{said}")


def _check(contender: Contender, model: ModelFiles, url: str, bodies: Sequence[bytes]) -> None:
    """A sample of answers must be the model's own (ONNX computes in 32 bits, hence the tolerance)."""
    for body, expected in zip(bodies, model.probabilities, strict=False):
        status, answer = http.post(url, body)
        if status != 200:
            raise BenchmarkFailed(f"{contender.name} answered {status}: {answer}")
        confidence = contender.form.confidence(answer)
        if confidence is not None and not math.isclose(confidence, max(expected), abs_tol=2e-4):
            raise BenchmarkFailed(f"{contender.name} is wrong: {answer}, and the model says {expected}")


def _summary(rounds: dict[str, list[wrk.Figures]]) -> dict[str, dict[str, Any]]:
    return {name: _median(figures) for name, figures in rounds.items()}


def _median(figures: list[wrk.Figures]) -> dict[str, Any]:
    middle = {
        key: statistics.median(getattr(one, key) for one in figures) for key in ("requests_per_s", "p50_ms", "p99_ms")
    }
    return {**middle, "failed": sum(one.failed for one in figures), "rounds": [asdict(one) for one in figures]}


def _table(model: dict[str, dict[str, Any]]) -> str:
    ours = model["tidegate"]["requests_per_s"]
    head = ("server", "what", "requests/s", "p50 ms", "p99 ms", "failed", "tidegate is")
    rows = [
        (
            name,
            CONTENDERS[name].note,
            figures["requests_per_s"],
            figures["p50_ms"],
            figures["p99_ms"],
            figures["failed"],
            f"{ours / figures['requests_per_s']:.2f} x",
        )
        for name, figures in model.items()
    ]
    return table(head, rows)


def machine_facts() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "system": machine.platform(),
        "cores": os.cpu_count(),
        "python": machine.python_version(),
        "scikit-learn": sklearn.__version__,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkFailed as failure:
        sys.exit(f"serving.py: {failure}")
