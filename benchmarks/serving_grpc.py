"""gRPC (V2, raw tensors): requests per second of one row at a time, Tidegate beside MLServer, in one run.

Each server is held on core 0 and loaded from core 1 over 32 connections; servers take turns, round by round, and the
median round counts. Absolute figures move with the machine: quote the ratios. Needs Linux and taskset.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from lib import processes
from lib.contenders import CONTENDERS, ModelFiles, Server
from lib.processes import BenchmarkFailed
from lib.tables import table
from serving import LOAD_CORE, MODELS, machine_facts, make_model, python_of

LOADER = Path(__file__).parent / "lib" / "grpc_load.py"
CHECKED = 50
START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Asked:
    """How a server's model, input and output are called."""

    model: str
    input: str
    output: str
    note: str


def main() -> int:
    """Run the comparison; 1 when an answer was wrong, a request failed or a server could not run."""
    options = _options()
    names = ["tidegate", "tidegate-serve", "mlserver"][: None if options.peers else 2]
    report: dict[str, Any] = {"machine": machine_facts(), "settings": vars(options), "models": {}}
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        pythons = {name: python_of(CONTENDERS[name], Path(options.cache)) for name in names}
        for model_name in options.models.split(","):
            model = make_model(model_name, Path(folder))
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for number in range(options.rounds):
                for name in names:
                    own = Path(folder) / f"{model_name}-{name}-{number}"
                    own.mkdir()
                    figures = _one(name, Server(model, own, pythons[name]), options)
                    rounds[name].append(figures)
                    print(f"  {model_name} {name} {figures['requests_per_s']:,.0f}/s", file=sys.stderr, flush=True)
            report["models"][model_name] = {name: _median(figures) for name, figures in rounds.items()}
            print(f"\n{model_name}: gRPC, one row a request, {options.connections} connections\n")
            print(_table(report["models"][model_name]), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    return 1 if any(one["failed"] for model in report["models"].values() for one in model.values()) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="without MLServer")
    parser.add_argument("--models", default=",".join(MODELS), help="forest, logistic (default: both)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts (default 3)")
    parser.add_argument("--seconds", type=int, default=6, help="length of one measurement (default 6)")
    parser.add_argument("--connections", type=int, default=32, help="connections (default 32)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tidegate-bench"
    parser.add_argument("--cache", default=str(cache), help=f"where the peers' environments are kept ({cache})")
    return parser.parse_args()


def _asked(name: str, model: ModelFiles) -> Asked:
    return {
        "tidegate": Asked("benchmark", "input", "probabilities", "gateway and replica"),
        "tidegate-serve": Asked(model.name, "input", "probabilities", "one replica, no platform"),
        "mlserver": Asked("m", "predict", "predict_proba", "grpc.aio, adaptive batching"),
    }[name]


def _one(name: str, server: Server, options: argparse.Namespace) -> dict[str, float]:
    asked = _asked(name, server.model)
    bodies = server.folder / "messages.pickle"
    bodies.write_bytes(pickle.dumps([_message(asked, row) for row in server.model.rows]))
    with CONTENDERS[name].serving(server):
        _check(asked, server)
        argv = [sys.executable, str(LOADER), str(server.grpc_port), str(options.seconds), str(options.connections)]
        figures: dict[str, float] = json.loads(processes.run(processes.pinned([*argv, str(bodies)], LOAD_CORE)))
        return figures


def _message(asked: Asked, row: Any) -> bytes:
    request = service_pb2.ModelInferRequest(model_name=asked.model)
    request.inputs.add(name=asked.input, datatype="FP64", shape=[1, len(row)])
    request.outputs.add(name=asked.output)
    request.raw_input_contents.append(np.asarray(row, dtype="<f8").tobytes())
    message: bytes = request.SerializeToString()
    return message


def _check(asked: Asked, server: Server) -> None:
    """Wait for the first answer; then a sample must be the model's own."""
    client = triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
    started = time.monotonic()
    model = server.model
    for row, expected in zip(model.rows[:CHECKED], model.probabilities[:CHECKED], strict=True):
        given = triton.InferInput(asked.input, [1, len(row)], "FP64")
        given.set_data_from_numpy(np.array([row]))
        while True:
            try:
                answer = client.infer(asked.model, [given], outputs=[triton.InferRequestedOutput(asked.output)])
                break
            except triton.InferenceServerException as error:
                if time.monotonic() - started > START_TIMEOUT_S:
                    raise BenchmarkFailed(f"{asked.model} does not answer: {error}") from None
                time.sleep(0.2)
        if not np.allclose(answer.as_numpy(asked.output), [expected], atol=2e-4):
            raise BenchmarkFailed(f"{asked.model} is wrong: {answer.as_numpy(asked.output)}, the model says {expected}")
    client.close()


def _median(rounds: list[dict[str, float]]) -> dict[str, float]:
    middle = {key: statistics.median(one[key] for one in rounds) for key in ("requests_per_s", "p50_ms", "p99_ms")}
    return {**middle, "failed": sum(one["failed"] for one in rounds)}


def _table(model: dict[str, dict[str, float]]) -> str:
    head = ("server", "requests/s", "p50 ms", "p99 ms", "failed", "tidegate is")
    ours = model["tidegate"]["requests_per_s"]
    rows = []
    for name, one in model.items():
        figures = one["requests_per_s"], one["p50_ms"], one["p99_ms"], int(one["failed"])
        rows.append((name, *figures, f"{ours / one['requests_per_s']:.2f} x"))
    return table(head, rows)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkFailed as failure:
        sys.exit(f"serving_grpc.py: {failure}")
