"""An experiment's report: one HTML text of at most `BYTES_MAX`, whatever the number of looks, arms and metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.draw.markup import element, shortened, text
from tidegate.draw.scales import MISSING, written
from tidegate.draw.times import moment
from tidegate.report import parts
from tidegate.report.decisions import figures, reading
from tidegate.wire.experiments.experiments import ExperimentView, GuardrailView, MetricView

BYTES_MAX = 2_000_000
LOOKS_MAX, METRICS_MAX, GUARDRAILS_MAX, TURNS_MAX, ARMS_MAX = 20_000, 6, 12, 100, 20
"""Of looks the newest; of metrics and guardrails those with a picture; of changes of the decision the newest."""
REASON_CHARS_MAX = 600


@dataclass(frozen=True)
class ExperimentReport:
    """What a report is of, and when it was made (seconds since 1970)."""

    view: ExperimentView
    made_at: float


def render(report: ExperimentReport) -> str:
    """The whole page; it loads nothing and runs nothing."""
    view = replace(report.view, looks=report.view.looks[-LOOKS_MAX:], arms=report.view.arms[:ARMS_MAX])
    sections = [
        _header(view, report.made_at),
        _decision(view),
        _sequences(view),
        _metrics(view),
        _guardrails(view),
        _units(view),
        _phases(view),
        _why(view),
    ]
    return parts.page(f"{view.name} at {view.endpoint}: experiment", sections, _how(view))


def _how(view: ExperimentView) -> str:
    return (
        "A unit (a user, an account: whatever the key names) is in one arm, and counts once, when its window has "
        "passed. Estimates are made within each phase. Intervals are confidence sequences: they hold at every look, "
        f"so that looking often does not make errors more frequent than the {written(100 * view.alpha)} % that was "
        "agreed on. Where nothing can be known, nothing is decided."
    )


def _header(view: ExperimentView, made_at: float) -> str:
    arms = ", ".join(f"{one.variant}: version {shortened(one.version)}" for one in view.arms)
    lines = [f"made {moment(made_at)}", arms]
    if view.started_at is not None:
        until = "goes on" if view.ended_at is None else f"to {moment(view.ended_at)}"
        lines.insert(1, f"from {moment(view.started_at)} {until}")
    title = f"{text(shortened(view.name))} <small>{text(f'experiment at {view.endpoint}')}</small>"
    return element("h1", title) + element("p", text(" · ".join(lines)), class_="sub")


def _decision(view: ExperimentView) -> str:
    state, decision = reading.STATES[view.state], reading.DECISIONS[view.decision]
    tags = element("span", parts.tag(*state) + (parts.tag(*decision) if view.state != "draft" else ""), class_="tags")
    lines = [element("p", f"{tags} {element('b', text(reading.headline(view)))}")]
    if view.reason:
        lines.append(element("p", text(_sentence(view.reason))))
    if view.next:
        lines.append(element("p", f"{element('b', 'What happens next: ')}{text(_sentence(view.next))}"))
    lines += [element("p", text(_sentence(one)), class_="warn") for one in view.warnings[:10]]
    return parts.section("What came of it", "decision", "".join(lines) + _facts(view))


def _facts(view: ExperimentView) -> str:
    facts = [
        ("decides", "by itself" if view.auto else "a person, by approval"),
        ("on a breach", {"rollback": "roll back", "hold": "hold", "alert": "only tell"}[view.on_breach]),
        ("at most", f"{written(view.max_days)} day{'' if view.max_days == 1 else 's'}"),
        ("error rate", f"{written(100 * view.alpha)} %"),
    ]
    if view.expected_days is not None:
        facts.append(("expected", reading.days(view.expected_days)))
    if view.days_left is not None and view.ended_at is None:
        facts.append(("left", reading.days(view.days_left)))
    listed = "".join(element("div", element("dt", name) + element("dd", text(value))) for name, value in facts)
    return element("dl", listed, class_="facts")


def _sequences(view: ExperimentView) -> str:
    names = reading.metric_names(view.metrics)
    if not view.looks or not names:
        return parts.section("Over time", "sequence", parts.aside("Nothing was looked at yet."))
    drawn = [_sequence(view, name) for name in names[:METRICS_MAX]]
    said = parts.aside(
        "The line is the estimate, the band is where it may really be. While the band takes in no difference, the "
        "arms may be equal."
    )
    more = parts.more(len(names), METRICS_MAX, "in the table below")
    return parts.section("Over time", "sequence", said + "".join(drawn) + more)


def _sequence(view: ExperimentView, name: str) -> str:
    said = [
        element("p", text(shortened(reading.effect_said(one), REASON_CHARS_MAX)))
        for one in view.metrics
        if one.name == name
    ]
    head = element("header", element("h3", parts.name(name)))
    plot = element("div", figures.sequence(view, name).__html__(), class_="seq")
    return element("article", head + "".join(said[:ARMS_MAX]) + plot, class_="card")


def _metrics(view: ExperimentView) -> str:
    if not view.metrics:
        return ""
    headers = ("metric", "treatment", "model_a_mean", "model_b_mean", "improvement", "lower", "upper", "p_value",
               "significant", "winner", "units", "method")  # fmt: skip
    shown = view.metrics[: METRICS_MAX * ARMS_MAX]
    said = parts.aside(
        f"Model a is {view.model_a} (control), model b the treatment's. improvement is (b - a)/a, between "
        "lower and upper at every look; p_value is valid at every look too."
    )
    made = parts.table(headers, [_metric_row(one) for one in shown], "lines")
    return parts.section("Metrics", "metrics", said + made + parts.more(len(view.metrics), len(shown), "left out"))


def _metric_row(one: MetricView) -> list[str]:
    return [
        parts.name(one.name),
        parts.name(one.variant),
        parts.value(one.model_a_mean),
        parts.value(one.model_b_mean),
        parts.percent(one.improvement),
        parts.percent(one.lower),
        parts.percent(one.upper),
        parts.small(one.p_value),
        "yes" if one.significant else "no",
        text(one.winner or MISSING),
        f"{one.units_a:,} and {one.units_b:,}",
        parts.name(one.method or MISSING),
    ]


def _guardrails(view: ExperimentView) -> str:
    if not view.guardrails:
        return parts.section("Guardrails", "guardrails", parts.aside("None was set."))
    shown = view.guardrails[:GUARDRAILS_MAX]
    overall = element("div", figures.guardrails(shown).__html__(), class_="slim")
    cards = element("div", "".join(_guardrail(view, one) for one in shown), class_="cards")
    more = parts.more(len(view.guardrails), len(shown), "left out")
    return parts.section("Guardrails", "guardrails", overall + cards + more)


def _guardrail(view: ExperimentView, one: GuardrailView) -> str:
    head = element("h3", parts.name(reading.guardrail_about(one))) + parts.tag(one.state, reading.GUARDRAILS[one.state])
    said = element("p", text(reading.guardrail_said(one)))
    plot = figures.guardrail_course(view.looks, one).__html__() if view.looks else ""
    arm = element("span", text(one.variant), class_="sub")
    return element("article", element("header", head + arm) + said + plot, class_="card")


def _units(view: ExperimentView) -> str:
    ratio = element("p", text(reading.ratio_said(view.ratio)), class_=None if view.ratio.sound else "bad")
    drawn = [figures.units(view.arms)]
    if (shares := figures.shares(view.arms)) is not None:
        drawn.append(shares)
    if view.looks:
        drawn.append(figures.units_over_time(view.looks))
    said = parts.aside("Maturing units were exposed, and their window has not passed: they are not compared yet.")
    plots = element("div", "".join(element("div", one.__html__()) for one in drawn), class_="pair")
    return parts.section("Units", "units", ratio + said + plots)


def _phases(view: ExperimentView) -> str:
    if not view.phases:
        return ""
    rows = [[str(one.phase), moment(one.since), f"{written(100 * one.coverage)} %"] for one in view.phases[-TURNS_MAX:]]
    return parts.section("Phases", "phases", parts.table(("Phase", "Since", "Units that take part"), rows, "lines"))


def _why(view: ExperimentView) -> str:
    found = reading.turns(view.looks)
    if not found:
        return ""
    rows = [
        [
            moment(one.since),
            parts.tag(*reading.DECISIONS[one.decision]),
            f"{one.looks:,}",
            text(shortened(_sentence(one.reason), REASON_CHARS_MAX)),
        ]
        for one in reversed(found[-TURNS_MAX:])
    ]
    made = parts.table(("Since", "Decision", "Looks", "Why, at the last of them"), rows)
    return parts.section("Why it was decided", "why", made + parts.more(len(found), TURNS_MAX, "left out"))


def _sentence(said: str) -> str:
    said = said.strip()
    return f"{said[:1].upper()}{said[1:]}{'' if said[-1:] in '.!?' else '.'}"
