"""What a request to create an experiment means, with all that is refused before there is one. Called by `lifecycle`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from sqlalchemy.orm import Session

from tidegate.core.endpoints.compatibility import compare, listed
from tidegate.core.endpoints.weights import check_weights
from tidegate.core.experiments.grammar import duration_text, effect_of, guardrail_of, metric_of
from tidegate.core.names import check_name
from tidegate.errors import Conflict, InvalidArgument, SignatureChanged
from tidegate.services.reading.lookup import version_or_raise
from tidegate.store.experiments import experiments as rows
from tidegate.store.fleet.fleet import capture_rules_of, load_versions
from tidegate.store.tables import EndpointRow
from tidegate.wire.experiments.experiments import ArmSpec, ExperimentRequest, ExperimentSpec, Guardrail, Metric

DAY_S = 86_400.0
ARMS_MAX, METRICS_MAX = 8, 20
DAYS_USUAL, DAYS_MAX, ALPHA_MAX = 30.0, 365.0, 0.5
ALPHA_MIN = MDE_MIN = 1e-6
SHORTENED = "it may run for "
"""How a warning begins that says that a pause made it shorter than was asked for."""
DAYS_ASIDE = 0.05
"""Pauses shorter than this are not worth a shorter experiment: rows are forgotten by the hour."""
EVERY_S_MIN = 1.0
CONTROL, TREATMENT = "control", "treatment"
Numbered = Callable[[str], str | None]
"""A version's number, label or alias as a number or label that is known here."""


@dataclass(frozen=True)
class Asked:
    """What a request asks for, as it can be read without looking at the endpoint."""

    request: ExperimentRequest
    metrics: tuple[Metric, ...]
    guardrails: tuple[Guardrail, ...]
    versions: tuple[str | None, ...]
    """Of control, then of the treatments."""


def read(request: ExperimentRequest, numbered: Numbered) -> Asked:
    """The request's own mistakes. Raises `InvalidArgument`, and what `numbered` raises of an alias."""
    if request.name is not None:
        check_name(request.name, "experiment")
    if not request.treatments:
        raise InvalidArgument("name a treatment: the version to compare with control", field="treatments")
    if len(request.treatments) >= ARMS_MAX:
        raise InvalidArgument(f"an experiment has up to {ARMS_MAX} arms, control among them", field="treatments")
    if not request.metrics:
        raise InvalidArgument(
            "name a metric: what is measured, and which way is better, as converted:increase:proportion,window=7d",
            field="metrics",
        )
    metrics = tuple(metric_of(text) for text in request.metrics[: METRICS_MAX + 1])
    guardrails = tuple(guardrail_of(text, metrics) for text in request.guardrails[: METRICS_MAX + 1])
    _check_several("metrics", [one.name for one in metrics])
    _check_several("guardrails", [f"{one.metric.name}:{one.kind}" for one in guardrails])
    _check_measured_alike(guardrails)
    _check_numbers(request)
    return Asked(request, metrics, guardrails, tuple(numbered(one) for one in (request.control, *request.treatments)))


def spec_of(tx: Session, endpoint: EndpointRow, asked: Asked, platform_retain_s: float) -> ExperimentSpec:
    """What is asked for, of versions that are there and that clients can be given alike.

    `platform_retain_s`: how long captured rows are kept where the endpoint does not say; 0: nothing is captured.

    Raises `UnknownVersion`, `InvalidArgument`, `SignatureChanged`.
    """
    request = asked.request
    numbers = [version_or_raise(tx, endpoint.model, one).version for one in asked.versions]
    mde, absolute = effect_of(request.mde)
    if not absolute and mde < MDE_MIN:
        raise InvalidArgument(f"mde must be at least {MDE_MIN:f}: write it as 0.05, 5% or abs:0.01", field="mde")
    _check_signatures(tx, endpoint, numbers, accepted=request.accept_signature_change)
    spec = ExperimentSpec(
        arms=_arms(numbers, _split(request.split, len(numbers))),
        metrics=asked.metrics,
        guardrails=asked.guardrails,
        mde=mde,
        mde_absolute=absolute,
        alpha=request.alpha,
        max_days=DAYS_USUAL if request.max_days is None else request.max_days,
        auto=request.auto,
        on_breach=request.on_breach,
        on_no_traffic=request.on_no_traffic,
        ramp=tuple(float(step) for step in request.ramp) or (100.0,),
        ramp_every_s=request.ramp_every_s,
    )
    if request.max_days is None:
        days = min(DAYS_USUAL, days_kept(endpoint, spec, platform_retain_s))
        spec = replace(spec, max_days=days) if days >= 1 else spec
    return spec


def check_captured(endpoint: EndpointRow, spec: ExperimentSpec, platform_retain_s: float) -> list[str]:
    """What is worth knowing of what will be captured of it, in sentences.

    Raises `InvalidArgument` where nothing is captured, or rows are gone before the experiment ends.
    """
    rules = capture_rules_of(endpoint)
    if not platform_retain_s:
        raise InvalidArgument(
            "nothing is captured on this platform (TIDEGATE_JOURNAL_BYTES_MAX is 0), so nobody could tell who was in "
            "which arm: set it to its default again",
            field="endpoint",
        )
    if rules.sample <= 0:
        raise InvalidArgument(
            f"nothing is captured of endpoint {endpoint.name!r}, so nobody could tell who was in which arm: set its "
            f"sample ('tidegate capture-settings {endpoint.name} --sample 1')",
            field="endpoint",
        )
    fits = days_kept(endpoint, spec, platform_retain_s)
    if spec.max_days > fits:
        kept_s, longest = rules.retain_s or platform_retain_s, _longest(spec)
        needed = spec.max_days + (longest.window_s + longest.delay_s) / DAY_S
        instead = f"set --max-days {math.floor(fits * 10) / 10:g}, or keep" if fits >= 0.1 else "keep"
        raise InvalidArgument(
            f"rows of endpoint {endpoint.name!r} are kept for {duration_text(kept_s)}, and an experiment of "
            f"{spec.max_days:g} days whose {longest.name} takes {duration_text(longest.window_s + longest.delay_s)} "
            f"needs them for {needed:.3g} days: {instead} them for longer "
            f"('tidegate capture-settings {endpoint.name} --retain {math.ceil(needed)}d')",
            field="max_days",
        )
    warnings = [
        f"guardrail {one.metric.name}:margin={one.value:g} is a share of control's errors: while control has none, it "
        "cannot be shown to be kept, and nothing is promoted. An amount can, such as "
        f"{one.metric.name}:margin=abs:0.01"
        for one in spec.guardrails
        if one.metric.source == "errors" and one.kind == "margin" and not one.absolute and not one.dry_run
    ]
    if rules.sample < 1:
        warnings += [
            f"{rules.sample:.0%} of the requests are captured: units with few requests may be missed, and it takes "
            "longer ('tidegate capture-settings --sample 1' captures all)"
        ]
    return warnings


def fitted(endpoint: EndpointRow, spec: ExperimentSpec, platform_retain_s: float, paused_s: float) -> ExperimentSpec:
    """With as few days as fit when it has been paused so long in all: its first rows get older meanwhile."""
    fits = days_kept(endpoint, spec, platform_retain_s) - paused_s / DAY_S
    return spec if spec.max_days - fits <= DAYS_ASIDE else replace(spec, max_days=round(fits, 2))


def days_kept(endpoint: EndpointRow, spec: ExperimentSpec, platform_retain_s: float) -> float:
    """How many days it may take, so that the rows of its first day are still there at its end."""
    longest = _longest(spec)
    kept_s = capture_rules_of(endpoint).retain_s or platform_retain_s
    return (kept_s - longest.window_s - longest.delay_s) / DAY_S


def _longest(spec: ExperimentSpec) -> Metric:
    measured = (*spec.metrics, *(one.metric for one in spec.guardrails))
    return max(measured, key=lambda one: one.window_s + one.delay_s)


def free_name(tx: Session, endpoint: EndpointRow, asked: str | None, spec: ExperimentSpec) -> str:
    """The name asked for, else one of its versions that no other has. Raises `Conflict` for one that is taken."""
    if asked is not None:
        if rows.get(tx, endpoint.uid, asked) is not None:
            raise Conflict(
                f"endpoint {endpoint.name!r} has an experiment {asked!r} already: give this one another name",
                endpoint=endpoint.name,
                experiment=asked,
            )
        return asked
    base = "-vs-".join(f"v{arm.version}" for arm in spec.arms[:3])
    taken = {row.name for row in rows.of_endpoint(tx, endpoint.uid)}
    return next(name for name in _numbered(base) if name not in taken)


def _numbered(base: str) -> Sequence[str]:
    return [base, *(f"{base}-{number}" for number in range(2, rows.KEPT_MAX + 1000))]


def _arms(numbers: Sequence[str], split: Sequence[float]) -> tuple[ArmSpec, ...]:
    names = [CONTROL, TREATMENT, *(f"{TREATMENT}-{place}" for place in range(2, len(numbers)))]
    return tuple(ArmSpec(*one) for one in zip(names, numbers, split, strict=False))


def with_split(spec: ExperimentSpec, split: Sequence[float]) -> ExperimentSpec:
    """The same with other percents for its arms; equal ones where none are given. Raises `InvalidArgument`."""
    shares = _split(split, len(spec.arms))
    return replace(spec, arms=tuple(replace(arm, share=share) for arm, share in zip(spec.arms, shares, strict=True)))


def _split(given: Sequence[float], arms: int) -> list[float]:
    """Percent of each arm. Equal where nothing is said, and adding up to 100 exactly."""
    if not given:
        equal = round(100.0 / arms, 6)
        return [100.0 - equal * (arms - 1)] + [equal] * (arms - 1)
    split = [float(one) for one in given]
    if len(split) != arms:
        raise InvalidArgument(
            f"the split has {len(split)} parts, and there are {arms} arms: write percent of each, control's first",
            field="split",
        )
    if min(split) <= 0:
        raise InvalidArgument("each arm needs a part of the split above 0", field="split")
    try:
        check_weights({str(place): one for place, one in enumerate(split)})
    except InvalidArgument:
        written = "/".join(f"{one:g}" for one in split)
        raise InvalidArgument(
            f"the split {written} does not add up to 100 (it is {sum(split):g}): write it as 50/50", field="split"
        ) from None
    return split


def _check_several(field: str, names: Sequence[str]) -> None:
    if len(names) > METRICS_MAX:
        raise InvalidArgument(f"an experiment has up to {METRICS_MAX} {field}", field=field)
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise InvalidArgument(f"{twice} is among the {field} twice: name it once", field=field)


def _check_measured_alike(guardrails: Sequence[Guardrail]) -> None:
    """A name is one metric among the guardrails: its units are gathered once."""
    known: dict[str, Metric] = {}
    for one in guardrails:
        if known.setdefault(one.metric.name, one.metric) != one.metric:
            raise InvalidArgument(
                f"guardrails on {one.metric.name} measure it in two ways: give each of them the same options (type, "
                "window, delay, cap, …)",
                field="guardrails",
            )


def _check_numbers(request: ExperimentRequest) -> None:
    _check_within("alpha", request.alpha, ALPHA_MAX, "the rate of wrong decisions, as 0.05")
    if request.alpha < ALPHA_MIN:
        raise InvalidArgument(f"alpha must be at least {ALPHA_MIN:f}: write it as 0.05", field="alpha")
    if request.max_days is not None:
        _check_within("max_days", request.max_days, DAYS_MAX, "days after which it ends without a result, as 30")
    if not EVERY_S_MIN <= request.ramp_every_s <= DAYS_MAX * DAY_S:  # also catches NaN
        raise InvalidArgument(
            f"ramp_every_s must be at least {EVERY_S_MIN:g} s and at most {DAYS_MAX:g} days", field="ramp_every_s"
        )
    ramp = list(request.ramp)
    if any(not 0 < step <= 100 for step in ramp) or any(b <= a for a, b in pairwise(ramp)):
        raise InvalidArgument(
            "a ramp is the percent of units that take part, step by step, each higher than the one before, "
            "as 10,50,100",
            field="ramp",
        )


def _check_within(field: str, value: float, most: float, what: str) -> None:
    if not 0 < value <= most:  # also catches NaN
        raise InvalidArgument(f"{field} is {what}: above 0 and at most {most:g}, not {value:g}", field=field)


def _check_signatures(tx: Session, endpoint: EndpointRow, numbers: Sequence[str], *, accepted: bool) -> None:
    facts = load_versions(tx, {(endpoint.model, number) for number in numbers})
    control = numbers[0]
    for number in dict.fromkeys(numbers[1:]):
        changes = compare(facts[endpoint.model, control].signature, facts[endpoint.model, number].signature)
        if changes.breaking and not accepted:
            raise SignatureChanged(
                f"clients of endpoint {endpoint.name!r} would notice: version {number} of {endpoint.model!r} is not "
                f"used as version {control} is: {listed(changes.breaking)}. Compare it once its clients are ready for "
                "it, with --accept-signature-change (REST: accept_signature_change)",
                endpoint=endpoint.name,
                version=number,
                live=control,
                changes=list(changes.breaking),
                told=list(changes.compatible),
            )
