"""gRPC (V2, raw tensors), one row a request: the part of serving.py that serving_grpc.py runs alone."""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from lib import processes, wrk
from lib.contenders import CONTENDERS, Server
from lib.models import ModelFiles
from lib.processes import BenchmarkFailed
from lib.rounds import LOAD_CORE, Plan, figures_table, median, new_server, say
from lib.targets import Target

LOADER = Path(__file__).with_name("grpc_load.py")
CHECKED = 50
START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Asked:
    """How a server's model, input and output are called."""

    model: str
    input: str
    output: str
    note: str


ASKED = {
    "tidegate": Asked("benchmark", "input", "probabilities", "gateway, two variants, journal"),
    "tidegate-serve": Asked("benchmark", "input", "probabilities", "one replica, no platform"),
    "mlserver": Asked("m", "predict", "predict_proba", "grpc.aio, adaptive batching"),
}


def grpc(model: ModelFiles, plan: Plan) -> tuple[Mapping[str, wrk.Figures], list[Target]]:
    """Requests per second through each server's gRPC port."""
    names = [name for name in ASKED if name != "mlserver" or "mlserver" in plan.peers]
    figures = {name: _measure(name, model, plan) for name in names}
    notes = {name: asked.note for name, asked in ASKED.items()}
    print(f"\n{model.name}: gRPC, one row a request, {plan.connections} connections, median of {plan.rounds}\n")
    print(figures_table(figures, notes), flush=True)
    if "mlserver" not in figures:
        return figures, []
    times = figures["tidegate"].requests_per_s / figures["mlserver"].requests_per_s
    return figures, [Target(f"{model.name}: gRPC, times MLServer's", 2.0, times)]


def _measure(name: str, model: ModelFiles, plan: Plan) -> wrk.Figures:
    asked, contender = ASKED[name], CONTENDERS[name]
    server = new_server(contender, model, plan)
    messages = server.folder / "messages.pickle"
    messages.write_bytes(pickle.dumps([message_of(asked, row) for row in model.rows]))
    with contender.serving(server):
        _check(asked, server)
        rounds = [_load(server, messages, plan) for _ in range(plan.rounds)]
    say(f"  {name:<24}gRPC {median(rounds).requests_per_s:>9,.0f} requests/s")
    return median(rounds)


def _load(server: Server, messages: Path, plan: Plan) -> wrk.Figures:
    argv = [sys.executable, str(LOADER), str(server.grpc_port), str(plan.seconds), str(plan.connections)]
    found = json.loads(processes.run(processes.pinned([*argv, str(messages)], LOAD_CORE)))
    return wrk.Figures(found["requests_per_s"], found["p50_ms"], found["p99_ms"], int(found["failed"]))


def message_of(asked: Asked, row: Sequence[float]) -> bytes:
    """A ModelInferRequest of one row."""
    request = service_pb2.ModelInferRequest(model_name=asked.model)
    request.inputs.add(name=asked.input, datatype="FP64", shape=[1, len(row)])
    request.outputs.add(name=asked.output)
    request.raw_input_contents.append(np.asarray(row, dtype="<f8").tobytes())
    message: bytes = request.SerializeToString()
    return message


def _check(asked: Asked, server: Server) -> None:
    """Wait for the first answer; then a sample must be the model's own."""
    client = triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
    model = server.model
    for row, expected in zip(model.rows[:CHECKED], model.probabilities[:CHECKED], strict=True):
        given = triton.InferInput(asked.input, [1, len(row)], "FP64")
        given.set_data_from_numpy(np.array([row]))
        answer = _ask(client, asked, given)
        if not np.allclose(answer.as_numpy(asked.output), [expected], atol=2e-4):
            raise BenchmarkFailed(f"{asked.model} is wrong: {answer.as_numpy(asked.output)}, the model says {expected}")
    client.close()


def _ask(client: Any, asked: Asked, given: Any) -> Any:
    started = time.monotonic()
    while True:
        try:
            return client.infer(asked.model, [given], outputs=[triton.InferRequestedOutput(asked.output)])
        except triton.InferenceServerException as error:
            if time.monotonic() - started > START_TIMEOUT_S:
                raise BenchmarkFailed(f"{asked.model} does not answer: {error}") from None
            time.sleep(0.2)
