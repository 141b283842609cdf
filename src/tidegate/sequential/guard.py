"""A new version's requests beside those of stable at the same time, valid at every look and exact at small counts.

Called for canaries and guarded deployments. Requests of one key are not independent: hand over the design effect of
`design_effect`, and so many count as one. "Fine" is at `fine`, "breached" at `breach`, which the caller divides among
all guardrails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.sequential.exact import (
    ContingencyTable,
    difference_bounds,
    log_two_samples,
    log_two_samples_by_phase,
    rate_bounds,
    ratio_bounds,
)
from tidegate.sequential.quantiles import Quantiles
from tidegate.sequential.strata import cells_of, sums
from tidegate.sequential.units import Floats, Integers, Units
from tidegate.wire.experiments.experiments import BoundKind, GuardrailState, GuardrailView
from tidegate.wire.numbers import finite

_STEP = 2.0
_THRESHOLDS_MS = tuple(0.25 * _STEP**k for k in range(20))
"""From a quarter of a millisecond to two minutes: fixed before any request came, as the test below needs."""
_QUANTILE_WEIGHT = 40.0


@dataclass(frozen=True)
class Bound:
    """What must be kept: `max` of a rate or of milliseconds, or a `margin` beside stable, a share or `absolute`."""

    name: str
    variant: str
    kind: BoundKind
    value: float
    absolute: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Alphas:
    """Errors of calling a version worse that is not, and of calling one fine that is not."""

    breach: float
    fine: float = 0.05


@dataclass(frozen=True)
class Counted:
    """In how many of so many requests something happened, by phase. `effect`: how many count as one."""

    found: Sequence[float]
    requests: Sequence[float]
    effect: float = 1.0

    @property
    def rate(self) -> float | None:
        """Over all phases."""
        return sum(self.found) / sum(self.requests) if sum(self.requests) else None


def rates(
    bound: Bound, stable: Counted, canary: Counted, alphas: Alphas, keys: tuple[Counted, Counted] | None = None
) -> GuardrailView:
    """Whether something (errors, answers that are no numbers) happens more often than it may.

    Both sides may be of any size: all of stable's requests of the same time say more than a slice of them. A `max` is
    breached when it is passed and stable is surpassed.

    `keys`: both sides once more, each key once, by its first request. Half of the stake is on them: where one key sends
    most of the requests, so many of these count as one that little is left. Evidence is averaged.
    """
    if stable.rate is None or canary.rate is None:
        return _view(bound, canary.rate, None, "unknown")
    table = _table(stable, canary)
    if bound.kind == "max":
        return _limited(bound, table, canary, alphas, keys)
    low, high = _margin_bounds(bound, table, alphas)
    if bound.absolute:
        value: float | None = canary.rate - stable.rate
    else:
        value = canary.rate / stable.rate - 1 if stable.rate else None
    if is_passed(bound, stable, canary, alphas, keys):
        return _view(bound, value, max(low, bound.value), "breached")
    return _view(bound, value, finite(high), "ok" if high < bound.value else "undecided")


def _limited(
    bound: Bound, table: ContingencyTable, canary: Counted, alphas: Alphas, keys: tuple[Counted, Counted] | None
) -> GuardrailView:
    found, n = float(table.events_b.sum()), float(table.n_b.sum())
    _, high = rate_bounds(found, n, alphas.fine)
    tables = [table] if keys is None else [table, _table(*keys)]
    for each in tables:
        alpha = alphas.breach / len(tables)
        low, _ = rate_bounds(float(each.events_b.sum()), float(each.n_b.sum()), alpha)
        if low > bound.value and log_two_samples(each, 0.0, 1) >= math.log(1 / alpha):
            return _view(bound, canary.rate, low, "breached")
    return _view(bound, canary.rate, high, "ok" if high < bound.value else "undecided")


def is_passed(
    bound: Bound, stable: Counted, canary: Counted, alphas: Alphas, keys: tuple[Counted, Counted] | None = None
) -> bool:
    """Whether a margin is passed for certain; as `rates` says it, without working out any bound."""
    if stable.rate is None or canary.rate is None:
        return False
    difference, ratio = (bound.value, 1.0) if bound.absolute else (0.0, 1.0 + bound.value)
    sides = [(stable, canary)] if keys is None else [(stable, canary), keys]
    if all((b.rate or 0.0) - ratio * (a.rate or 0.0) <= difference for a, b in sides):
        return False  # the rates seen keep the bound, so that no evidence is above 1
    log_e = log_two_samples(_table(stable, canary), difference, 1, ratio)
    if keys is not None:
        log_e = float(np.logaddexp(log_e, log_two_samples(_table(*keys), difference, 1, ratio))) - math.log(2)
    return log_e >= math.log(1 / alphas.breach)


def _margin_bounds(bound: Bound, table: ContingencyTable, alphas: Alphas) -> tuple[float, float]:
    """How much worse the canary is at least (at `breach`) and at most (at `fine`)."""
    if bound.absolute:
        return difference_bounds(table, alphas.breach, alphas.fine)
    low, high = ratio_bounds(table, alphas.breach, alphas.fine)
    return low - 1, high - 1


def latency(bound: Bound, times: Units, level: float, alphas: Alphas, effect: float = 1.0) -> GuardrailView:
    """Whether durations (ms; arm 0 stable, 1 canary) are longer than they may be, by their quantile and as a whole.

    Half of the stake is on the quantile, which needs some twenty requests to be known at all; half on "a request of the
    canary is longer, margin taken off, than t more often than one of stable", for thresholds t fixed beforehand, which
    sees 7 of 10 requests take 100 times as long. Evidence is averaged, so the error is `breach` in all.
    """
    times = times.finite()
    sides = [times.value[times.arm == arm] for arm in (0, 1)]
    if min(side.size for side in sides) < 1:
        return _view(bound, None, None, "unknown")
    was, now = (float(np.quantile(side, level)) for side in sides)
    found = Quantiles.of(times, level, _QUANTILE_WEIGHT, effect)
    slower = _log_slower(bound, times, effect) >= math.log(2 / alphas.breach)
    if bound.kind == "max":
        return _slow_limit(bound, found, (now, slower), alphas)
    what = "difference" if bound.absolute else "relative"
    value = now - was if bound.absolute else _share(was, now)
    low, high = (
        (None, None)
        if found is None
        else (found.bounds(what, alphas.breach / 2)[0], found.bounds(what, alphas.fine)[1])
    )
    if slower or (low is not None and low > bound.value):
        return _view(bound, value, low if low is not None and low > bound.value else bound.value, "breached")
    return _view(bound, value, high, "ok" if high is not None and high < bound.value else "undecided")


def _slow_limit(bound: Bound, found: Quantiles | None, seen: tuple[float, bool], alphas: Alphas) -> GuardrailView:
    now, slower = seen
    if found is None:
        return _view(bound, now, None, "undecided")
    low, _ = found.bounds("value", alphas.breach)
    _, high = found.bounds("value", alphas.fine)
    if low is not None and low > bound.value and (slower or found.apart(alphas.breach / 2) > 0):
        return _view(bound, now, low, "breached")
    return _view(bound, now, high, "ok" if high is not None and high < bound.value else "undecided")


def _log_slower(bound: Bound, times: Units, effect: float) -> float:
    """Evidence that the canary is not just as fast but for the margin, averaged over the thresholds."""
    margin = bound.value if bound.kind == "margin" else 0.0
    moved = times.value - margin if bound.absolute else times.value / (1 + margin)
    value = np.where(times.arm == 1, moved, times.value)
    cell, size = cells_of(times)
    n = sums(cell, size)
    each = [sums(cell, size, (value > threshold).astype(np.float64)) for threshold in _THRESHOLDS_MS]
    above = np.stack(each) / effect  # thresholds, phases, arms
    full = np.broadcast_to(n / effect, above.shape)
    table = ContingencyTable(above[..., 0].ravel(), full[..., 0].ravel(), above[..., 1].ravel(), full[..., 1].ravel())
    logs = log_two_samples_by_phase(table, np.zeros(1), 1, np.ones(1)).reshape(above.shape[:2]).sum(axis=1)
    return float(np.logaddexp.reduce(logs)) - math.log(logs.size)


def design_effect(key: Integers, bad: Floats) -> float:
    """How many requests count as one: the variance of keys' totals beside that of independent requests, at least 1.

    `key`: a number for each key, negative where a request has none (then it stands alone). Of both sides together.
    """
    rate = float(bad.mean()) if bad.size else 0.0
    spread = bad.size * rate * (1 - rate)
    if spread <= 0:
        return 1.0
    apart, named = bad - rate, key >= 0
    _, place = np.unique(key[named], return_inverse=True)
    totals = np.bincount(place, weights=apart[named])
    return max(1.0, float(totals @ totals + apart[~named] @ apart[~named]) / spread)


def _table(stable: Counted, canary: Counted) -> ContingencyTable:
    columns = ((side.found, side.requests, side.effect) for side in (stable, canary))
    arrays = [np.asarray(each, dtype=np.float64) / effect for found, n, effect in columns for each in (found, n)]
    return ContingencyTable(*arrays)


def _share(was: float, now: float) -> float | None:
    return None if was == 0 else (now - was) / was


def _view(bound: Bound, value: float | None, at: float | None, state: GuardrailState) -> GuardrailView:
    about = bound.kind, bound.dry_run, bound.absolute
    return GuardrailView(bound.name, bound.variant, value, at, bound.value, state, *about)
