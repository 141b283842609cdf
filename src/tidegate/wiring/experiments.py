"""The parts of experiments, wired: use cases for the API, and the loop that decides. Called by `wiring.build`."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tidegate.core.captured import CapturedUnits
from tidegate.loops.experiment import ExperimentLoop
from tidegate.loops.runner import Loop
from tidegate.sequential.analysis import analyse
from tidegate.sequential.decision import decide
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.experiments.deciding import Deciding, Judging
from tidegate.services.experiments.lifecycle import Experiments
from tidegate.services.experiments.past import ExperimentPast
from tidegate.services.experiments.telling import Tell
from tidegate.services.experiments.units import ExperimentUnits
from tidegate.settings import Settings
from tidegate.store.database.engine import Store


@dataclass(frozen=True)
class ExperimentParts:
    """The use cases, what the loop does, and the loop."""

    experiments: Experiments
    deciding: Deciding
    loop: Loop


def experiment_parts(
    settings: Settings,
    endpoints: Endpoints,
    fenced: Store,
    captured: CapturedUnits,
    tell: Tell,
) -> ExperimentParts:
    """`endpoints` are the API's; `fenced` is the leader's store; `tell` has alerts made of what becomes of them."""
    woken = threading.Event()
    retain_s = settings.capture_retain_s if settings.journal_bytes_max else 0.0
    experiments = Experiments(
        endpoints.store,
        endpoints.registry,
        endpoints.clock,
        endpoints.changed,
        woken.set,
        retain_s,
        ExperimentPast(captured, endpoints.clock),
        tell,
    )
    judging = Judging(ExperimentUnits(captured).gather, analyse, decide)
    deciding = Deciding(fenced, judging, endpoints.clock, endpoints.changed, tell)
    loop = ExperimentLoop(deciding, endpoints.clock)
    return ExperimentParts(
        experiments, deciding, Loop("experiment", loop.step, woken, leader_only=True, on_wake=loop.on_wake)
    )
