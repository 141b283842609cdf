"""Versions that are replaced while a large request is read."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from support.sums import Kept, Sums, sums_replica
from tidegate.dataplane.base import stepwise
from tidegate.dataplane.calls.call import Destination
from tidegate.dataplane.protocols import mlflow as mlflow_edge
from tidegate.dataplane.protocols.pieces import infer_in_pieces
from tidegate.gateway.shared.response_cache import CachedAdmission
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Variant
from tidegate.wire.signature import ParamSpec

BODY = b'{"instances":[%b],"params":{"p":1}}' % b",".join([b"[1,2,3]"] * 5_000)


def _cached(batcher: Any, destination: Destination) -> CachedAdmission:
    pool, cache = SimpleNamespace(batcher=batcher, visitors=0), SimpleNamespace(admits=lambda: False)
    variant = Variant("1", "1", 100.0, "sums", "digest", destination.signature, [1, 2, 3], ())
    return CachedAdmission(
        cast(Any, pool), cast(Any, cache), RoutedEndpoint("sums", "salt", (variant,), cache_ttl_s=60), variant
    )


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Destination]:
    """The versions that requests were read for; nothing of a body is read by itself, and each pause ends a step."""
    found: list[Destination] = []
    fit = mlflow_edge._fit

    def noted(form: str, field: Any, destination: Destination) -> Any:
        found.append(destination)
        return fit(form, field, destination)

    monkeypatch.setattr(mlflow_edge, "_fit", noted)
    monkeypatch.setattr(mlflow_edge.MlflowEdge, "takes_numbers", lambda *_: False)
    monkeypatch.setattr(stepwise, "STEP_S", 0.0)
    return found


def _asked(change: Any) -> tuple[int, Kept]:
    """The status of a request during whose reading `change` makes, before each step, the destination anew."""

    async def go() -> tuple[int, Kept]:
        engine, hooks = await sums_replica()
        (first,) = engine.directory.services()["sums"].destinations()
        now = [change(first, 0)]
        service = SimpleNamespace(
            name="sums", decide=lambda *_: None, destination=lambda *_: now[0], destinations=lambda: [now[0]]
        )
        engine.directory = cast(Any, SimpleNamespace(services=lambda: {"sums": service}, only=lambda: service))
        exchange = Kept(engine, "/invocations", BODY)
        for number, _ in enumerate(infer_in_pieces(exchange, engine.clock()), 1):
            now[0] = change(first, number)
        status, _ = await asyncio.wait_for(exchange.sent, 10)
        await hooks.on_stop()
        return status, exchange

    return asyncio.run(go())


def test_new_admissions_to_the_same_version_have_nothing_read_again(reads: list[Destination]) -> None:
    def change(first: Destination, number: int) -> Destination:
        admission = (
            _cached(first.batcher, first) if number % 2 else first.batcher
        )  # also where answers are no longer kept
        return Destination(first.identity, first.signature, None, admission)

    assert _asked(change)[0] == 200
    assert len(reads) == 1


def test_what_is_read_again_says_nothing_of_the_version_before(
    reads: list[Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version before takes no params, and the client would be told that they are ignored."""
    taken: list[Any] = []

    def predict_with(model: Sums, params: Any, inputs: Any, wanted: Any) -> Any:
        taken.append(params)
        return model.predict(inputs, wanted)

    monkeypatch.setattr(Sums, "predict_with", predict_with, raising=False)

    def change(first: Destination, _: int) -> Destination:
        if not reads:
            return Destination(first.identity, first.signature, None, cast(Any, SimpleNamespace()))
        signature = msgspec.structs.replace(first.signature, params=(ParamSpec("p", "integer"),))
        return Destination(first.identity, signature, None, first.batcher)

    status, exchange = _asked(change)
    assert (status, len(reads), exchange.extra_head) == (200, 2, b"")
    assert taken
    assert all(params == {"p": 1} for params in taken)
