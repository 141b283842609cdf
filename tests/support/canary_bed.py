"""A real store with a canary or a guard, and captured requests and gateways' counts that tests make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from support.control import ME
from tidegate.core.captured import Columns
from tidegate.errors import CaptureUnreadable
from tidegate.loops.canary import CanarySteps
from tidegate.services.canaries.guarding import GuardLooks
from tidegate.services.canaries.looking import CanaryLooks
from tidegate.services.canaries.use_cases import Canaries
from tidegate.services.endpoints.guards import Guarding
from tidegate.store.endpoints.automation import effective_of
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.wire.experiments.canary import CanaryRequest, CanaryView
from tidegate.wire.parts import AnsweredView
from tidegate.wiring import Container

EVERY_S = 600.0
NAN = float("nan")


@dataclass
class Requests:
    """What gateways recorded: so many requests of each side a second, from a moment on."""

    at: float
    each: int = 0
    failing: int = 0
    code: int = 500
    slower: float = 1.0
    answer: float = 0.5
    trouble: str = ""

    def rows(
        self,
        table: str,
        _endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> Columns:
        assert version is None
        if self.trouble:
            raise CaptureUnreadable(self.trouble)
        made = self._answered() if table == "predictions" else self._failed()
        kept = (made["at"] >= since_s) & (made["at"] < until_s)
        return {name: made[name][kept] for name in columns or made}

    def labelled(self, *_asked: Any) -> Columns:
        raise NotImplementedError

    def _answered(self) -> Columns:
        draw = np.random.default_rng(1)
        sides = [("baseline", "1", self.each), ("canary", "2", self.each - self.failing)]
        variant = np.array([name for name, _, rows in sides for _ in range(rows)], dtype=object)
        rows = variant.size
        answers = draw.integers(0, 10, rows).astype(np.float64)
        if self.answer != self.answer or self.answer != 0.5:
            answers[variant == "canary"] = self.answer
        durations = draw.lognormal(1, 0.2, rows) * np.where(variant == "canary", self.slower, 1.0)
        return self._with(
            variant,
            {"row": np.zeros(rows, dtype=np.int64), "duration_ms": durations, "output_prediction": answers},
        ) | {"cached": np.zeros(rows, dtype=bool), "sample_rate": np.ones(rows)}

    def _failed(self) -> Columns:
        variant = np.array(["canary"] * self.failing, dtype=object)
        codes = np.full(self.failing, self.code)
        ones = np.ones(self.failing, dtype=np.int64)
        return self._with(variant, {"code": codes, "calls": ones, "duration_ms": np.full(self.failing, 2.0)})

    def _with(self, variant: Any, more: Columns) -> Columns:
        rows = variant.size
        keys = np.array([f"u{n}" for n in range(rows)], dtype=object)
        return {
            "variant": variant,
            "version": np.where(variant == "canary", "2", "1").astype(object),
            "at": np.full(rows, self.at),
            "pinned": np.zeros(rows, dtype=bool),
            "key": keys,
            **more,
        }


@dataclass
class Bed:
    """A platform that leads, its clock, and what the loop would do."""

    container: Container
    now: float = 1000.0
    captured: Requests = field(default_factory=lambda: Requests(1000.0))
    counts: AnsweredView | None = None

    def __post_init__(self) -> None:
        self.fenced = self.container.store.fenced(self.container.leadership.fence)
        guarding = Guarding(600.0, lambda _endpoint, _version: None)
        self.endpoints = replace(self.container.endpoints, guarding=guarding, clock=self.clock)
        self.canaries = Canaries(self.container.store, self.container.registry, self.clock, lambda: None)
        self.restart()

    def restart(self) -> None:
        """A control plane that has just begun to lead: it knows what the store has."""
        looks = CanaryLooks(self.fenced, self.captured, lambda *_: None, self.clock, lambda: None)
        guards = GuardLooks(self.fenced, lambda *_: self.counts, self.clock, lambda: None)
        self.steps = CanarySteps(self.fenced, looks, guards, self.clock)

    def clock(self) -> float:
        return self.now

    def begin(self, *steps: float, **more: Any) -> CanaryView:
        request = CanaryRequest(version="2", steps=list(steps or (5.0, 50.0, 100.0)), every_s=EVERY_S, **more)
        return self.canaries.begin("churn", request, ME)

    def routed(self) -> None:
        """The reconcile loop has brought to gateways what is in effect."""
        with self.container.store.transaction() as tx:
            row = get_endpoint(tx, "churn")
            assert row is not None
            now = effective_of(row)
            row.routed, row.routed_split = dict(now.traffic), {} if now.split is None else asdict(now.split)

    def look(self, after_s: float = 10.0) -> CanaryView:
        self.now += after_s
        self.steps.step()
        return self.canaries.get("churn")

    def step(self, **requests: Any) -> CanaryView:
        """A step's weights are routed, requests come, and its time passes."""
        self.routed()
        self.look()
        self.captured.__dict__.update({"at": self.now + EVERY_S, "each": 2000, **requests})
        return self.look(EVERY_S + 5.0)

    @property
    def traffic(self) -> dict[str, float]:
        return self.container.endpoints.get("churn").target

    @property
    def asked(self) -> dict[str, float] | None:
        return self.container.endpoints.get("churn").asked
