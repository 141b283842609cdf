"""A platform with an endpoint, a clock in the test's hand, and units that the test makes up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from support.control import ME, add_version, container_at
from tidegate.sequential.analysis import analyse
from tidegate.sequential.decision import decide
from tidegate.sequential.units import Exposed, Units
from tidegate.services.experiments.deciding import Deciding, Judging
from tidegate.services.experiments.lifecycle import Experiments
from tidegate.wire.experiments.experiments import ExperimentRequest, ExperimentSpec, ExperimentView, PhaseView
from tidegate.wire.rest import DeployRequest, Endpoint
from tidegate.wiring import Container

DAY_S = 86_400.0


@dataclass
class Captured:
    """What there is to gather: by metric and arm so many ones among so many units, all of the newest phase."""

    values: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    asked: list[list[PhaseView]] = field(default_factory=list)
    phase: int | None = None
    several: int = 0
    shares: list[int] | None = None
    newest_at: float | None = None

    def gather(
        self, _spec: ExperimentSpec, _place: tuple[str, str], _started: float, phases: Sequence[PhaseView], _now: float
    ) -> _Gathered:
        self.asked.append(list(phases))
        phase = phases[-1].phase if self.phase is None else self.phase
        units = {name: _units(arms, phase) for name, arms in self.values.items()}
        exposed = self.shares or [max((arms[k][1] for arms in self.values.values()), default=0) for k in range(2)]
        return _Gathered(
            units, Exposed({phase: exposed} if any(exposed) else {}, self.several), self.warnings, self.newest_at
        )


@dataclass(frozen=True)
class _Gathered:
    units: Mapping[str, Units]
    exposed: Exposed
    warnings: Sequence[str]
    newest_at: float | None = None


def _units(arms: Sequence[tuple[int, int]], phase: int) -> Units:
    arm = np.concatenate([np.full(size, place) for place, (_, size) in enumerate(arms)]).astype(np.int64)
    value = np.concatenate([np.arange(size) < ones for ones, size in arms]).astype(np.float64)
    return Units(arm, np.full(arm.size, phase, np.int64), value)


class Bed:
    """An endpoint `churn` that serves version 1, with versions 2 and 3 beside it."""

    def __init__(self, folder: Path) -> None:
        self.container: Container = container_at(folder / "data")
        self.now, self.changes = 1_700_000_000.0, 0
        for number in ("1", "2", "3"):
            add_version(self.container, "churn", number)
        self.container.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
        self.captured = Captured()
        self.experiments: Experiments = replace(self.container.experiments, clock=self.clock, changed=self._changed)
        self.deciding = Deciding(
            self.container.fenced,
            Judging(self.captured.gather, analyse, decide),
            self.clock,
            self._changed,
            self.container.alerts.state.told,
        )

    def clock(self) -> float:
        return self.now

    def _changed(self) -> None:
        self.changes += 1

    def create(self, **given: Any) -> ExperimentView:
        usual: dict[str, Any] = {
            "control": "1",
            "treatments": ["2"],
            "metrics": ["converted:increase:proportion,window=1d"],
            "name": "blue",
            "start": True,
        }
        return self.experiments.create("churn", ExperimentRequest(**(usual | given)), ME)

    def look(self, after_s: float = 60.0) -> ExperimentView:
        """A look, so much later; the state after it."""
        self.now += after_s
        for number in self.deciding.live():
            self.deciding.look(number)
        return self.view()

    def view(self, name: str = "blue") -> ExperimentView:
        return self.experiments.get("churn", name)

    def endpoint(self) -> Endpoint:
        return self.container.endpoints.get("churn")

    def alerts(self) -> list[tuple[str, str]]:
        """Those that there are, newest first: state and message."""
        found, _ = self.container.alerts.state.page(100)
        return [(one.state, one.message) for one in found]

    def history(self) -> list[tuple[str, str, str]]:
        """Newest first: action, actor, note."""
        return [(one.action, one.actor, one.note) for one in self.container.endpoints.history("churn")]
