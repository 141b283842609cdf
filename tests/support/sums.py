"""A replica in the test's own process whose model adds up rows of three, and requests to it that keep their answers."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from tidegate.dataplane.calls.call import Destination
from tidegate.dataplane.http.routes import RouteTable
from tidegate.dataplane.pipeline.infer import Exchange, InferenceEngine
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.signature import Signature, TensorSpec


class Sums:
    """Answers the sum of each row. Takes float64, or what `datatype` says."""

    def __init__(self, datatype: str = "FP64") -> None:
        inputs = (TensorSpec("input", datatype, (-1, 3)),)
        self.signature = Signature("matrix", inputs, (TensorSpec("prediction", "FP64", (-1,)),))

    def predict(self, inputs: Any, wanted: Any) -> Any:
        return {"prediction": inputs["input"].astype(np.float64).sum(axis=1)}


async def sums_replica(datatype: str = "FP64") -> tuple[InferenceEngine, Any]:
    """The replica's engine, and its hooks, whose `on_stop` ends it."""
    model = Sums(datatype)
    manifest = Manifest("sums", "1", "d" * 64, ".", "python", model.signature, [1.0, 2.0, 3.0], batchable=True)
    engine, _, hooks = build_replica(manifest, model, Settings.from_env(), None)
    return engine, hooks


class Kept(Exchange):
    """A request that keeps the status and the body of its answer in `sent`."""

    def __init__(
        self, engine: InferenceEngine, path: str, body: bytes, headers: dict[bytes, bytes] | None = None
    ) -> None:
        route = RouteTable().find(path.encode())
        assert route is not None
        super().__init__(engine, route, {b"x-request-id": b"mine", **(headers or {})})
        self.body = body
        self.sent: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:
        self.sent.set_result((status, body))
