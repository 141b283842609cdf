"""Experiments as people read them: states and decisions in words, what is known of a metric, when the decision changed.

Used by the report's page and by the console's, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.draw.markup import shortened
from tidegate.draw.scales import known, written
from tidegate.wire.experiments.experiments import (
    ExperimentDecision,
    ExperimentState,
    ExperimentView,
    GuardrailState,
    GuardrailView,
    LookView,
    MetricView,
    RatioView,
)

STATES: Mapping[ExperimentState, tuple[str, str]] = {
    "draft": ("draft", "idle"),
    "running": ("running", "info"),
    "paused": ("paused", "warn"),
    "waiting_for_traffic": ("waiting for traffic", "warn"),
    "decided": ("decided", "ok"),
    "stopped": ("stopped", "idle"),
}
DECISIONS: Mapping[ExperimentDecision, tuple[str, str]] = {
    "insufficient_data": ("too little is known", "idle"),
    "continue": ("go on", "info"),
    "promote": ("promote", "ok"),
    "rollback": ("roll back", "bad"),
    "hold": ("hold", "warn"),
    "inconclusive": ("inconclusive", "idle"),
}
GUARDRAILS: Mapping[GuardrailState, str] = {"unknown": "idle", "ok": "ok", "undecided": "warn", "breached": "bad"}
"""A word (and a tone of it) for each state of an experiment, each decision and each guardrail."""
FINAL: Sequence[ExperimentDecision] = ("promote", "rollback", "inconclusive")


def decided(view: ExperimentView) -> tuple[str, str] | None:
    """The word and tone of its decision; None for a draft, and for one that ended before anything was decided."""
    if view.state == "draft" or (view.ended_at is not None and view.decision not in FINAL):
        return None
    return DECISIONS[view.decision]


def days(count: float) -> str:
    """About how long: "less than an hour", "about 5 hours", "about 3 days"."""
    if count < 1 / 24:
        return "less than an hour"
    number, noun = (round(count), "day") if count >= 2 else (round(24 * count), "hour")
    return f"about {number:,} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Turn:
    """From when to when looks came to the same decision, and why at the last of them. Seconds since 1970."""

    decision: ExperimentDecision
    since: float
    until: float
    looks: int
    reason: str


def turns(looks: Iterable[LookView]) -> list[Turn]:
    """When the decision changed, the oldest first."""
    found: list[Turn] = []
    for one in looks:
        if found and found[-1].decision == one.decision:
            last = found[-1]
            found[-1] = Turn(last.decision, last.since, one.at, last.looks + 1, one.reason)
        else:
            found.append(Turn(one.decision, one.at, one.at, 1, one.reason))
    return found


def metric_names(found: Iterable[MetricView]) -> list[str]:
    """Each metric once, in the order of the experiment."""
    return list(dict.fromkeys(one.name for one in found))


def metric_of(found: Iterable[MetricView], name: str, variant: str) -> MetricView | None:
    """One treatment's metric among those of a look; None where that look had none."""
    return next((one for one in found if (one.name, one.variant) == (name, variant)), None)


def guardrail_key(one: GuardrailView) -> tuple[str, str, str]:
    """What is the same guardrail at every look."""
    return one.name, one.variant, one.kind


def guardrail_about(one: GuardrailView) -> str:
    """A guardrail's name, and what it bounds."""
    what = {"margin": "worse by", "max": "at most", "min": "at least"}[one.kind]
    return f"{shortened(one.name)}, {what}{' (dry run)' if one.dry_run else ''}"


def guardrail_unit(one: GuardrailView) -> tuple[float, str]:
    """What its numbers are multiplied with to be read, and their unit then: margins are shares unless absolute."""
    return (100.0, "%") if one.kind == "margin" and not one.absolute else (1.0, "")


def guardrail_said(one: GuardrailView, beside: str = "control") -> str:
    """What is known of it, in a sentence. `beside` is what it is compared with."""
    times, unit = guardrail_unit(one)

    def amount(of: float) -> str:
        return f"{written(of * times)} {unit}".strip()

    bounds = {
        "margin": f"It may be worse than {beside}'s by {amount(one.margin)}",
        "max": f"It must not be above {amount(one.margin)} and worse than {beside}'s",
        "min": f"It must not be below {amount(one.margin)} and worse than {beside}'s",
    }[one.kind]
    value, bound = known(one.value), known(one.bound)
    if one.state == "unknown" or value is None:
        return f"{bounds}; nothing is known of it yet."
    now = f"is worse by {amount(value)}" if one.kind == "margin" else f"is {amount(value)}"
    if one.kind == "margin" and value <= 0:
        now = "is not worse"
    reach = "" if bound is None else f", and the bound of its sequence is {amount(bound)}"
    end = {"ok": "which keeps it", "undecided": "which decides nothing yet", "breached": "which breaks it"}[one.state]
    return f"{bounds}; it {now}{reach}, {end}."


def share_said(share: float) -> str:
    """`3.1 %` of 0.031."""
    return f"{written(100 * share)} %"


def effect_said(one: MetricView) -> str:
    """What is known of a metric, in a sentence; of one of which nothing is, what is missing."""
    name, variant = shortened(one.name), shortened(one.variant)
    if one.model_a_mean is None or one.model_b_mean is None:
        waiting = f"; {one.immature:,} wait for their window to pass" if one.immature else ""
        return f"Nothing can be said of {name} yet: {one.units_a:,} and {one.units_b:,} units are in{waiting}."
    means = f"{written(one.model_a_mean)} at control and {written(one.model_b_mean)} at {variant}"
    if one.improvement is None:
        return f"{name} is {means}: no share of control's value, which is 0."
    moved = f"{share_said(abs(one.improvement))} {'higher' if one.improvement >= 0 else 'lower'}"
    between = _bounds_said(known(one.lower), known(one.upper))
    end = {"a": "control is better", "b": f"{variant} is better"}.get(one.winner or "", "this may be chance")
    return f"{name} is {means}: {moved}{between}. {end[0].upper()}{end[1:]}."


def _bounds_said(lower: float | None, upper: float | None) -> str:
    """Between what the change lies; where one end is not known, from where on or up to where, and that of the other."""
    if lower is not None and upper is not None:
        return f", and lies between {share_said(lower)} and {share_said(upper)}"
    if lower is not None:
        return f", and is at least {share_said(lower)}: nothing bounds it from above yet"
    if upper is not None:
        return f", and is at most {share_said(upper)}: nothing bounds it from below yet"
    return ", and nothing bounds it yet"


def ratio_said(one: RatioView) -> str:
    """Whether units came in the planned ratio, in words."""
    factor = known(one.bayes_factor)
    if factor is None:
        said = "Nothing is known yet of the ratio in which units come."
    elif one.sound:
        said = f"Units came in the planned ratio (Bayes factor {written(factor)}; from 100 on they do not)."
    else:
        said = (
            f"Units did not come as they were shared out (Bayes factor {written(factor)}): nothing can be said of the "
            "arms, because some units got lost on the way."
        )
    if one.several:
        count = f"{one.several:,} unit{'s' if one.several != 1 else ''}"
        said += f" {count} came to more than one arm, and {'are' if one.several != 1 else 'is'} left out."
    return said


def headline(view: ExperimentView) -> str:
    """What came of it, or how it stands, in one sentence."""
    if view.state == "draft":
        return "It has not begun: nobody has started it."
    word, _ = DECISIONS[view.decision]
    if view.ended_at is None:
        return {
            "insufficient_data": "Too little is known to decide anything.",
            "continue": "Nothing is decided yet: it goes on.",
            "promote": "A treatment is better, and ready to be promoted.",
            "rollback": "A treatment does harm: traffic goes back to control.",
            "hold": "It is held: nothing is decided until a person has looked.",
            "inconclusive": "It ended without an answer.",
        }[view.decision]
    if view.state == "stopped" and view.decision not in FINAL:
        return "Somebody stopped it before anything was decided; control has the traffic."
    return {
        "promote": f"Version {_winner(view)} was better, and has the traffic now.",
        "rollback": "A treatment did harm, and control has the traffic again.",
        "inconclusive": "No difference was found in the time that it had; control has the traffic.",
    }.get(view.decision, f"It ended: {word}.")


def _winner(view: ExperimentView) -> str:
    """The version of the arm that won; the second arm's where no metric says."""
    won = next((one.variant for one in view.metrics if one.winner == "b"), None)
    versions = [one.version for one in view.arms if one.variant == won]
    return versions[0] if versions else view.arms[1].version if len(view.arms) > 1 else view.model_b
