"""What people ask of the autoscaler for one version: bounds, a target, and how fast to follow it, with its checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast, get_args

from tidegate.core.engines.capabilities import ENGINE, ENGINES, TELLING_CPU, TIDEGATE, Capabilities
from tidegate.core.engines.placement import Placement
from tidegate.errors import InvalidArgument

Metric = Literal["concurrency", "rps", "cpu"]
METRICS: tuple[str, ...] = get_args(Metric)
LATER = {"latency_p95": "scaling by latency is not supported yet"}
REPLICAS_LIMIT = 100
"""Of a version, whatever its maximum: the platform's limit where its setting says nothing else."""
REPLICAS_MAX = 10_000
"""That this setting may allow."""
TARGET_CHARS_MAX = 64
WINDOW_S_MAX = 300.0
"""Samples are kept for so long."""
DELAY_S_MAX = 86_400.0
WINDOWS = ("stable_s", "panic_s", "down_s")


@dataclass(frozen=True)
class Scaling:
    """`target` is what one replica should have: requests in progress, requests a second, or percent of its CPU.

    Load is looked at over `stable_s`, and over `panic_s` when that asks for `panic_threshold` times what is ready.
    A fleet shrinks to the most that it needed within `down_s`. Within `rate_s`, or a cold start and `panic_s` if those
    are longer, it grows to `up_factor` times what it was, or by `up_step`, whichever is more, and shrinks to one
    `down_factor`-th. With no request for `idle_s` it sleeps (None: never).

    All but bounds, metric and target hold for the platform's own `autoscaler` alone; an engine has its own rules.
    """

    min_replicas: int
    max_replicas: int
    metric: Metric
    target: float
    idle_s: float | None = None
    stable_s: float = 60.0
    panic_s: float = 6.0
    panic_threshold: float = 2.0
    down_s: float = 300.0
    rate_s: float = 10.0
    up_factor: float = 2.0
    up_step: int = 4
    down_factor: float = 2.0
    autoscaler: str = TIDEGATE


@dataclass(frozen=True)
class ScalingDefaults:
    """What holds for all endpoints of a platform where people do not say, and how far they may go."""

    min_replicas: int = 1
    max_replicas: int = 10
    cpu_percent: float = 70.0
    replicas_limit: int = REPLICAS_LIMIT


@dataclass(frozen=True)
class ScalingRequest:
    """What somebody asks of the autoscaler; None: as it is, or where it is off as the platform's defaults say."""

    min_replicas: int | None = None
    max_replicas: int | None = None
    target: str | None = None
    stable_s: float | None = None
    panic_s: float | None = None
    down_s: float | None = None
    idle_s: float | None = None
    autoscaler: str | None = None


def scaling_of(request: ScalingRequest, before: Scaling | None, defaults: ScalingDefaults) -> Scaling:
    """What is asked for, on top of what is in force. Raises `InvalidArgument`."""
    spec = before or Scaling(defaults.min_replicas, defaults.max_replicas, "cpu", defaults.cpu_percent)
    given = {name: value for name, value in vars(request).items() if value is not None and name != "target"}
    if request.target is not None:
        given["metric"], given["target"] = target_of(request.target)
    spec = replace(spec, **given)
    if request.idle_s is None and (spec.min_replicas > 0 or spec.autoscaler == ENGINE):
        spec = replace(spec, idle_s=None)  # it sleeps no more, or when its engine says so
    if spec.autoscaler == ENGINE:
        spec = _without_windows(spec, request)
    check_scaling(spec, defaults.replicas_limit)
    return spec


def check_measured(spec: Scaling, placement: Placement) -> None:
    """Raises `InvalidArgument` where nobody could count replicas there so: the engine does not do it, or does it alone,
    or the metric of the target cannot be measured of replicas that run there.
    """
    can = ENGINES[placement.backend]
    if spec.autoscaler not in can.autoscalers:
        raise InvalidArgument(
            f"replicas on {placement.backend} are counted by autoscaler {' or '.join(can.autoscalers)}, not by "
            f"{spec.autoscaler!r}: give --autoscaler {can.autoscalers[0]}, or fix the number with --replicas",
            field="autoscaler",
        )
    if spec.autoscaler == ENGINE:
        _check_engine_scaling(spec, placement.backend, can)
        return
    if spec.metric == "cpu" and placement.backend not in TELLING_CPU:
        raise InvalidArgument(
            f"the CPU of replicas on {placement.backend} is not measured yet: give a target of requests first, "
            "as 'tidegate scale' does with --target concurrency=2 or --target rps=50",
            field="target",
        )


def _without_windows(spec: Scaling, request: ScalingRequest) -> Scaling:
    """With the platform's windows as by default: an engine does not heed them, so what sets one is refused."""
    default: dict[str, Any] = {one.name: one.default for one in fields(Scaling)}
    for name in WINDOWS:
        if getattr(request, name) not in (None, default[name]):
            raise InvalidArgument(
                f"the engine looks at the load over spans of its own: leave {name} out, or give --autoscaler "
                f"{TIDEGATE}",
                field=name,
            )
    return replace(spec, **{name: default[name] for name in WINDOWS})


def _check_engine_scaling(spec: Scaling, backend: str, can: Capabilities) -> None:
    """What the engine's own autoscaler takes."""
    ours = f", or --autoscaler {TIDEGATE}" if TIDEGATE in can.autoscalers else ""
    if spec.metric not in can.engine_metrics:
        raise InvalidArgument(
            f"{backend} counts replicas by {' or '.join(can.engine_metrics)}, not by {spec.metric}: give --target "
            f"{can.engine_metrics[0]}=70{ours}",
            field="target",
        )
    if spec.min_replicas == 0 and not can.pooled:
        sleeps = f"{ours}, which has an endpoint sleep" if ours else ""
        raise InvalidArgument(
            f"the autoscaler of {backend} keeps at least one replica: give --min 1{sleeps}",
            field="min",
        )
    if spec.idle_s is not None:
        raise InvalidArgument(
            f"{backend} decides itself when replicas sleep: leave --idle out{ours}",
            field="idle_s",
        )


def kept(spec: Scaling) -> dict[str, Any]:
    """As it is stored: what is as by default is left out, and follows the release."""
    return {one.name: getattr(spec, one.name) for one in fields(spec) if getattr(spec, one.name) != one.default}


def words(spec: Scaling | None) -> str:
    """In a few words, for history.

    >>> words(Scaling(1, 10, "cpu", 70.0)), words(None)
    ('1 to 10 replicas by cpu=70', 'a fixed number of replicas')
    >>> words(Scaling(0, 10, "rps", 5.0, idle_s=300.0))
    '0 to 10 replicas by rps=5, asleep after 300 s without a request'
    """
    if spec is None:
        return "a fixed number of replicas"
    by = spec.metric if spec.autoscaler == TIDEGATE else f"the engine's own rules, {spec.metric}"
    sleeps = "" if spec.idle_s is None else f", asleep after {spec.idle_s:g} s without a request"
    return f"{spec.min_replicas} to {spec.max_replicas} replicas by {by}={spec.target:g}{sleeps}"


def target_of(text: str) -> tuple[Metric, float]:
    """What `--target METRIC=NUMBER` says. Raises `InvalidArgument`."""
    if len(text) > TARGET_CHARS_MAX:
        raise InvalidArgument(f"a target has up to {TARGET_CHARS_MAX} characters: write it as rps=50", field="target")
    name, given, number = text.partition("=")
    _check_metric(name)
    try:
        target = float(number)
    except ValueError:
        what = f"--target {text!r} has no number" if given else f"--target {text!r} has no '='"
        raise InvalidArgument(f"{what}: write it as {name}=5", field="target") from None
    _check_target(name, target)
    return cast(Metric, name), target


def check_scaling(spec: Scaling, replicas_limit: int = REPLICAS_LIMIT) -> None:
    """Raises `InvalidArgument` that names the field, what it is, and what it may be."""
    _check_metric(spec.metric)
    _check_target(spec.metric, spec.target)
    _check_bounds(spec, replicas_limit)
    if spec.autoscaler == TIDEGATE:
        _check_idle(spec)
    _check_range("panic_s", spec.panic_s, 1.0, WINDOW_S_MAX)
    _check_range("stable_s", spec.stable_s, spec.panic_s, WINDOW_S_MAX)
    _check_range("panic_threshold", spec.panic_threshold, 1.0, 1000.0)
    _check_range("down_s", spec.down_s, 0.0, DELAY_S_MAX)
    _check_range("rate_s", spec.rate_s, 1.0, DELAY_S_MAX)
    _check_range("up_factor", spec.up_factor, 1.0, 1000.0)
    _check_range("up_step", spec.up_step, 1, 1000)
    _check_range("down_factor", spec.down_factor, 1.01, 1000.0)


def _check_metric(name: str) -> None:
    if name in LATER:
        raise InvalidArgument(f"{LATER[name]}: choose one of {', '.join(METRICS)}", field="target")
    if name not in METRICS:
        raise InvalidArgument(f"there is no metric {name!r}: choose one of {', '.join(METRICS)}", field="target")


def _check_target(metric: str, target: float) -> None:
    if not (math.isfinite(target) and target > 0):
        raise InvalidArgument(f"the target of {metric} must be a number above 0, and is {target:g}", field="target")
    if metric == "cpu" and target > 100:
        raise InvalidArgument(
            f"the target of cpu is in percent, from above 0 to 100, and is {target:g}", field="target"
        )


def _check_bounds(spec: Scaling, replicas_limit: int) -> None:
    low, high = spec.min_replicas, spec.max_replicas
    if low < 0:
        raise InvalidArgument(f"the minimum of replicas is {low}: it must be 0 or more", field="min")
    if not 1 <= high <= replicas_limit:
        raise InvalidArgument(
            f"the maximum of replicas is {high}: it must be from 1 to {replicas_limit}, this platform's limit",
            field="max",
        )
    if low > high:
        raise InvalidArgument(
            f"the minimum of replicas, {low}, is above the maximum, {high}: lower the one or raise the other",
            field="min",
        )


def _check_idle(spec: Scaling) -> None:
    if spec.idle_s is None:
        if spec.min_replicas == 0:
            raise InvalidArgument(
                "a minimum of 0 needs --idle (asleep after): how long without a request, such as 5m", field="idle_s"
            )
        return
    _check_range("idle_s", spec.idle_s, 1.0, DELAY_S_MAX)
    if spec.min_replicas > 0:
        raise InvalidArgument(f"--idle needs a minimum of 0, and it is {spec.min_replicas}", field="idle_s")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN is in no range
        raise InvalidArgument(f"{name} must be from {low:g} to {high:g}, and is {value:g}", field=name)
