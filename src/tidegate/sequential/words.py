"""What an analysis came to, in plain words. Called by decision."""

from __future__ import annotations

from tidegate.wire.experiments.experiments import GuardrailView, Metric, MetricView


def percent(share: float) -> str:
    """3.1 % of .0314; small ones with the digits that they have."""
    return f"{100 * share:.3g} %" if abs(share) < 0.001 else f"{100 * share:.1f} %"


def improvement(metric: Metric, view: MetricView) -> str:
    """How much better or worse a treatment is: "treatment's conversion is 3.1 % to 8.9 % better"."""
    subject = f"{view.variant}'s {metric.name}"
    low, high = view.lower, view.upper
    if low is not None and high is None and low > 0 and view.winner is not None:
        return f"{subject} is at least {percent(low)} {'better' if view.winner == 'b' else 'worse'}"
    if low is None or high is None:
        word = "better" if view.winner == "b" else "worse" if view.winner == "a" else "not known to be different"
        return f"{subject} is {word}"
    sign = 1.0 if (metric.direction == "increase") == ((view.model_a_mean or 0.0) >= 0) else -1.0
    worst, best = sorted((sign * low, sign * high))
    if worst >= 0:
        return f"{subject} is {percent(worst)} to {percent(best)} better"
    if best <= 0:
        return f"{subject} is {percent(-best)} to {percent(-worst)} worse"
    return f"{subject} is between {percent(-worst)} worse and {percent(best)} better"


def breach(view: GuardrailView) -> str:
    """What a breached guardrail found."""
    if view.bound is None:
        return f"{view.variant}'s {view.name} is worse for certain, and control's is 0"
    if view.kind == "margin":
        at_least, margin = (
            (f"{view.bound:.4g}", f"{view.margin:.4g}")
            if view.absolute
            else (percent(view.bound or 0.0), percent(view.margin))
        )
        return f"{view.variant}'s {view.name} is worse by at least {at_least}, and may be by {margin}"
    side, word = ("above", "at least") if view.kind == "max" else ("below", "at most")
    return (
        f"{view.variant}'s {view.name} is {word} {view.bound:.4g}, {side} {view.margin:.4g}, and worse than control's"
    )


def days(count: float) -> str:
    """About how long: "about 3 days", "about 5 hours", "less than an hour"."""
    hours = count * 24
    if hours < 1:
        return "less than an hour"
    if hours < 36:
        return f"about {round(hours)} hour{'' if round(hours) == 1 else 's'}"
    return f"about {round(count)} days"


def listed(names: list[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
