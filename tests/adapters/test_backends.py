"""The engines of a platform: that each one named can be built, and whose server status shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.memory_backend import MemoryBackend
from support.memory_workloads import MemoryWorkloads
from tidegate.adapters.backends import BUILDERS, WORKLOADS, BuiltEngine, EngineParts, Engines, build_engines
from tidegate.console import deploying
from tidegate.core.engines.capabilities import ENGINES, PLACING_THEMSELVES
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Handle
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings
from tidegate.wire.parts import EngineView

FIRST, SECOND = EngineView("first:1", "ready"), EngineView("second:2", "ready")


def no_image(_spec: object) -> None:
    raise AssertionError("no image is needed to build an engine")


def test_every_engine_that_can_be_named_is_built_under_its_name(tmp_path: Path) -> None:
    assert (*BUILDERS, *WORKLOADS) == tuple(ENGINES)
    engines = build_engines(EngineParts(Settings.from_env({}, data_dir=tmp_path), tmp_path, {}, no_image))
    assert {name: engine.backend.name for name, engine in engines.by_name.items()} == {name: name for name in BUILDERS}
    assert {name: engine.name for name, engine in engines.workloads.items()} == {name: name for name in WORKLOADS}
    assert tuple(WORKLOADS) == PLACING_THEMSELVES


def test_one_that_places_replicas_itself_is_checked_read_and_shown_beside_the_others() -> None:
    elsewhere = MemoryWorkloads()
    engines = Engines({"first": BuiltEngine(MemoryBackend("first"))}, {elsewhere.name: elsewhere})
    engines.backend.check(Placement(elsewhere.name))
    assert engines.backend.logs(Handle(elsewhere.name, {"replica": "churn-v1-1"}), 5) == ["log of churn-v1-1"]
    assert engines.view(elsewhere.name) == EngineView("kubernetes", "ready", backend="kubernetes")
    elsewhere.unavailable = "the API server does not answer"
    assert engines.view(elsewhere.name) == EngineView(
        "kubernetes", "unavailable", reason="the API server does not answer", backend="kubernetes"
    )
    with pytest.raises(InvalidArgument, match="first, kubernetes"):
        engines.backend.check(Placement("ecs"))


def test_the_console_offers_every_engine() -> None:
    assert [name for name, _words in deploying.ENGINES if name] == list(ENGINES)


@pytest.mark.parametrize(
    ("default", "used", "shown"),
    [("none", set(), None), ("none", {"second"}, SECOND), ("first", set(), FIRST), ("second", {"first"}, FIRST)],
)
def test_status_shows_the_server_of_an_engine_that_is_used(
    default: str, used: set[str], shown: EngineView | None
) -> None:
    engines = Engines(
        {
            "none": BuiltEngine(MemoryBackend("none"), used=lambda: True),
            "first": BuiltEngine(MemoryBackend("first"), lambda: FIRST, lambda: "first" in used),
            "second": BuiltEngine(MemoryBackend("second"), lambda: SECOND, lambda: "second" in used),
        }
    )
    assert engines.view(default) == shown
