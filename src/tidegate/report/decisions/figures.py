"""Pictures of decisions: sequences over time, guardrails and their margins, units by arm, a canary's steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tidegate.draw import (
    Axis,
    Band,
    Limit,
    Line,
    Parts,
    Plot,
    PlotRow,
    PlotSize,
    Stair,
    bar_share,
    interval_series,
    limits,
    rows,
    series,
    stairs,
)
from tidegate.draw.markup import shortened
from tidegate.report.decisions.reading import (
    DECISIONS,
    FINAL,
    guardrail_about,
    guardrail_key,
    guardrail_unit,
    metric_of,
    turns,
)
from tidegate.wire.experiments.canary import CanaryView
from tidegate.wire.experiments.experiments import ArmView, ExperimentView, GuardrailView, LookView
from tidegate.wire.experiments.shadows import PairedView

WIDE, COURSE, SMALL = PlotSize(560.0, 200.0), PlotSize(480.0, 170.0), PlotSize(360.0, 140.0)
SAID_CHARS_MAX, NAME_CHARS_MAX = 250, 60
LOOKS_MAX, TREATMENTS_MAX = 300, 6
"""Of more looks evenly chosen ones are drawn, with the first and the last; of more treatments the first."""


def sequence(view: ExperimentView, metric: str, size: PlotSize = WIDE) -> Plot:
    """A metric's improvement over time with its confidence sequence, of each treatment; when it was decided."""
    variants = list(dict.fromkeys(one.variant for one in view.metrics if one.name == metric))
    looks = _chosen(view.looks)
    bands = [_band(looks, metric, variant) for variant in variants[:TREATMENTS_MAX]]
    axis = Axis("%", from_zero=False, level=("no difference", 0.0), marks=_marks(view), events=_events(view.looks))
    return interval_series(
        f"{_name(metric)}: improvement over control's, over time",
        [one.at for one in looks],
        bands,
        axis,
        size,
        shortened(view.reason, SAID_CHARS_MAX),
    )


def _chosen(looks: Sequence[LookView]) -> Sequence[LookView]:
    if len(looks) <= LOOKS_MAX:
        return looks
    return [looks[round(at * (len(looks) - 1) / (LOOKS_MAX - 1))] for at in range(LOOKS_MAX)]


def _name(of: str) -> str:
    return shortened(of, NAME_CHARS_MAX)


def _band(looks: Sequence[LookView], metric: str, variant: str) -> Band:
    found = [metric_of(one.metrics, metric, variant) for one in looks]
    values, lower, upper = (
        [None if one is None or (share := getattr(one, field)) is None else 100 * share for one in found]
        for field in ("improvement", "lower", "upper")
    )
    ends = [_open_where_unbounded(low, high) for low, high in zip(lower, upper, strict=True)]
    return Band(_name(variant), values, [low for low, _ in ends], [high for _, high in ends])


def _open_where_unbounded(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """An interval with one end has no other: JSON has no infinity. With neither, none is known."""
    if (low is None) == (high is None):
        return low, high
    return -math.inf if low is None else low, math.inf if high is None else high


def _marks(view: ExperimentView) -> list[tuple[str, float]]:
    """New phases, and the decision that ended it."""
    found = [(f"phase {one.phase}", one.since) for one in view.phases[1:]]
    final = next((one for one in turns(view.looks) if one.decision in FINAL), None)
    if final is not None:
        found.append((DECISIONS[final.decision][0], final.since))
    elif view.ended_at is not None:
        found.append(("ended", view.ended_at))
    return found


def _events(looks: Sequence[LookView]) -> list[tuple[str, float]]:
    """From when on units did not come in the planned ratio."""
    first = next((one.at for one in looks if not one.ratio.sound), None)
    return [] if first is None else [("ratio is not sound", first)]


def guardrails(found: Sequence[GuardrailView]) -> Plot:
    """Each beside what it must keep. Of margins: by how much worse than control."""
    several = len({one.variant for one in found}) > 1
    given = [
        Limit(
            f"{_name(one.name)}{', worse by' if one.kind == 'margin' else ''}"
            f"{f' ({_name(one.variant)})' if several else ''}",
            _in_unit(one, one.value),
            _in_unit(one, one.bound),
            one.margin * guardrail_unit(one)[0],
            one.kind == "min",
            one.state,
            guardrail_unit(one)[1],
        )
        for one in found
    ]
    return limits("Guardrails and what they must keep", given)


def guardrail_course(looks: Sequence[LookView], of: GuardrailView, size: PlotSize = SMALL) -> Plot:
    """One guardrail over time: its value, the bound of its sequence, and the limit."""
    key, looks = guardrail_key(of), _chosen(looks)
    found = [next((one for one in look.guardrails if guardrail_key(one) == key), None) for look in looks]
    values = [None if one is None else _in_unit(one, one.value) for one in found]
    bounds = [None if one is None else _in_unit(one, one.bound) for one in found]
    times, unit = guardrail_unit(of)
    lower, upper = (bounds, values) if of.kind == "min" else (values, bounds)
    ends = [_ordered(low, high) for low, high in zip(lower, upper, strict=True)]
    band = Band(_name(of.name), values, [low for low, _ in ends], [high for _, high in ends])
    axis = Axis(unit, from_zero=False, level=("limit", of.margin * times))
    return interval_series(f"{guardrail_about(of)}: over time", [one.at for one in looks], [band], axis, size)


def _in_unit(one: GuardrailView, value: float | None) -> float | None:
    return None if value is None else value * guardrail_unit(one)[0]


def _ordered(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    if low is None or high is None:
        return None, None
    return min(low, high), max(low, high)


def units(arms: Sequence[ArmView]) -> Plot:
    """Units by arm: those in the analysis, and those whose window has not passed."""
    given = [PlotRow(f"{one.variant}, version {one.version}", [one.units, one.immature]) for one in arms]
    return rows("Units by arm", Parts(["matured", "maturing"], "units"), given)


def units_over_time(looks: Sequence[LookView], size: PlotSize = COURSE) -> Plot:
    """Matured and maturing units of all arms together, look by look."""
    looks = _chosen(looks)
    matured = Line("matured", [float(sum(arm.units for arm in one.arms)) for one in looks])
    maturing = Line("maturing", [float(sum(arm.immature for arm in one.arms)) for one in looks])
    return series("Units over time", [one.at for one in looks], [matured, maturing], Axis("units"), size)


def shares(arms: Sequence[ArmView]) -> Plot | None:
    """How units came, beside how they were shared out; None before the first came."""
    total = sum(one.exposed for one in arms)
    planned = sum(one.share for one in arms)
    if not total or planned <= 0:
        return None
    given = [PlotRow(one.variant, [100 * one.exposed / total], 100 * one.share / planned) for one in arms]
    return rows("Share of units by arm", Parts(["of units"], "%", "planned"), given)


def canary_steps(view: CanaryView, now: float, size: PlotSize = WIDE) -> Plot:
    """A canary's share of traffic, step by step: as it went, and the steps ahead while it goes on."""
    went: list[Stair] = []
    for one in view.history:  # a clock that was set back makes no step begin before the one before ends
        begin = max(one.since, went[-1].end) if went else one.since
        went.append(Stair(one.weight, begin, max(begin, now if one.until is None else one.until), one.reason))
    ahead = _ahead(view, max(now, went[-1].end if went else view.started_at))
    return stairs("Share of traffic, step by step", [*went, *ahead], size=size, description=view.reason)


def _ahead(view: CanaryView, now: float) -> list[Stair]:
    """What is planned, if every step takes the time that it should: none of a canary that has ended or is paused."""
    if view.state != "running" or view.ended_at is not None:
        return []
    begin = max(now, view.next_at or now)
    found = [Stair(view.weight, now, begin, "until it has its time and evidence", is_ahead=True)] if begin > now else []
    for weight in view.steps[view.step + 1 :]:
        found.append(Stair(weight, begin, begin + view.every_s, is_ahead=True))
        begin += view.every_s
    return found


def paired(view: PairedView) -> Plot:
    """Units by which of the two versions was right."""
    parts = [
        ("both right", float(view.both_right)),
        ("only live", float(view.only_live)),
        ("only the shadow", float(view.only_shadow)),
        ("both wrong", float(view.both_wrong)),
    ]
    return bar_share("Which version was right", parts, PlotSize(480.0, 14.0))
