"""Twenty different real models at once: registers and deploys them, loads them all mixed, and checks every answer.

Starts a platform of its own on free ports in a temporary folder (or uses --url). Requests leave at Poisson times
whether or not earlier ones were answered; latency counts from the scheduled time. Exit code 1 when a target is missed:
mean at most 50 ms, 99th percentile at most 200 ms, none failed, and every answer the model's own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lib import openloop, zoo
from lib.platform import Platform, existing, memory_mb, platform
from lib.processes import BenchmarkFailed
from lib.tables import table

MEAN_MS_MAX, P99_MS_MAX = 50.0, 200.0
ROWS_MAX = 8
PREFIX = "bench-"


def main() -> int:
    """Carry it out and print the figures."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        _say("training twenty models ...")
        cases = zoo.make(Path(folder))
        with _platform(options, Path(folder)) as running:
            report = _run(running, cases, options)
    print(_text(report))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["targets_met"] else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the load (default 300)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second over all models (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of arrival times and of the mix (default 0)")
    parser.add_argument("--url", help="control plane of a platform that runs already (default: start one)")
    parser.add_argument("--data-dir", type=Path, help="its data directory, for the token and the memory figures")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    return parser.parse_args()


def _platform(options: argparse.Namespace, folder: Path) -> AbstractContextManager[Platform]:
    return existing(options.url, options.data_dir) if options.url else platform(folder)


def _run(running: Platform, cases: Sequence[zoo.Case], options: argparse.Namespace) -> dict[str, Any]:
    try:
        models = {case.name: _deploy(running, case) for case in cases}
        requests = {case.name: _requests(running, case) for case in cases}
        _say(f"loading: {options.rate:g} requests/s for {options.seconds:g} s ...")
        outcomes = asyncio.run(_load(running, requests, options))
        for name in models:
            models[name] |= _memory(running, name)
        return _report(running, models, outcomes, options)
    finally:
        if options.url:
            _remove(running, cases)


# -- deploying --------------------------------------------------------------------------------------------------------


def _deploy(running: Platform, case: zoo.Case) -> dict[str, Any]:
    """Register through the gate, deploy, wait until it answers; both are timed as a user waits for them."""
    name = PREFIX + case.name
    started = time.monotonic()
    running.cli("register", str(case.file), "--name", name, *case.register)
    registered = time.monotonic()
    endpoint = running.cli("deploy", name)
    ready = time.monotonic()
    if endpoint["status"] != "ready":
        raise BenchmarkFailed(f"{name} is {endpoint['status']}: {endpoint['reason']}")
    size_mb = case.file.stat().st_size / 1e6
    times = f"registered {registered - started:.1f} s, ready {ready - registered:.1f} s"
    _say(f"  {case.name:<17} {size_mb:7.2f} MB  {times}")
    return {
        "kind": case.kind,
        "file_mb": size_mb,
        "register_s": registered - started,
        "ready_s": ready - registered,
    }


def _memory(running: Platform, name: str) -> dict[str, Any]:
    found = running.replicas(PREFIX + name)
    if not found:
        return {"rss_mb": None, "pss_mb": None}
    resident, proportional = memory_mb(found)
    return {"rss_mb": resident / len(found), "pss_mb": proportional / len(found)}


def _remove(running: Platform, cases: Sequence[zoo.Case]) -> None:
    for case in cases:
        with contextlib.suppress(BenchmarkFailed):
            running.cli("delete", PREFIX + case.name, "--yes")
        with contextlib.suppress(BenchmarkFailed):
            running.cli("models", "delete", PREFIX + case.name, "--yes")


# -- the load ---------------------------------------------------------------------------------------------------------


def _requests(running: Platform, case: zoo.Case) -> list[openloop.Request]:
    """Mostly single rows, some small batches, all different, each with the check of its answer."""
    rng = random.Random(case.name)
    url = f"{running.gateway_url}/predict/{PREFIX}{case.name}"
    requests = []
    for first in range(len(case.rows)):
        count = 1 if rng.random() < 0.8 else rng.randint(2, ROWS_MAX)
        chosen = [(first + step) % len(case.rows) for step in range(count)]
        features = case.rows[first] if count == 1 else [case.rows[i] for i in chosen]
        payload = openloop.http_request(url, json.dumps({"features": features}).encode())
        requests.append(openloop.Request(case.name, payload, _checker(case, chosen)))
    return requests


def _checker(case: zoo.Case, chosen: Sequence[int]) -> Callable[[bytes], str | None]:
    predictions = [case.predictions[i] for i in chosen]
    confidences = None if case.confidences is None else [case.confidences[i] for i in chosen]

    def check(body: bytes) -> str | None:
        answer = json.loads(body)
        if not _same(answer["prediction"], predictions):
            return f"wrong: prediction {answer['prediction']}, and the model says {predictions}"
        said = answer.get("confidence")
        if confidences is not None and not _same(said if isinstance(said, list) else [said], confidences):
            return f"wrong: confidence {said}, and the model says {confidences}"
        return None

    return check


def _same(got: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Equal, numbers but for the last bits (XGBoost and ONNX compute in 32)."""
    return len(got) == len(expected) and all(map(_close, got, expected))


def _close(got: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(got, int | float):
        return math.isclose(got, expected, rel_tol=1e-5, abs_tol=1e-6)
    return bool(got == expected)


async def _load(
    running: Platform, requests: dict[str, list[openloop.Request]], options: argparse.Namespace
) -> list[openloop.Outcome]:
    rng = random.Random(options.seed)
    names = sorted(requests)
    times = openloop.schedule(round(options.rate * options.seconds), options.seconds, options.seed)
    plan = [(at, rng.choice(requests[rng.choice(names)])) for at in times]
    parts = urlsplit(running.gateway_url)
    return await openloop.run((parts.hostname or "127.0.0.1", parts.port or 80), plan)


# -- the figures ------------------------------------------------------------------------------------------------------


def _report(
    running: Platform, models: dict[str, Any], outcomes: Sequence[openloop.Outcome], options: argparse.Namespace
) -> dict[str, Any]:
    by_model = defaultdict(list)
    for outcome in outcomes:
        by_model[outcome.group].append(outcome)
    for name in models:
        models[name] |= _figures(by_model[name])
    total = _figures(outcomes)
    faults = Counter(f"{outcome.group}: {outcome.fault}" for outcome in outcomes if outcome.fault)
    targets_met = total["failed"] == 0 and total["mean_ms"] <= MEAN_MS_MAX and total["p99_ms"] <= P99_MS_MAX
    _, gateway_mb = memory_mb(running.gateways())
    return {
        "rate": options.rate,
        "seconds": options.seconds,
        **total,
        "gateway_pss_mb": gateway_mb,
        "replicas_pss_mb": sum(model["pss_mb"] or 0.0 for model in models.values()),
        "targets": {"mean_ms": MEAN_MS_MAX, "p99_ms": P99_MS_MAX, "failed": 0},
        "targets_met": targets_met,
        "faults": dict(faults.most_common(20)),
        "models": models,
    }


def _figures(outcomes: Sequence[openloop.Outcome]) -> dict[str, Any]:
    latencies_ms = np.asarray([outcome.latency_s for outcome in outcomes]) * 1000
    if not len(latencies_ms):
        return {"requests": 0, "mean_ms": math.inf, "p50_ms": math.inf, "p99_ms": math.inf, "failed": 0}
    return {
        "requests": len(outcomes),
        "mean_ms": float(latencies_ms.mean()),
        "p50_ms": float(np.percentile(latencies_ms, 50)),
        "p99_ms": float(np.percentile(latencies_ms, 99)),
        "failed": sum(outcome.fault is not None for outcome in outcomes),
    }


COLUMNS = {
    "kind": "kind",
    "file MB": "file_mb",
    "register s": "register_s",
    "ready s": "ready_s",
    "RSS MB": "rss_mb",
    "PSS MB": "pss_mb",
    "requests": "requests",
    "mean ms": "mean_ms",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "failed": "failed",
}
"""Heads of the table, and where their figures lie."""


def _text(report: dict[str, Any]) -> str:
    rows = [(name, *(model[key] for key in COLUMNS.values())) for name, model in report["models"].items()]
    figures = (
        f"mean {report['mean_ms']:.1f} ms (target {MEAN_MS_MAX:g})",
        f"p50 {report['p50_ms']:.1f} ms",
        f"p99 {report['p99_ms']:.1f} ms (target {P99_MS_MAX:g})",
        f"{report['failed']} failed (target 0)",
    )
    lines = [
        table(("model", *COLUMNS), rows),
        "",
        f"{report['requests']:,} requests at {report['rate']:g}/s: {', '.join(figures)}",
        f"memory: replicas {report['replicas_pss_mb']:,.0f} MB together, gateway {report['gateway_pss_mb']:,.0f} MB",
        *(f"  {count} x {fault}" for fault, count in report["faults"].items()),
        "targets met" if report["targets_met"] else "TARGETS MISSED",
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkFailed as failure:
        sys.exit(f"twenty_models.py: {failure}")
