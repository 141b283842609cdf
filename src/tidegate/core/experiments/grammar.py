"""Metrics, guardrails, effects and splits as people write them, read into `wire.experiments` and written back. Pure.

Called by services for what the API is sent; an error names the item, says what is wrong with it, and gives an example.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn, cast, get_args

from tidegate.core.numbers import number_text
from tidegate.errors import InvalidArgument
from tidegate.wire.experiments.experiments import (
    Aggregate,
    BoundKind,
    Guardrail,
    Metric,
    MetricDirection,
    MetricSource,
    MetricType,
)
from tidegate.wire.numbers import finite_number

METRIC_EXAMPLE = "converted:increase:proportion,window=7d"
GUARDRAIL_EXAMPLE = "latency_p95:margin=0.1"
WINDOW_S_MAX = 90 * 86_400.0
CHARS_MAX = 512

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DIRECTIONS, _TYPES = get_args(MetricDirection), get_args(MetricType)
_BOUNDS = get_args(BoundKind)
_CHOICES: dict[str, tuple[str, ...]] = {"agg": get_args(Aggregate), "source": get_args(MetricSource)}
_DURATIONS, _NUMBERS = ("window", "delay"), ("cap", "q")
_OPTIONS = (*_DURATIONS, *_NUMBERS, *_CHOICES, "per")
_LATENCY = re.compile(r"latency_p(\d{1,2})")


def seconds_of(text: str) -> float:
    """Seconds of a duration such as 7d, 10m, 1h30m or 0s; a plain number is seconds. Raises `ValueError`.

    >>> seconds_of("7d"), seconds_of("1h30m"), seconds_of("0s"), seconds_of("90")
    (604800.0, 5400.0, 0.0, 90.0)
    """
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError(f"{text!r} is no duration: write it as 7d, 12h, 10m or 0s")
    return math.fsum(float(part[1]) * _UNITS[part[2]] for part in parts)


def duration_text(seconds: float) -> str:
    """A duration in the largest unit that leaves no fraction.

    >>> duration_text(604800.0), duration_text(5400.0), duration_text(0.0), duration_text(0.5)
    ('7d', '90m', '0s', '500ms')
    """
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{number_text(seconds / _UNITS[unit])}{unit}"
    return "0s" if seconds == 0 else f"{number_text(round(seconds * 1000, 6))}ms"


def metric_of(text: str) -> Metric:
    """`NAME:increase|decrease[:TYPE][,window=0s,delay=0s,cap=X,agg=…,source=…,q=X,per=NAME]`.

    `errors` and `latency` are sources of that name where none is given. Raises `InvalidArgument`.

    >>> metric_of("converted:increase:proportion,window=7d").window_s
    604800.0
    """
    head, *options = _parts(text, "metric")
    name, *words = head.split(":")
    _check_name(text, "metric", name)
    if not words:
        _refuse(text, "metric", "it does not say which way is better: add :increase or :decrease")
    if words[0] not in _DIRECTIONS:
        _refuse(text, "metric", f"{words[0]!r} is neither increase nor decrease")
    if len(words) > 2:
        _refuse(text, "metric", f"{':'.join(words[2:])!r} is left over: options follow after a comma, as ,window=7d")
    found = replace(_known(name), direction=cast(MetricDirection, words[0]))
    if len(words) == 2:
        found = _typed(text, "metric", found, words[1])
    return _with_options(text, "metric", found, options)


def guardrail_of(text: str, metrics: Sequence[Metric] = ()) -> Guardrail:
    """`NAME:max=X|min=X|margin=X[,dry_run]`; `margin=abs:X` is an amount, else a share of control's value.

    NAME is one of `metrics`, or `errors`, `latency`, `latency_p95` (or another percentile), or a value that feedback
    reports: then its type and the other options of a metric may follow. Raises `InvalidArgument`.

    >>> guardrail_of("latency_p95:margin=10%").value
    0.1
    """
    head, *options = _parts(text, "guardrail")
    name, _, bound = head.partition(":")
    _check_name(text, "guardrail", name)
    kind, given, number = bound.partition("=")
    if kind not in _BOUNDS or not given:
        _refuse(text, "guardrail", f"{bound!r} is none of max=X, min=X and margin=X")
    value, absolute = _amount(text, "guardrail", number)
    if kind == "margin" and value <= 0:
        _refuse(text, "guardrail", "a margin is how much worse it may be, and must be above 0")
    if absolute and kind != "margin":
        _refuse(text, "guardrail", f"{kind}= is an amount already: leave out abs:")
    metric, dry_run = _of_guardrail(text, (name, kind), metrics, options)
    return Guardrail(metric, cast(BoundKind, kind), value, absolute, dry_run)


def _of_guardrail(
    text: str, named: tuple[str, str], metrics: Sequence[Metric], options: list[str]
) -> tuple[Metric, bool]:
    """The metric that a guardrail is on, and whether it is a dry run."""
    name, kind = named
    dry_run = "dry_run" in options
    words = [one for one in options if one != "dry_run"]
    directions = [one for one in words if one in _DIRECTIONS]
    types = [one for one in words if one in _TYPES]
    rest = [one for one in words if one not in _DIRECTIONS and one not in _TYPES]
    known = next((one for one in metrics if one.name == name), None)
    if known is not None and not (directions or types or rest):
        return known, dry_run
    metric = known or _known(name)
    if directions:
        metric = replace(metric, direction=cast(MetricDirection, directions[-1]))
    elif known is None and metric.source in ("feedback", "label"):
        if kind == "margin":
            _refuse(text, "guardrail", f"which way {name!r} is worse is not known: add ,increase or ,decrease")
        metric = replace(metric, direction="decrease" if kind == "max" else "increase")
    if types:
        metric = _typed(text, "guardrail", metric, types[-1])
    return _with_options(text, "guardrail", metric, rest), dry_run


def effect_of(text: str) -> tuple[float, bool]:
    """`--mde`: a share of control's value (0.05 or 5%), or with abs: an amount. Raises `InvalidArgument`.

    >>> effect_of("5%"), effect_of("abs:0.01")
    ((0.05, False), (0.01, True))
    """
    value, absolute = _amount(text, "mde", text)
    if value <= 0:
        raise InvalidArgument(f"mde {text!r} must be above 0: write it as 0.05, 5% or abs:0.01", field="mde")
    return value, absolute


def split_of(text: str) -> list[float]:
    """Percent of each arm, control's first, as `50/50` or `80/10/10`. Raises `InvalidArgument`.

    >>> split_of("80/10/10")
    [80.0, 10.0, 10.0]
    """
    try:
        return [float(part) for part in text.split("/")]
    except ValueError:
        raise InvalidArgument(
            f"split {text[:80]!r} cannot be read: write percent with slashes, control's first, as 50/50", field="split"
        ) from None


def metric_text(metric: Metric) -> str:
    """As it is written; `metric_of` of it is the same metric.

    >>> metric_text(metric_of("converted:increase:proportion,window=168h"))
    'converted:increase:proportion,window=7d'
    """
    words = [f"{metric.name}:{metric.direction}:{metric.type}"]
    return ",".join(words + _option_texts(metric, _known(metric.name)))


def guardrail_text(guardrail: Guardrail, metrics: Sequence[Metric] = ()) -> str:
    """As it is written; `guardrail_of` of it is the same guardrail.

    >>> guardrail_text(guardrail_of("errors:margin=abs:1%,dry_run"))
    'errors:margin=abs:0.01,dry_run'
    """
    metric = guardrail.metric
    value = f"{'abs:' if guardrail.absolute else ''}{number_text(guardrail.value)}"
    words = [f"{metric.name}:{guardrail.kind}={value}"]
    known = next((one for one in metrics if one.name == metric.name), None)
    if metric != known:
        usual = known or _known(metric.name)
        if metric.direction != usual.direction or (known is None and metric.source in ("feedback", "label")):
            words.append(metric.direction)
        if metric.type != usual.type:
            words.append(metric.type)
        words += _option_texts(metric, usual)
    return ",".join(words + (["dry_run"] if guardrail.dry_run else []))


def _option_texts(metric: Metric, usual: Metric) -> list[str]:
    """What differs from the usual of such a metric, but for direction and type."""
    words = [
        f"{name}={duration_text(getattr(metric, f'{name}_s'))}"
        for name in _DURATIONS
        if getattr(metric, f"{name}_s") != getattr(usual, f"{name}_s")
    ]
    others = ("cap", "agg", "source", "q", "per")
    for name in others:
        value = getattr(metric, name)
        if value != getattr(usual, name):
            words.append(f"{name}={number_text(value)}" if isinstance(value, float) else f"{name}={value}")
    return words


def _known(name: str) -> Metric:
    """A metric of this name as it is where nothing else is said."""
    if name == "errors":
        return Metric(name, "decrease", "proportion", agg="mean", source="errors")
    if name == "latency":
        return Metric(name, "decrease", "mean", agg="mean", source="latency")
    if percentile := _LATENCY.fullmatch(name):
        return Metric(name, "decrease", "quantile", agg="mean", source="latency", q=int(percentile[1]) / 100)
    return Metric(name, "increase")


def _with_options(text: str, what: str, metric: Metric, options: Sequence[str]) -> Metric:
    given: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if name not in _OPTIONS or not equals or not value:
            _refuse(text, what, f"{option!r} is no option: there are {', '.join(f'{one}=' for one in _OPTIONS)}")
        if name in given or f"{name}_s" in given:
            _refuse(text, what, f"{name} is given twice")
        if name in _DURATIONS:
            given[f"{name}_s"] = _duration(text, what, name, value)
        elif name in _NUMBERS:
            given[name] = _number(text, what, value)
        elif name in _CHOICES and value not in _CHOICES[name]:
            _refuse(text, what, f"{name} is one of {', '.join(_CHOICES[name])}, not {value!r}")
        else:
            given[name] = value
    made = replace(metric, **given)
    _check_metric(text, what, made)
    return made


def _check_metric(text: str, what: str, metric: Metric) -> None:
    if not 0.0 < metric.q < 1.0:
        _refuse(text, what, f"q is the level of a quantile, above 0 and below 1, not {metric.q:g}")
    if metric.cap is not None and metric.cap <= 0:
        _refuse(text, what, "cap must be above 0")
    if (metric.type == "ratio") != bool(metric.per):
        _refuse(text, what, "a ratio, and nothing else, needs per=NAME: the value that it is divided by")
    if metric.per:
        _check_name(text, what, metric.per)
    if metric.source in ("latency", "errors") and metric.type == "ratio":
        _refuse(text, what, f"{metric.source} is measured of each request already: leave out ratio")
    if metric.source in ("latency", "errors") and metric.direction == "increase":
        _refuse(text, what, f"more {metric.source} is not better: write {metric.name}:decrease")


def _typed(text: str, what: str, metric: Metric, word: str) -> Metric:
    if word not in _TYPES:
        _refuse(text, what, f"{word!r} is no type: there are {', '.join(_TYPES)}")
    return replace(metric, type=cast(MetricType, word))


def _parts(text: str, what: str) -> list[str]:
    if len(text) > CHARS_MAX:
        _refuse(text[:40], what, f"it has {len(text)} characters, and may have {CHARS_MAX}")
    return [part.strip() for part in text.split(",")]


def _check_name(text: str, what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        _refuse(
            text,
            what,
            f"{name[:80]!r} is no name: it has 1 to 128 letters, digits, '_', '.' and '-', a letter or '_' first",
        )


def _duration(text: str, what: str, name: str, value: str) -> float:
    try:
        seconds = seconds_of(value)
    except ValueError as error:
        _refuse(text, what, f"{name}: {error}")
    if seconds > WINDOW_S_MAX:
        _refuse(text, what, f"{name} may be up to {duration_text(WINDOW_S_MAX)}")
    return seconds


def _number(text: str, what: str, value: str) -> float:
    number = finite_number(value.removesuffix("%"))
    if number is None:
        _refuse(text, what, f"{value[:40]!r} is no number")
    return number / 100 if value.endswith("%") else number


def _amount(text: str, what: str, value: str) -> tuple[float, bool]:
    absolute = value.startswith("abs:")
    return _number(text, what, value.removeprefix("abs:")), absolute


def _refuse(text: str, what: str, why: str) -> NoReturn:
    example = {"metric": METRIC_EXAMPLE, "guardrail": GUARDRAIL_EXAMPLE}.get(what, "0.05")
    field = {"metric": "metrics", "guardrail": "guardrails"}.get(what, what)
    raise InvalidArgument(f"{what} {text[:120]!r}: {why}. Write it as {example}", field=field)
