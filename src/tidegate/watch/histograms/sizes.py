"""How large a difference is at least: of two distributions of numbers, or of two of categories.

Called by drift. What is tested is never "are they equal" (at a million rows nothing is) but "do they differ by more
than the margin".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tidegate.watch.histograms import bounds
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.values import Floats

ROWS_ASYMPTOTIC_MIN = 100
"""With fewer rows on either side the bounds are exact ones."""
_SHARE_OF_REFERENCE = 0.1
"""What part of an exact bound's error probability the larger sample gets: its own bound is tight anyway."""


@dataclass(frozen=True)
class Levels:
    """The margin, and how often a bound may fail: in one evaluation, and by the budget of pages that is left to it."""

    margin: float
    alpha: float
    page_alpha: float | None = None

    @property
    def strictest(self) -> float:
        return self.alpha if self.page_alpha is None else min(self.alpha, self.page_alpha)

    def halved(self) -> Levels:
        return Levels(self.margin, self.alpha / 2, None if self.page_alpha is None else self.page_alpha / 2)


@dataclass(frozen=True)
class EffectSize:
    """`effect`: the largest difference seen (KS, or total variation). `lower`: it is at least that much, never below 0.

    `critical`: how many standard errors the bound takes off; None where the bound is exact.
    """

    effect: float
    lower: float
    critical: float | None = None


def size(reference: Histogram, current: Histogram, levels: Levels) -> EffectSize | None:
    """The difference of the rows with ordinary values; None where one side has none."""
    rows, rows_before = ordinary_rows(current), ordinary_rows(reference)
    if not rows or not rows_before:
        return None
    if reference.layout.is_ordered:
        return _of_numbers(reference, current, levels) if reference.layout.cuts else None
    return _of_categories(categories(reference), categories(current), levels)


def ordinary_rows(histogram: Histogram) -> int:
    """Rows whose value is there and of the right type."""
    return histogram.rows - histogram.special["missing"] - histogram.special["invalid"]


def categories(histogram: Histogram) -> Floats:
    """Counts of categories, the last of which is the tail: what is rare in the reference, and what it has never seen.

    Which rare values a reference happens to have is chance, so that both together can be compared and neither alone.
    """
    tail = histogram.special["other"] + histogram.special["unseen"] if histogram.layout.kind == "category" else 0
    return np.append(histogram.ordinary, float(tail))


def _of_numbers(reference: Histogram, current: Histogram, levels: Levels) -> EffectSize:
    """Max over the inner cuts of |F - G| - c·se: a lower bound of the KS distance that holds at all cuts at once."""
    n, m = float(current.ordinary.sum()), float(reference.ordinary.sum())
    below, before = current.below_cuts, reference.below_cuts
    effect = float(np.abs(below / n - before / m).max())
    if len(below) > 2:  # the outer two are the ends of the reference's range: their tails are tested as rates
        below, before = below[1:-1], before[1:-1]
    if min(n, m) < ROWS_ASYMPTOTIC_MIN:
        return EffectSize(effect, _exact_lower(below, n, before, m, levels.strictest))
    critical = critical_value(before / m, n, m, levels)
    return EffectSize(effect, _asymptotic_lower(below, n, before, m, critical), critical)


def critical_value(shares: Floats, rows: float, rows_reference: float, levels: Levels) -> float:
    """How many standard errors a bound takes off that holds at all cuts; `shares`: of the reference, up to each.

    By the number of cuts and where they are, and no less than the budget of pages wants for so many rows.
    """
    t = np.clip(shares, 0.01, 0.99)
    critical = bounds.bridge_quantile(tuple(np.unique(t.round(2)).tolist()), levels.alpha)
    return _raised(critical, t, rows, rows_reference, levels)


def _raised(critical: float, t: Floats, n: float, m: float, levels: Levels) -> float:
    """The larger of the one that the number of cuts wants and the one that the budget of pages wants."""
    if levels.page_alpha is None:
        return critical
    deviations = np.sqrt(t * (1 - t) * (1 / n + 1 / m))
    return bounds.quantile_past_margin(deviations, levels.margin, levels.page_alpha, critical)


def _asymptotic_lower(x: Floats, n: float, y: Floats, m: float, critical: float) -> float:
    """Proportions are smoothed by (x + 1) / (n + 2), so that one of 0 has a standard error too."""
    f, g = (x + 1) / (n + 2), (y + 1) / (m + 2)
    deviations = np.sqrt(f * (1 - f) / n + g * (1 - g) / m)
    return max(0.0, float((np.abs(f - g) - critical * deviations).max()))


def _exact_lower(x: Floats, n: float, y: Floats, m: float, alpha: float) -> float:
    """The largest gap between Clopper and Pearson's bounds, simultaneous by Bonferroni over cuts and directions."""
    each = alpha / (2 * len(x))
    of_x, of_y = (1 - _SHARE_OF_REFERENCE) * each, _SHARE_OF_REFERENCE * each
    if n > m:
        of_x, of_y = of_y, of_x
    more = bounds.binomial_lower(x, n, of_x) - bounds.binomial_upper(y, m, of_y)
    less = bounds.binomial_lower(y, m, of_y) - bounds.binomial_upper(x, n, of_x)
    return max(0.0, float(np.maximum(more, less).max()))


def _of_categories(before: Floats, now: Floats, levels: Levels) -> EffectSize:
    """Total variation, by two bounds that share the error probability: of one category, and of all together."""
    seen = before + now > 0
    before, now = before[seen], now[seen]
    n, m = float(now.sum()), float(before.sum())
    effect = 0.5 * float(np.abs(now / n - before / m).sum())
    if now.size <= 2:
        critical, lower = _one_category(now[:1], n, before[:1], m, levels)
        return EffectSize(effect, lower, critical)
    half = levels.halved()
    critical, one = _one_category(now, n, before, m, half)
    return EffectSize(effect, max(one, _all_categories(before / m, n, m, effect, half)), critical)


def _one_category(now: Floats, n: float, before: Floats, m: float, levels: Levels) -> tuple[float | None, float]:
    """A change of one category's share is a lower bound of the total variation."""
    if min(n, m) < ROWS_ASYMPTOTIC_MIN:
        return None, _exact_lower(now, n, before, m, levels.strictest)
    critical = bounds.normal_quantile(levels.alpha / 2 / now.size)
    critical = _raised(critical, (before + 1) / (m + 2), n, m, levels)
    return critical, _asymptotic_lower(now, n, before, m, critical)


def _all_categories(shares: Floats, n: float, m: float, effect: float, levels: Levels) -> float:
    """What is seen, less what chance alone adds on average, less McDiarmid's bound of how far it strays from that.

    Of two samples the total variation seen is on average at most half the summed standard errors above the true one
    (times √(2/π) where shares are normal), and one row more or less moves it by 1/n or 1/m.
    """
    if not levels.strictest:
        return 0.0
    noise = 1 / n + 1 / m
    by_chance = 0.5 * math.sqrt((shares.size - 1) * noise)
    if min(n, m) >= ROWS_ASYMPTOTIC_MIN:
        by_chance = min(by_chance, 0.5 * math.sqrt(2 / math.pi * noise) * float(np.sqrt(shares * (1 - shares)).sum()))
    strays = math.sqrt(noise * math.log(1 / levels.alpha) / 2)
    if levels.page_alpha is not None:  # without drift it has the margin to cross too
        strays = max(strays, math.sqrt(noise * math.log(1 / levels.page_alpha) / 2) - levels.margin)
    return max(0.0, effect - by_chance - strays)
