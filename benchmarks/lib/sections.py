"""The parts of serving.py: each measures one thing, prints its table and returns the targets it can judge."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence

import psutil

from lib import http, processes, wrk
from lib.contenders import CONTENDERS, CORE, FLOOR, ONNX_SERVERS, PEER_SERVERS, UNACCELERATED, Server, serve_argv
from lib.large import flood, tensors
from lib.models import ModelFiles
from lib.platform import platform
from lib.processes import BenchmarkFailed
from lib.rounds import Figures, Plan, all_up, new_server, say, show, take_turns, up
from lib.targets import Target

Section = Callable[[ModelFiles, Plan], "tuple[Figures, list[Target]]"]

BATCHING_PEERS = ("mlserver", "bentoml", "litserve", "ray", "mlflow")
"""Whose best counts as the best of the peers; FastAPI is the plain way and batches nothing."""
CURVE = (1, 8, 32, 128, 512)
PEER_TARGETS = {"forest": 25.0, "logistic": 17.0}
UNACCELERATED_TARGETS = {"forest": 3.0, "logistic": 8.0}
FIRST_ANSWER_S_MAX, RESIDENT_MB_MAX = 1.0, 110.0


def one_by_one(names: Sequence[str], model: ModelFiles, plan: Plan) -> dict[str, wrk.Figures]:
    """Servers that would disturb each other: each is started, measured and stopped."""
    figures: dict[str, wrk.Figures] = {}
    for name in names:
        try:
            with up(name, model, plan) as ready:
                figures |= take_turns([ready], plan, plan.connections)
        except BenchmarkFailed as failure:  # the others are worth measuring all the same
            say(f"  {name} could not be measured: {failure}")
            figures[name] = wrk.Figures(0.0, 0.0, 0.0, failed=1)
    return figures


# -- the main table ---------------------------------------------------------------------------------------------------


def main_table(model: ModelFiles, plan: Plan) -> tuple[Figures, list[Target]]:
    """Two variants behind a gateway, beside peers with the same joblib file, peers with the same ONNX file, and F1."""
    with all_up(("tidegate", "tidegate-serve", "floor"), model, plan) as servers:
        figures = take_turns(servers, plan, plan.connections)
    with up(UNACCELERATED.name, model, plan) as ready:
        figures |= take_turns([ready], plan, plan.connections)
    peers = [one.name for one in (*PEER_SERVERS, *ONNX_SERVERS) if one.environment in plan.peers]
    figures |= one_by_one(peers, model, plan)
    floor = figures.pop(FLOOR.name)
    figures = {**figures, FLOOR.name: floor}
    show(f"{model.name}: one row a request, {plan.connections} connections, median of {plan.rounds}", figures)
    return figures, _main_targets(model.name, figures)


def _main_targets(name: str, figures: Figures) -> list[Target]:
    rate = {key: one.requests_per_s for key, one in figures.items()}
    targets = []
    if batching := [rate[peer] for peer in BATCHING_PEERS if rate.get(peer)]:
        targets.append(Target(f"{name}: times the best peer", PEER_TARGETS[name], rate["tidegate"] / max(batching)))
    if name == "forest":
        targets.append(Target("forest: times F1", 1.0, rate["tidegate"] / rate["floor"]))
        targets.append(Target("forest: bare serve, times F1", 1.0, rate["tidegate-serve"] / rate["floor"]))
    if rate.get("mlserver"):
        measured = rate[UNACCELERATED.name] / rate["mlserver"]
        targets.append(Target(f"{name}: --no-accelerate, times MLServer", UNACCELERATED_TARGETS[name], measured))
    if onnx := [rate[one.name] for one in ONNX_SERVERS if rate.get(one.name)]:
        targets.append(Target(f"{name}: times the best peer with ONNX", 4.0, rate["tidegate"] / max(onnx)))
    return targets


# -- one connection, and many -----------------------------------------------------------------------------------------


def one_connection(model: ModelFiles, plan: Plan) -> tuple[Figures, list[Target]]:
    """The median latency of a client that asks one thing after the other."""
    with all_up(("tidegate", "tidegate-serve", "floor"), model, plan) as servers:
        figures = take_turns(servers, plan, 1)
    show(f"{model.name}: one connection", figures)
    above_ms = figures["tidegate"].p50_ms - figures["floor"].p50_ms
    return figures, [Target(f"{model.name}: p50 of one connection above F1's", 0.15, above_ms, "ms", at_most=True)]


def curve(model: ModelFiles, plan: Plan) -> tuple[Figures, list[Target]]:
    """Throughput and latency over the number of connections."""
    figures: dict[str, wrk.Figures] = {}
    with all_up(("tidegate",), model, plan) as servers:
        for connections in CURVE:
            figures[f"{connections} connections"] = take_turns(servers, plan, connections)["tidegate"]
    last = f"{CURVE[-1]} connections"
    show(f"{model.name}: over the number of connections", figures, last)
    rates = [one.requests_per_s for one in figures.values()]
    kept = min(rate / max(rates[:index]) for index, rate in enumerate(rates) if index)
    share = figures[last].p99_ms / (1000 * CURVE[-1] / rates[-1])
    return figures, [
        Target("curve: lowest share of the best at fewer connections", 0.9, kept),
        Target(f"curve: p99 at {CURVE[-1]} in {CURVE[-1]} / throughput", 3.0, share, at_most=True),
    ]


# -- a bare server ----------------------------------------------------------------------------------------------------


def bare(model: ModelFiles, plan: Plan) -> tuple[Figures, list[Target]]:
    """`tidegate serve` of an accelerated version: time from start to the first answer, and resident memory."""
    server = new_server(CONTENDERS["tidegate-serve"], model, plan)
    with platform(server.folder, core=CORE) as running:
        running.cli("register", str(model.joblib), "--name", "benchmark", "--allow-pickle")
    found = [_start(server) for _ in range(plan.rounds)]
    seconds = statistics.median(took_s for took_s, _ in found)
    resident_mb = statistics.median(memory_mb for _, memory_mb in found)
    print(f"\n{model.name}: tidegate serve of the accelerated version, median of {plan.rounds} starts")
    print(f"\n  first answer after {seconds:.2f} s, resident memory {resident_mb:.0f} MB", flush=True)
    return {}, [
        Target(f"{model.name}: bare serve, first answer", FIRST_ANSWER_S_MAX, seconds, "s", at_most=True),
        Target(f"{model.name}: bare serve, resident memory", RESIDENT_MB_MAX, resident_mb, "MB", at_most=True),
    ]


def _start(server: Server) -> tuple[float, float]:
    """Seconds to the first answer and MB after a hundred."""
    body = json.dumps({"features": server.model.rows[0]}).encode()
    url, started = f"http://127.0.0.1:{server.port}/predict", time.monotonic()
    with processes.running("tidegate serve", serve_argv(server), server.log, core=CORE) as running:
        while not _answered(url, body):
            if time.monotonic() - started > 60:
                raise BenchmarkFailed(f"tidegate serve did not answer in 60 s:\n{running.tail()}")
            time.sleep(0.01)
        took_s = time.monotonic() - started
        for _ in range(100):
            http.post(url, body)
        return took_s, psutil.Process(running.process.pid).memory_info().rss / 1e6


def _answered(url: str, body: bytes) -> bool:
    try:
        return http.post(url, body)[0] == 200
    except OSError:
        return False


SECTIONS: dict[str, tuple[Section, Sequence[str]]] = {
    "main": (main_table, ("forest", "logistic")),
    "one": (one_connection, ("forest",)),
    "curve": (curve, ("forest",)),
    "bare": (bare, ("forest",)),
    "tensors": (tensors, ("forest", "logistic")),
    "flood": (flood, ("forest",)),
}
"""Each with the models it is measured for."""
