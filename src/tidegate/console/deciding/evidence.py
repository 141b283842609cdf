"""What is known of an experiment, as its page shows it: the same readings and figures as in its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.console import words
from tidegate.draw import Plot
from tidegate.draw.markup import shortened
from tidegate.draw.scales import written
from tidegate.report.decisions import figures, reading
from tidegate.wire.experiments.experiments import ExperimentView, MetricView

METRICS, GUARDRAILS, TURNS, REASON_CHARS_MAX = 6, 12, 30, 400

Verb = tuple[str, str, str]
"""What can be done: the verb, what its button says, and its look."""


@dataclass(frozen=True)
class EvidenceRow:
    """An experiment in the list."""

    view: ExperimentView
    state: tuple[str, str]
    decision: tuple[str, str] | None
    said: str


def row(view: ExperimentView) -> EvidenceRow:
    """One of the list, in a sentence."""
    decision = reading.decided(view)
    said = view.reason or reading.headline(view)
    return EvidenceRow(view, reading.STATES[view.state], decision, shortened(words.sentence(said), REASON_CHARS_MAX))


def verbs(view: ExperimentView) -> list[Verb]:
    """What can be done with an experiment as it is now, the most likely first. The API decides it again."""
    if view.state == "draft":
        return [("start", "Start", "primary"), ("stop", "Discard", "danger")]
    if view.state in ("decided", "stopped"):
        return []
    found: list[Verb] = []
    if view.state == "paused":
        found.append(("resume", "Resume", "primary"))
    else:
        if view.decision == "promote":
            found.append(("approve", "Approve the promotion", "primary"))
        if view.decision == "hold":
            found.append(("resume", "Lift the hold", ""))
        found.append(("pause", "Pause", ""))
    return [*found, ("stop", "Stop, and return to control", "danger")]


def shown(view: ExperimentView) -> dict[str, Any]:
    """Everything that the page has beside the state and the buttons."""
    names = reading.metric_names(view.metrics)
    return {
        "sequences": [
            (name, _said(view, name), figures.sequence(view, name)) for name in names[:METRICS] if view.looks
        ],
        "rows": [_cells(one) for one in view.metrics[: METRICS * 4]],
        "rails": [_rail(view, index) for index in range(min(len(view.guardrails), GUARDRAILS))],
        "rails_plot": figures.guardrails(view.guardrails[:GUARDRAILS]) if view.guardrails else None,
        "ratio": reading.ratio_said(view.ratio),
        "unit_plots": _unit_plots(view),
        "turns": [
            (one, reading.DECISIONS[one.decision], shortened(words.sentence(one.reason), REASON_CHARS_MAX))
            for one in reversed(reading.turns(view.looks)[-TURNS:])
        ],
    }


def _said(view: ExperimentView, name: str) -> Sequence[str]:
    return [shortened(reading.effect_said(one), REASON_CHARS_MAX) for one in view.metrics if one.name == name]


def _rail(view: ExperimentView, index: int) -> dict[str, Any]:
    one = view.guardrails[index]
    return {
        "about": reading.guardrail_about(one),
        "variant": one.variant,
        "state": one.state,
        "tone": reading.GUARDRAILS[one.state],
        "said": reading.guardrail_said(one),
        "plot": figures.guardrail_course(view.looks, one) if view.looks else None,
    }


def _unit_plots(view: ExperimentView) -> list[Plot]:
    plots = [figures.units(view.arms), figures.shares(view.arms)]
    if view.looks:
        plots.append(figures.units_over_time(view.looks))
    return [one for one in plots if one is not None]


def _cells(one: MetricView) -> tuple[str, list[str]]:
    """The metric of which treatment, and the fields that programs read, in their order."""
    shares = (_share(value) for value in (one.improvement, one.lower, one.upper))
    found = [_number(one.model_a_mean), _number(one.model_b_mean), *shares, _small(one.p_value)]
    last = [f"{one.units_a:,} and {one.units_b:,}", shortened(one.method, 40) or words.UNKNOWN]
    return f"{shortened(one.name)}, {shortened(one.variant)}", [
        *found, "yes" if one.significant else "no", one.winner or words.UNKNOWN, *last]  # fmt: skip


def _number(value: float | None) -> str:
    return words.UNKNOWN if value is None else written(value)


def _share(value: float | None) -> str:
    return words.UNKNOWN if value is None else f"{100 * value:.1f} %"


def _small(value: float | None) -> str:
    if value is None:
        return words.UNKNOWN
    return written(value) if value == 0 or value >= 1e-4 else f"{value:.0e}"
