"""What a shadow came to beside the live answers to the same requests. Pure: rows in, numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.core.captured import Array, ShadowPairs
from tidegate.sequential.paired import paired
from tidegate.watch.performance.losses import distances, error_losses, labels_of
from tidegate.wire.experiments.shadows import PairedView
from tidegate.wire.numbers import finite
from tidegate.wire.signature import PREDICTION, Signature

SAME_WITHIN = 1e-6
"""Numbers that differ by no more than this part are the same answer."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a request's (a copy's) being whole to its answer; None without any."""

    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True)
class Comparison:
    """`agreement` is the share of rows with the same main output, `difference` the mean absolute one of all numbers.

    Each is None where no row says anything of it.
    """

    pairs: int = 0
    agreement: float | None = None
    difference: float | None = None
    live: Latency = field(default_factory=Latency)
    shadow: Latency = field(default_factory=Latency)
    paired: PairedView | None = None


def main_output(signature: Signature) -> str:
    """The output that answers the question: `prediction`, or the first of a model that names its own."""
    names = [spec.name for spec in signature.outputs]
    return PREDICTION if PREDICTION in names or not names else names[0]


def compare(pairs: ShadowPairs, main: str, *, decides: bool) -> Comparison:
    """`main` is the output that is compared; where it `decides` (it is a class) an answer is right or wrong, else the
    one nearer to its label is.
    """
    if not len(pairs.at):
        return Comparison()
    live, shadow = pairs.live.get(main), pairs.shadow.get(main)
    return Comparison(
        pairs=len(pairs.at),
        agreement=float(same(live, shadow).mean()) if live is not None and shadow is not None else None,
        difference=_difference(pairs.live, pairs.shadow),
        live=_latency(pairs.live_ms[pairs.first]),
        shadow=_latency(pairs.shadow_ms[pairs.first]),
        paired=_paired(pairs, live, shadow, decides=decides) if live is not None and shadow is not None else None,
    )


def same(one: Array, other: Array) -> Array:
    """Which rows of two outputs are the same: numbers within one part in a million, all else equal."""
    if one.shape != other.shape:
        return np.zeros(len(one), dtype=bool)
    if _are_numbers(one) and _are_numbers(other):
        with np.errstate(invalid="ignore"):
            close = np.isclose(_numbers(one), _numbers(other), rtol=SAME_WITHIN, atol=0.0, equal_nan=True)
        return close if close.ndim == 1 else np.asarray(close.reshape(len(close), -1).all(axis=1))
    return np.array([_equal(a, b) for a, b in zip(one, other, strict=True)], dtype=bool)


def _equal(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


def _difference(live: Mapping[str, Array], shadow: Mapping[str, Array]) -> float | None:
    """Over all outputs of numbers that both have; rows with NaN or infinity in either are left out."""
    found = []
    for name in live.keys() & shadow.keys():
        one, other = live[name], shadow[name]
        if one.shape == other.shape and _are_numbers(one) and _are_numbers(other):
            with np.errstate(invalid="ignore", over="ignore"):
                gaps = np.abs(_numbers(one) - _numbers(other))
            found.append(gaps[np.isfinite(gaps)])
    sizes = sum(one.size for one in found)
    if not sizes:
        return None
    mean = sum(float(one.sum()) for one in found) / sizes
    return finite(mean)


def _latency(durations_ms: Array) -> Latency:
    sound = durations_ms[np.isfinite(durations_ms)]
    if not sound.size:
        return Latency()
    p50, p95 = np.quantile(sound, (0.5, 0.95))
    return Latency(float(p50), float(p95))


def _paired(pairs: ShadowPairs, live: Array, shadow: Array, *, decides: bool) -> PairedView | None:
    """The first labelled row of each unit: pairs of one unit would not be independent."""
    places = np.array(
        _first_of_each(pairs.units, (place for place, label in enumerate(pairs.labels) if label is not None)),
        dtype=np.int64,
    )
    if not places.size:
        return None
    labels, ours, theirs = pairs.labels[places], _single(live[places]), _single(shadow[places])
    both = np.array([_right(ours, labels), _right(theirs, labels)]) if decides else _nearer(labels, ours, theirs)
    neither, only_shadow, only_live, all_right = np.bincount(2 * both[0] + both[1], minlength=4).tolist()
    return paired(all_right, only_live, only_shadow, neither)


def _first_of_each(units: Array, places: Iterable[int]) -> list[int]:
    found: dict[str, int] = {}
    for place in places:
        found.setdefault(units[place], place)
    return list(found.values())


def _single(answers: Array) -> Array:
    """One value a row where each row has one."""
    return answers.reshape(len(answers)) if answers.size == len(answers) else answers


def _right(answers: Array, labels: Array) -> Array:
    """Which answers are their label, by the rule that monitors have for that (`losses.error_losses`)."""
    if answers.ndim > 1:
        return np.zeros(len(answers), dtype=np.int64)
    is_right: Array = error_losses(answers, labels_of(labels)) == 0
    return is_right.astype(np.int64)


def _nearer(labels: Array, live: Array, shadow: Array) -> Array:
    """For the live answer and the shadow's, a row of 1 where it is the nearer to its label, or both are as near.

    Without the rows where one of the three is no finite number.
    """
    wanted = labels_of(labels)
    to_live, to_shadow = distances(live, wanted), distances(shadow, wanted)
    known = np.isfinite(to_live) & np.isfinite(to_shadow)
    return np.array([to_live <= to_shadow, to_shadow <= to_live])[:, known].astype(np.int64)


def _are_numbers(values: Array) -> bool:
    return values.dtype.kind in "biuf"


def _numbers(values: Array) -> Array:
    return values.astype(np.float64)
