"""Experiments as text for 80 columns: what is known first, then the numbers it stands on. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tidegate.cli.output import WIDTH, moment, table
from tidegate.wire.experiments.experiments import AaView, ExperimentView, GuardrailView, MetricView

AXIS = 41
"""Characters of a drawn interval, with no change in its middle."""
_STATES = {
    "draft": "not started",
    "running": "running",
    "paused": "paused",
    "waiting_for_traffic": "waits for traffic",
    "decided": "decided",
    "stopped": "stopped",
}

_BREACHES = {"rollback": "rolls back on a breach", "hold": "holds on a breach", "alert": "tells of a breach"}


def shown(view: ExperimentView) -> str:
    """One experiment."""
    parts = [_head(view), _known(view), _arms(view)]
    if view.metrics:
        parts.append(_metrics(view))
    if view.guardrails:
        parts.append(_guardrails(view.guardrails))
    parts.append(_ratio(view))
    parts += [textwrap.fill(f"note: {one}", WIDTH, subsequent_indent="  ") for one in view.warnings]
    return "\n\n".join(part for part in parts if part)


def listed(endpoint: str, views: Sequence[ExperimentView]) -> str:
    """Those of an endpoint."""
    rows = [
        [
            view.name,
            _STATES[view.state],
            view.decision.replace("_", " "),
            " ".join(arm.version for arm in view.arms),
            _percent(view.improvement),
            moment(view.started_at),
        ]
        for view in views
    ]
    headers = ("name", "state", "decision", "versions", "change", "started")
    return table(headers, rows, f"endpoint {endpoint} has no experiments")


def checked(found: AaView) -> str:
    """An A/A check."""
    rows = [[one.name, f"{one.units:,}", _share(one.rate), _share(one.fixed_rate)] for one in found.metrics]
    verdicts = (textwrap.fill(f"{one.name}: {one.verdict}", WIDTH, subsequent_indent="  ") for one in found.metrics)
    text = (
        f"{found.endpoint}: units captured from {moment(found.since)} to {moment(found.until)}, split at random "
        f"{found.repetitions:,} times, each looked at {found.looks} times"
    )
    why = "'found' is how often the metric's own test found a difference at any look, 'fixed' how often a t-test would."
    return "\n\n".join(
        [
            textwrap.fill(text, WIDTH),
            table(("metric", "units", "found", "fixed"), rows, "it has no metrics"),
            *verdicts,
            textwrap.fill(why, WIDTH),
        ]
    )


def _head(view: ExperimentView) -> str:
    words = [f"{view.endpoint}/{view.name}", _STATES[view.state]]
    if view.state == "running" and view.phase is not None and len(view.phases) > 1:
        words.append(f"phase {view.phase}, {100 * view.phases[-1].coverage:g} % of units")
    parts = [f"since {moment(view.started_at)}"] if view.started_at else []
    parts.append("promotes by itself" if view.auto else "promotes after approval")
    parts.append(_BREACHES[view.on_breach])
    parts.append(f"at most {view.max_days:g} day{'' if view.max_days == 1 else 's'}")
    return " · ".join(words) + "\n" + _folded("; ".join(parts))


def _folded(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _known(view: ExperimentView) -> str:
    decision = view.decision.replace("_", " ")
    if view.state == "stopped" and view.decision not in ("promote", "rollback", "inconclusive"):
        decision = "nothing decided"
    lines = [f"{decision}: {view.reason}" if view.reason else decision]
    if view.next:
        lines.append(f"next: {view.next}")
    if view.state == "draft" and view.expected_days is not None:
        lines.append(f"expected: about {_days(view.expected_days)}, by the metric's own history")
    elif view.days_left and view.active and "left" not in view.next:
        lines.append(f"left: about {_days(view.days_left)}")
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines)


def _arms(view: ExperimentView) -> str:
    rows = [
        [arm.variant, arm.version, f"{arm.share:g} %", f"{arm.exposed:,}", f"{arm.units:,}", f"{arm.immature:,}"]
        for arm in view.arms
    ]
    return table(("arm", "version", "share", "seen", "in analysis", "maturing"), rows, "")


def _metrics(view: ExperimentView) -> str:
    many = len(view.arms) > 2
    rows = [
        [
            f"{one.name} ({one.variant})" if many else one.name,
            _number(one.model_a_mean),
            _number(one.model_b_mean),
            _percent(one.improvement),
            _interval(one),
            _p(one.p_value),
            _verdict(one),
        ]
        for one in view.metrics
    ]
    headers = ("metric", "control", "treatment", "change", "between", "p", "")
    drawn = _drawn(view.metrics, many=many)
    return table(headers, rows, "") + (f"\n\n{drawn}" if drawn else "")


def _drawn(metrics: Sequence[MetricView], *, many: bool) -> str:
    """Intervals of the change on one axis, whose middle is no change."""
    known = [one for one in metrics if one.lower is not None and one.upper is not None]
    if not known:
        return ""
    reach = max(max(abs(one.lower or 0.0), abs(one.upper or 0.0)) for one in known) or 1.0
    names = [f"{one.name} ({one.variant})" if many else one.name for one in known]
    wide = min(max(map(len, names)), WIDTH - AXIS - 4)
    lines = [
        f"  {name[:wide]:<{wide}}  {_bar(one.lower or 0.0, one.improvement, one.upper or 0.0, reach)}"
        for name, one in zip(names, known, strict=True)
    ]
    left, right = f"{-100 * reach:+.3g} %", f"{100 * reach:+.3g} %"
    scale = left + "0".center(AXIS - len(left) - len(right)) + right
    return "\n".join([*lines, f"  {'':<{wide}}  {scale}"])


def _bar(lower: float, middle: float | None, upper: float, reach: float) -> str:
    """An interval as `......[==|==o====].....`."""
    half = AXIS // 2

    def at(value: float) -> int:
        return max(0, min(AXIS - 1, half + round(value / reach * half)))

    cells = ["."] * AXIS
    for place in range(at(lower), at(upper) + 1):
        cells[place] = "="
    cells[half] = "|"
    cells[at(lower)], cells[at(upper)] = "[", "]"
    if middle is not None:
        cells[at(middle)] = "o"
    return "".join(cells)


def _guardrails(guardrails: Sequence[GuardrailView]) -> str:
    rows = [
        [
            one.name + (" (dry run)" if one.dry_run else ""),
            one.variant,
            _number(one.value),
            _number(one.bound),
            f"{one.kind} {one.margin:g}",
            one.state,
        ]
        for one in guardrails
    ]
    return table(("guardrail", "arm", "value", "bound", "limit", "state"), rows, "")


def _ratio(view: ExperimentView) -> str:
    if view.ratio.bayes_factor is None:
        return ""
    factor = f"Bayes factor {view.ratio.bayes_factor:.3g}"
    if view.ratio.sound:
        return f"units came in the planned ratio ({factor})"
    text = (
        f"unhealthy: units did not come in the planned ratio ({factor}, 100 is the limit): "
        "something keeps or loses units of one arm, and no difference between the arms can be trusted"
    )
    return textwrap.fill(text, WIDTH, subsequent_indent="  ")


def _verdict(one: MetricView) -> str:
    if one.winner is not None:
        return "better" if one.winner == "b" else "worse"
    return "differs" if one.significant else ""


def _interval(one: MetricView) -> str:
    if one.lower is not None and one.upper is None:
        return f"at least {_percent(one.lower)}"
    if one.lower is None or one.upper is None:
        return "-"
    return f"{_percent(one.lower)} to {_percent(one.upper)}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f} %"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _days(value: float) -> str:
    if value < 1 / 24:
        return "an hour"
    return f"{24 * value:.0f} hours" if value < 2 else f"{value:.0f} days"
