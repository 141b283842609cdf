"""Sections of serving.py about requests of 1,000 rows: how fast they are, and how little they hold up small ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lib import http, wrk
from lib.models import ModelFiles
from lib.processes import BenchmarkFailed
from lib.rounds import LOAD_CORE, WARM_UP_S, Figures, Plan, Ready, all_up, median, say, show, take_turns
from lib.targets import Target

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


# -- beside small requests --------------------------------------------------------------------------------------------

FLOODS = {"JSON": (1, 4), "binary": (1, 4)}
"""Connections of the client that floods, by what it sends."""


def flood(model: ModelFiles, plan: Plan) -> tuple[Figures, list[Target]]:
    """The 99th percentile of clients with one row, alone and beside one client that sends 1,000 rows without end."""
    found: dict[str, list[wrk.Figures]] = {}
    with all_up(("tidegate",), model, plan) as (small,):
        large = {"JSON": _as_json(small), "binary": _as_binary(small)}
        for _ in range(plan.rounds):
            found.setdefault("alone", []).append(_beside(small, None, 0, plan))
            for kind, numbers in FLOODS.items():
                for number in numbers:
                    found.setdefault(_flood_name(kind, number), []).append(_beside(small, large[kind], number, plan))
    figures = {name: median(rounds) for name, rounds in found.items()}
    show(f"{model.name}: one row a request, {plan.connections} connections, beside a flood", figures, "alone")
    alone_ms = figures["alone"].p99_ms
    return figures, [
        Target(f"flood of {name}: p99 of one row, times alone", 2.0, one.p99_ms / alone_ms, at_most=True)
        for name, one in figures.items()
        if name != "alone"
    ]


def _flood_name(kind: str, connections: int) -> str:
    return f"{kind}, {connections} connection{'s' if connections > 1 else ''}"


def _beside(small: Ready, large: Ready | None, connections: int, plan: Plan) -> wrk.Figures:
    """The small requests' figures; the flood begins before them and ends after them."""
    seconds = WARM_UP_S + plan.seconds
    with ThreadPoolExecutor(1) as other:
        if large is not None:
            flooding = other.submit(
                wrk.load, large.url, large.lua, seconds=seconds + 1, connections=connections, core=LOAD_CORE
            )
        wrk.load(small.url, small.lua, seconds=WARM_UP_S, connections=plan.connections, core=LOAD_CORE)
        figures = wrk.load(small.url, small.lua, seconds=plan.seconds, connections=plan.connections, core=LOAD_CORE)
        beside = flooding.result().requests_per_s if large is not None else 0.0
    say(f"  beside {connections} connections with {beside:,.0f} large requests/s: p99 {figures.p99_ms:.2f} ms")
    return figures
