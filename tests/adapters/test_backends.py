"""The engines of a platform: that each one named can be built, and whose server status shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.memory_backend import MemoryBackend
from tidegate.adapters.backends import BUILDERS, BuiltEngine, EngineParts, Engines, build_engines
from tidegate.console import deploying
from tidegate.core.engines.capabilities import ENGINES
from tidegate.settings import Settings
from tidegate.wire.parts import EngineView

FIRST, SECOND = EngineView("first:1", "ready"), EngineView("second:2", "ready")


def no_image(_spec: object) -> None:
    raise AssertionError("no image is needed to build an engine")


def test_every_engine_that_can_be_named_is_built_under_its_name(tmp_path: Path) -> None:
    assert list(BUILDERS) == list(ENGINES)
    engines = build_engines(EngineParts(Settings.from_env({}, data_dir=tmp_path), tmp_path, {}, no_image))
    assert {name: engine.backend.name for name, engine in engines.by_name.items()} == {name: name for name in ENGINES}


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
