"""The parts of serving.py: each measures one thing, prints its table and returns the targets it can judge."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import psutil

from lib import http, processes, wrk
from lib.contenders import CONTENDERS, CORE, FLOOR, ONNX_SERVERS, PEER_SERVERS, UNACCELERATED, Server, serve_argv
from lib.models import ModelFiles
from lib.platform import platform
from lib.processes import BenchmarkFailed
from lib.rounds import Plan, Ready, figures_table, new_server, say, take_turns, up
from lib.targets import Target

Figures = Mapping[str, wrk.Figures]
Section = Callable[[ModelFiles, Plan], "tuple[Figures, list[Target]]"]

BATCHING_PEERS = ("mlserver", "bentoml", "litserve", "ray", "mlflow")
"""Whose best counts as the best of the peers; FastAPI is the plain way and batches nothing."""
CURVE = (1, 8, 32, 128, 512)
PEER_TARGETS = {"forest": 25.0, "logistic": 17.0}
UNACCELERATED_TARGETS = {"forest": 3.0, "logistic": 8.0}
FIRST_ANSWER_S_MAX, RESIDENT_MB_MAX = 1.0, 110.0


@contextlib.contextmanager
def all_up(names: Sequence[str], model: ModelFiles, plan: Plan) -> Iterator[list[Ready]]:
    """Several servers side by side."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(up(name, model, plan)) for name in names]


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


def show(title: str, figures: Figures, ours: str = "tidegate") -> None:
    """The table under its title."""
    notes = {name: one.note for name, one in CONTENDERS.items()}
    print(f"\n{title}\n\n{figures_table(figures, notes, ours)}", flush=True)


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


# -- many rows a request ----------------------------------------------------------------------------------------------

TENSOR_ROWS, TENSOR_BODIES = 1000, 20
TENSOR_CONNECTIONS = 4  # more would wait for more rows than the queue of a version takes, and be refused


def tensors(model: ModelFiles, plan: Plan) -> tuple[Figures, list[Target]]:
    """1,000 rows of float64 a request: V2 with binary tensors and with JSON, beside MLServer's JSON."""
    names = ("tidegate", "mlserver") if "mlserver" in plan.peers else ("tidegate",)
    with all_up(names, model, plan) as servers:
        asked = [_as_json(one) for one in servers]
        asked.insert(0, _as_binary(servers[0]))
        figures = take_turns(asked, plan, TENSOR_CONNECTIONS)
    show(f"{model.name}: V2, {TENSOR_ROWS:,} rows of float64 a request (requests/s)", figures, "tidegate-binary")
    if "mlserver" not in plan.peers:
        return figures, []
    theirs = figures["mlserver-json"].requests_per_s
    return figures, [
        Target(
            f"tensors, {model.name}: {shown}, times MLServer's JSON",
            wanted,
            figures[f"tidegate-{shown.lower()}"].requests_per_s / theirs,
        )
        for shown, wanted in (("binary", 10.0), ("JSON", 3.0))
    ]


def _blocks(model: ModelFiles) -> list[Sequence[Sequence[float]]]:
    """Requests' rows: each begins elsewhere among all the rows."""
    rows, step = model.rows, len(model.rows) // TENSOR_BODIES
    return [[*rows, *rows][number * step : number * step + TENSOR_ROWS] for number in range(TENSOR_BODIES)]


def _v2_url(one: Ready) -> str:
    return one.url if one.name == "mlserver" else one.url.partition("/predict")[0] + "/v2/models/benchmark/infer"


def _as_json(one: Ready) -> Ready:
    names = ("predict", "predict_proba") if one.name == "mlserver" else ("input", "probabilities")
    bodies = [_v2_json(rows, *names) for rows in _blocks(one.server.model)]
    status, answer = http.post(_v2_url(one), bodies[0], timeout_s=60)
    _check_block(one, status, answer["outputs"][0]["data"] if status == 200 else [])
    return Ready(f"{one.name}-json", _v2_url(one), wrk.script(one.server.folder, "json", bodies), one.server)


def _v2_json(rows: Sequence[Sequence[float]], name: str, output: str) -> bytes:
    values = [value for row in rows for value in row]
    tensor = {"name": name, "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": values}
    return json.dumps({"inputs": [tensor], "outputs": [{"name": output}]}).encode()


def _as_binary(one: Ready) -> Ready:
    bodies, length = [], 0
    for rows in _blocks(one.server.model):
        head, raw = _v2_binary(rows)
        bodies.append(head + raw)
        length = len(head)
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)}
    status, answer = http.post_binary(_v2_url(one), bodies[0], headers)
    _check_block(one, status, answer)
    lua = wrk.script(one.server.folder, "binary", bodies, headers)
    return Ready(f"{one.name}-binary", _v2_url(one), lua, one.server)


def _v2_binary(rows: Sequence[Sequence[float]]) -> tuple[bytes, bytes]:
    raw = np.asarray(rows, dtype="<f8").tobytes()
    size = {"binary_data_size": len(raw)}
    tensor = {"name": "input", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "parameters": size}
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    return json.dumps({"inputs": [tensor], "outputs": outputs}).encode(), raw


def _check_block(one: Ready, status: int, values: Sequence[float]) -> None:
    """The first rows' probabilities must be the model's own."""
    expected = [value for row in one.server.model.probabilities for value in row]
    if status != 200 or len(values) != TENSOR_ROWS * len(one.server.model.probabilities[0]):
        raise BenchmarkFailed(f"{one.name} answered {status} with {len(values)} values for {TENSOR_ROWS} rows")
    if any(abs(got - want) > 2e-4 for got, want in zip(values, expected, strict=False)):
        raise BenchmarkFailed(f"{one.name} is wrong about a block of rows")


SECTIONS: dict[str, tuple[Section, Sequence[str]]] = {
    "main": (main_table, ("forest", "logistic")),
    "one": (one_connection, ("forest",)),
    "curve": (curve, ("forest",)),
    "bare": (bare, ("forest",)),
    "tensors": (tensors, ("forest", "logistic")),
}
"""Each with the models it is measured for."""
