"""Asymptotic confidence sequences: intervals of an estimate with a variance that hold at every look.

Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences" (arXiv 2103.06476): proposition 2.5 (two-sided) and its one-sided companion. `variance` is the estimate's own
(its standard error squared), `n` the units it stands on, and `rho` is fixed before the first look.
"""

from __future__ import annotations

import math

_GROSS = 32.0
_FAR = 1e100
"""More times an effect than this is not squared: it would be more than a number can be."""
POWER_Z = 0.8416212335729143
"""The normal quantile at 0.8: sizes are planned for a power of 80 %."""


def rho(planned: float, alpha: float) -> float:
    """The parameter that makes the sequence narrowest, about, when `planned` units have come."""
    return math.sqrt(tuning(alpha) / max(planned, 1.0))


def tuning(alpha: float) -> float:
    """What rho² times the planned size is."""
    return -2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))


def factor(n: float, planned: float, alpha: float) -> float:
    """How many standard errors the two-sided sequence is wide, to each side."""
    scaled = n * rho(planned, alpha) ** 2
    return math.sqrt(2 * (scaled + 1) / scaled * math.log(math.sqrt(scaled + 1) / alpha))


def one_sided_factor(n: float, planned: float, alpha: float) -> float:
    """How many standard errors the one-sided bound is away; tuned at twice alpha, as a two-sided one would be."""
    scaled = n * rho(planned, min(2 * alpha, 0.5)) ** 2
    return math.sqrt(2 * (scaled + 1) / scaled * math.log(1 + math.sqrt(scaled + 1) / (2 * alpha)))


def guarding_factor(n: float, planned: float, alpha: float) -> float:
    """The same by two bounds, each at half of alpha: one for the planned size, one for a small part of it.

    A gross difference is found early, where the bound for the planned size alone is twice as far away; at that size it
    is a twelfth further.
    """
    return min(one_sided_factor(n, planned, alpha / 2), one_sided_factor(n, planned / _GROSS, alpha / 2))


def log_e(estimate: float, variance: float, n: float, r: float) -> float:
    """The logarithm of the e-value against "the mean is 0", with rho `r`: the capital of who bet against it."""
    scaled = n * r * r
    return scaled * estimate * estimate / variance / (2 * (scaled + 1)) - 0.5 * math.log(scaled + 1)


def p_value(log_evidence: float) -> float:
    """The p-value of an e-value; the smallest over time is a p-value at every look."""
    return min(1.0, math.exp(min(0.0, -log_evidence)))


def planned_size(spread: float, effect: float, alpha: float) -> float:
    """How many units find `effect` in four cases of five, by the sequence's own width.

    `spread` is the estimate's variance times the units it stands on.
    """
    scaled = tuning(alpha)
    width = math.sqrt(2 * (scaled + 1) / scaled * math.log(math.sqrt(scaled + 1) / alpha))
    return spread * min((width + POWER_Z) / effect, _FAR) ** 2
